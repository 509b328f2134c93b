// gather for interleaved planes, one tap at a time; a pixel of all planes fills at least half a register.
#pragma once

#include "cpu/kernels/lanes.hpp"
#include "cpu/kernels/tap_run.hpp"
#include "spuproj/blend.hpp"

namespace spuproj::cpu {
namespace {

// The blend of a tap that blends four pixels; `above` points to the upper left one.
template <class A, int L>
inline Lanes<A, L> blend_four(const A* above, int64_t width, A y, A x) {
    const A* below = above + width * L;
    Lanes<A, L> value;
    for (int v = 0; v < value.kVectors; ++v)
        value.part[v] = bilinear(load_part<A, L>(above, v), load_part<A, L>(above + L, v), load_part<A, L>(below, v),
                                 load_part<A, L>(below + L, v), y, x);
    return value;
}

// The blend of a tap with a fraction of zero, which reads one or two pixels.
template <class A, int L>
inline Lanes<A, L> blend_two(const A* pixel, int64_t width, A y, A x) {
    const A *below = pixel + (y > A(0) ? width * L : 0), *beside = pixel + (x > A(0) ? L : 0);
    Lanes<A, L> value;
    for (int v = 0; v < value.kVectors; ++v) {
        const auto down = mix_if_positive(load_part<A, L>(pixel, v), load_part<A, L>(below, v), y);
        value.part[v] = mix_if_positive(down, load_part<A, L>(beside, v), x);
    }
    return value;
}

// The blend of any tap; `fill` if it has no source.
template <class A, int L>
inline Lanes<A, L> blend_at(const TapRun<A>& taps, int64_t p, const A* block, A fill) {
    const int32_t index = taps.index[p];
    const A y = taps.fraction_y[p], x = taps.fraction_x[p];
    if (index >= 0) return blend_four<A, L>(block + int64_t(index) * L, taps.width, y, x);
    if (index == -1) return all_lanes<A, L>(fill);
    return blend_two<A, L>(block + source_index(index) * L, taps.width, y, x);
}

// The blends of taps [start, end) as a block.
template <class A, int L>
inline void blend_each(const TapRun<A>& taps, int64_t start, int64_t end, const A* block, A fill, A* blends) {
    for (int64_t p = start; p < end; ++p)
        store_lanes<A, L>(blends + (p - start) * L, blend_at<A, L>(taps, p, block, fill));
}

template <class A, int L>
bool gather(const TapRun<A>& run, const A* block, A fill, A* const* rows) {
    const TapRun<A> taps = run;
    if (!any_source(taps)) return false;
    A values[kRun * L], *to[L];
    for (int64_t start = 0; start < taps.count; start += kRun) {
        const int64_t end = least(start + kRun, taps.count);
        blend_each<A, L>(taps, start, end, block, fill, values);
        for (int l = 0; l < L; ++l) to[l] = rows[l] + start;
        deinterleave<A, L>(values, end - start, to);
    }
    return true;
}

template <class A, int L>
bool gather_block(const TapRun<A>& run, const A* block, A fill, A* blends) {
    const TapRun<A> taps = run;
    if (!any_source(taps)) return false;
    blend_each<A, L>(taps, 0, taps.count, block, fill, blends);
    return true;
}

}  // namespace
}  // namespace spuproj::cpu
