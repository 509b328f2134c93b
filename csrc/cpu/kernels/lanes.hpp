// Pixels of interleaved planes, and the conversion between rows and blocks.
#pragma once

#include "cpu/kernels/table.hpp"
#include "cpu/kernels/vector.hpp"

namespace spuproj::cpu {
namespace {

// Elements of the vectors that hold a pixel of L interleaved planes.
template <class A, int L>
constexpr int kLaneWidth = L < kWidth<A> ? L : kWidth<A>;

template <class A, int L>
using LaneVector = Vector<A, kLaneWidth<A, L>>;

// A pixel of L interleaved planes, as one or more vectors.
template <class A, int L>
struct Lanes {
    static constexpr int kVectors = L / kLaneWidth<A, L>;
    LaneVector<A, L> part[kVectors];
};

// Vector v of the pixel at `from`.
template <class A, int L>
inline LaneVector<A, L> load_part(const A* from, int v) {
    return load_vector<A, kLaneWidth<A, L>>(from + v * kLaneWidth<A, L>);
}

template <class A, int L>
inline Lanes<A, L> load_lanes(const A* from) {
    Lanes<A, L> lanes;
    for (int v = 0; v < lanes.kVectors; ++v) lanes.part[v] = load_part<A, L>(from, v);
    return lanes;
}

template <class A, int L>
inline void store_lanes(A* to, const Lanes<A, L>& lanes) {
    for (int v = 0; v < lanes.kVectors; ++v)
        store_vector<A, kLaneWidth<A, L>>(to + v * kLaneWidth<A, L>, lanes.part[v]);
}

template <class A, int L>
inline void stream_lanes(A* to, const Lanes<A, L>& lanes) {
    for (int v = 0; v < lanes.kVectors; ++v)
        stream_vector<A, kLaneWidth<A, L>>(to + v * kLaneWidth<A, L>, lanes.part[v]);
}

template <class A, int L>
inline Lanes<A, L> all_lanes(A value) {
    Lanes<A, L> lanes;
    for (int v = 0; v < lanes.kVectors; ++v) lanes.part[v] = repeated<A, kLaneWidth<A, L>>(value);
    return lanes;
}

// The number of rows up to the last plane's, which the others repeat.
template <int L, class A>
inline int different_rows(A* const* rows) {
    int different = 1;
    while (different < L && rows[different] != rows[different - 1]) ++different;
    return different;
}

// Transposes squares of W pixels of W planes; the last square may overlap the one before.
template <class A, int L>
void interleave(const A* const* rows, int64_t count, A* block) {
    constexpr int W = kLaneWidth<A, L>;
    for (int l = 0; l < L; l += W) {
        if (count < W) {
            for (int64_t p = 0; p < count; ++p)
                for (int i = l; i < l + W; ++i) block[p * L + i] = rows[i][p];
            continue;
        }
        for (int64_t next = 0; next < count; next += W) {
            const int64_t p = next + W <= count ? next : count - W;
            Vector<A, W> square[W];
            for (int i = 0; i < W; ++i) square[i] = load_vector<A, W>(rows[l + i] + p);
            transpose<A, W>(square);
            for (int i = 0; i < W; ++i) store_vector<A, W>(block + (p + i) * L + l, square[i]);
        }
    }
}

template <class A, int L>
void deinterleave(const A* block, int64_t count, A* const* rows) {
    constexpr int W = kLaneWidth<A, L>;
    for (int l = 0; l < L; l += W) {
        if (count < W) {
            for (int64_t p = 0; p < count; ++p)
                for (int i = l; i < l + W; ++i) rows[i][p] = block[p * L + i];
            continue;
        }
        for (int64_t next = 0; next < count; next += W) {
            const int64_t p = next + W <= count ? next : count - W;
            Vector<A, W> square[W];
            for (int i = 0; i < W; ++i) square[i] = load_vector<A, W>(block + (p + i) * L + l);
            transpose<A, W>(square);
            for (int i = 0; i < W; ++i) store_vector<A, W>(rows[l + i] + p, square[i]);
        }
    }
}

}  // namespace
}  // namespace spuproj::cpu
