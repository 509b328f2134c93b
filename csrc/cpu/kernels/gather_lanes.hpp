// gather for interleaved planes, one tap at a time; a pixel of all planes fills at least half a register.
#pragma once

#include "cpu/kernels/lanes.hpp"
#include "cpu/kernels/rows.hpp"
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

template <class A>
inline void fill_with(A* to, int64_t count, A fill) {
    for (int64_t i = 0; i < count; ++i) to[i] = fill;
}

template <class A, int L>
void gather(const TapRun<A>& run, const A* block, A fill, A* const* rows, bool stream) {
    const TapRun<A> taps = run;
    const int used = different_rows<L>(rows);
    alignas(kLineBytes) A values[kRun * L], buffer[L * kRun];
    A* to[L];
    for (int l = 0; l < used; ++l) stream = stream && begins_line(rows[l]);
    for (int64_t start = 0; start < taps.count; start += kRun) {
        const int64_t end = least(start + kRun, taps.count), count = end - start;
        for (int l = 0; l < L; ++l) to[l] = stream ? buffer + l * kRun : rows[l] + start;
        if (any_source(taps, start, end)) {
            blend_each<A, L>(taps, start, end, block, fill, values);
            deinterleave<A, L>(values, count, to);
        } else {
            for (int l = 0; l < used; ++l) fill_with(to[l], count, fill);
        }
        if (!stream) continue;
        for (int l = 0; l < used; ++l) write<A, A>(to[l], count, true, rows[l] + start);
    }
}

template <class A, int L>
void gather_block(const TapRun<A>& run, const A* block, A fill, A* blends, bool stream) {
    const TapRun<A> taps = run;
    if (stream && begins_line(blends)) {
        for (int64_t p = 0; p < taps.count; ++p)
            stream_lanes<A, L>(blends + p * L, blend_at<A, L>(taps, p, block, fill));
        return;
    }
    for (int64_t start = 0; start < taps.count; start += kRun) {
        const int64_t end = least(start + kRun, taps.count);
        if (any_source(taps, start, end))
            blend_each<A, L>(taps, start, end, block, fill, blends + start * L);
        else
            fill_with(blends + start * L, (end - start) * L, fill);
    }
}

}  // namespace
}  // namespace spuproj::cpu
