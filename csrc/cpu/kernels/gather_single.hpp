// gather for a single plane: a vector of taps at a time; a pixel and its right neighbour are loaded together.
#pragma once

#include "cpu/kernels/gather_lanes.hpp"

namespace spuproj::cpu {
namespace {

inline double pair_at(const float* from) {
    double pair;
    std::memcpy(&pair, from, sizeof(pair));
    return pair;
}

// Loads pairs of neighbours: part i (of 128 bits) of the register holds those of taps 4 i + First and 4 i + First + 1.
template <bool Partial, int First, int... J>
inline Vector<float> pairs(const float* from, const int32_t* index, std::integer_sequence<int, J...>) {
    const Vector<double> both = {pair_at(from + readable<Partial>(index[J / 2 * 4 + J % 2 + First]))...};
    return bits_as<Vector<float>>(both);
}

// The blends of a vector of taps, Group::kBlend or, if Partial, Group::kPartial.
template <bool Partial>
inline Vector<float> blend_group(const TapRun<float>& taps, int64_t start, const float* plane, float fill) {
    constexpr int W = kWidth<float>;
    constexpr std::make_integer_sequence<int, W / 2> half{};
    const int32_t* index = taps.index + start;
    const float* below = plane + taps.width;
    const auto y = load_vector(taps.fraction_y + start), x = load_vector(taps.fraction_x + start);
    const auto a = pairs<Partial, 0>(plane, index, half), b = pairs<Partial, 2>(plane, index, half);
    const auto c = pairs<Partial, 0>(below, index, half), d = pairs<Partial, 2>(below, index, half);
    using Left = Unzip<float, W, 0>;
    using Right = Unzip<float, W, 1>;
    const auto value = bilinear(shuffle<float, W, Left>(a, b), shuffle<float, W, Right>(a, b),
                                shuffle<float, W, Left>(c, d), shuffle<float, W, Right>(c, d), y, x);
    return filled<Partial, float, W>(index, value, fill);
}

template <bool Partial>
inline Vector<double> blend_group(const TapRun<double>& taps, int64_t start, const double* plane, double fill) {
    Vector<double> value = {};
    for (int p = 0; p < kWidth<double>; ++p) value[p] = blend_at<double, 1>(taps, start + p, plane, fill).part[0][0];
    return value;
}

template <class A>
inline Vector<A> blend_mixed(const TapRun<A>& taps, int64_t start, const A* plane, A fill) {
    A values[kWidth<A>] = {};
    for (int64_t p = start; p < start + kWidth<A> && p < taps.count; ++p)
        store_lanes<A, 1>(values + p - start, blend_at<A, 1>(taps, p, plane, fill));
    return load_vector(values);
}

// The blends of any group; `fill` for taps without a source.
template <class A>
inline Vector<A> blend_group_at(const TapRun<A>& taps, int64_t start, const A* plane, A fill) {
    switch (group_at<kWidth<A>>(taps, start)) {
        case Group::kBlend: return blend_group<false>(taps, start, plane, fill);
        case Group::kPartial: return blend_group<true>(taps, start, plane, fill);
        case Group::kNone: break;
        case Group::kMixed: return blend_mixed(taps, start, plane, fill);
    }
    return repeated<A, kWidth<A>>(fill);
}

// Stores the first `count` values of a vector, or all of them.
template <class A>
inline void store_values(A* to, Vector<A> values, int64_t count) {
    if (count >= kWidth<A>) return store_vector(to, values);
    for (int64_t p = 0; p < count; ++p) to[p] = values[p];
}

template <class A>
void gather_single(const TapRun<A>& run, const A* plane, A fill, A* const* rows, bool stream) {
    const TapRun<A> taps = run;
    const int64_t streamed = stream && begins_line(rows[0]) ? taps.count / kWidth<A> * kWidth<A> : 0;
    int64_t start = 0;
    for (; start < streamed; start += kWidth<A>)
        stream_vector(rows[0] + start, blend_group_at(taps, start, plane, fill));
    for (; start < taps.count; start += kWidth<A>)
        store_values(rows[0] + start, blend_group_at(taps, start, plane, fill), taps.count - start);
}

}  // namespace
}  // namespace spuproj::cpu
