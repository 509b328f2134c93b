// Nearest interpolation: copies elements of any type without converting them.
#pragma once

#include "cpu/kernels/tap_run.hpp"

namespace spuproj::cpu {
namespace {

template <class U, bool Fills>
inline void copy_all(const TapRun<float>& taps, const U* from, U fill, int64_t pixel_stride, U* to) {
    for (int64_t start = 0; start < taps.count; start += kRun) {
        const int64_t run = least(kRun, taps.count - start);
        if (!any_source(taps, start, start + run)) {
            for (int64_t p = start; p < start + run; ++p) to[p * pixel_stride] = fill;
            continue;
        }
        // Points without a source read pixel 0 and mask it out, which avoids mispredicted branches.
        int32_t read[kRun];
        U kept[kRun];
        for (int64_t p = 0; p < run; ++p) {
            const int32_t stored = taps.index[start + p];
            read[p] = stored == -1 ? 0 : static_cast<int32_t>(source_index(stored));
            kept[p] = static_cast<U>(stored == -1 ? U(0) : ~U(0));
        }
        for (int64_t p = 0; p < run; ++p) {
            const U value = static_cast<U>(from[read[p]] & kept[p]);
            to[(start + p) * pixel_stride] = Fills ? static_cast<U>(value | (fill & ~kept[p])) : value;
        }
    }
}

template <class U>
void copy(const TapRun<float>& taps, const void* source, uint64_t fill, int64_t pixel_stride, void* destination) {
    const auto run = static_cast<U>(fill) == 0 ? copy_all<U, false> : copy_all<U, true>;
    run(taps, static_cast<const U*>(source), static_cast<U>(fill), pixel_stride, static_cast<U*>(destination));
}

}  // namespace
}  // namespace spuproj::cpu
