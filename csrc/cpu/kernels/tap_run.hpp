// Kinds of taps in a run, or in a group: the taps that are blended together in one vector.
#pragma once

#include "cpu/kernels/table.hpp"
#include "cpu/kernels/vector.hpp"
#include "spuproj/taps.hpp"

namespace spuproj::cpu {
namespace {

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Whether any of the taps [start, end) has a source; `start` begins a line.
template <class A>
inline bool any_source(const TapRun<A>& taps, int64_t start, int64_t end) {
    bool any = false;
    for (int64_t line = start / kTapLine; line * kTapLine < end; ++line) any |= taps.has_source[line];
    return any;
}

// Whether every tap blends four pixels.
template <class A>
inline bool all_blend(const TapRun<A>& taps) {
    int32_t any = 0;
    for (int64_t p = 0; p < taps.count; ++p) any |= taps.index[p];
    return any >= 0;
}

enum class Group {
    kBlend,    // every tap blends four pixels
    kPartial,  // some taps blend four pixels, the others have no source
    kNone,     // no tap has a source
    kMixed     // anything else, or fewer taps than a group has
};

// The kind of the W taps from `start` on.
template <int W, class A>
inline Group group_at(const TapRun<A>& taps, int64_t start) {
    if (taps.count - start < W) return Group::kMixed;
#if defined(__AVX__)
    if constexpr (W == 8) {
        const Vector<int32_t, 8> index = load_vector<int32_t, 8>(taps.index + start);
        const int marked = sign_bits(index), none = sign_bits(index == -1);
        if (marked == 0) return Group::kBlend;
        if (marked != none) return Group::kMixed;
        return none == 0xff ? Group::kNone : Group::kPartial;
    }
#endif
    int32_t low = taps.index[start], high = low;
    for (int p = 1; p < W; ++p) {
        low = taps.index[start + p] < low ? taps.index[start + p] : low;
        high = taps.index[start + p] > high ? taps.index[start + p] : high;
    }
    if (low >= 0) return Group::kBlend;
    if (low < -1) return Group::kMixed;
    return high >= 0 ? Group::kPartial : Group::kNone;
}

// The pixel that a tap of a group reads. If Partial, taps without a source read pixel 0; another tap of the group
// proves that the plane is at least 2 x 2.
template <bool Partial>
inline int64_t readable(int32_t index) {
    return Partial && index < 0 ? 0 : index;
}

// Mask of the taps of a group that have a source: all ones, else zero.
template <class T, int W>
inline Vector<Integer<T>, W> validity(const int32_t* index) {
    return __builtin_convertvector(load_vector<int32_t, W>(index) != -1, Vector<Integer<T>, W>);
}

// Replaces the values of taps without a source by `fill`.
template <bool Partial, class T, int W>
inline Vector<T, W> filled(const int32_t* index, Vector<T, W> values, T fill) {
    if constexpr (!Partial) return values;
    return validity<T, W>(index) ? values : repeated<T, W>(fill);
}

}  // namespace
}  // namespace spuproj::cpu
