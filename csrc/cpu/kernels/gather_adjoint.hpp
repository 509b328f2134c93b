// Adjoint of gather: adds values, weighted, to the pixels that their taps read.
#pragma once

#include "cpu/kernels/lanes.hpp"
#include "cpu/kernels/tap_run.hpp"
#include "spuproj/blend.hpp"

namespace spuproj::cpu {
namespace {

template <class A, int L>
inline void add(const Lanes<A, L>& value, A weight, A* pixel) {
    Lanes<A, L> sum = load_lanes<A, L>(pixel);
    for (int v = 0; v < sum.kVectors; ++v) sum.part[v] += weight * value.part[v];
    store_lanes<A, L>(pixel, sum);
}

// For any tap: adds to those of its pixels that are in the band.
template <class A, int L>
inline void add_within(const TapRun<A>& taps, int64_t p, const A (&weights)[4][kRun], const Lanes<A, L>& value,
                       const Band& band, A* accumulator) {
    if (taps.index[p] == -1) return;
    const bool right = taps.fraction_x[p] > A(0);
    const int rows = taps.fraction_y[p] > A(0) ? 2 : 1;
    for (int row = 0; row < rows; ++row) {
        const int64_t pixel = source_index(taps.index[p]) + row * taps.width;
        if (pixel < band.first || pixel >= band.last) continue;
        A* to = accumulator + (pixel - band.first) * L;
        add<A, L>(value, weights[2 * row][p], to);
        if (right) add<A, L>(value, weights[2 * row + 1][p], to + L);
    }
}

// Consecutive taps add to the same pixels and would wait for each other, so four parts of a run are worked on in turn.
constexpr int64_t kParts = 4;

template <class A, int L>
void gather_adjoint(const TapRun<A>& run, const A* const* rows, const Band& band, A* accumulator) {
    const TapRun<A> taps = run;
    A block[kRun * L];
    interleave<A, L>(rows, taps.count, block);
    A weights[4][kRun];  // in the order of CornerWeights
    for (int64_t p = 0; p < taps.count; ++p) {
        const CornerWeights<A> tap = corner_weights(taps.fraction_y[p], taps.fraction_x[p]);
        for (int i = 0; i < 4; ++i) weights[i][p] = tap.corner[i];
    }
    const int64_t quarter = (taps.count + kParts - 1) / kParts;
    const int64_t span = band.last - band.first - taps.width;
    for (int64_t i = 0; i < quarter; ++i) {
        for (int64_t p = i; p < taps.count; p += quarter) {
            const Lanes<A, L> value = load_lanes<A, L>(block + p * L);
            const int64_t pixel = taps.index[p] - band.first;
            if (taps.index[p] < 0 || pixel < 0 || pixel >= span) {
                add_within<A, L>(taps, p, weights, value, band, accumulator);
                continue;
            }
            A* above = accumulator + pixel * L;
            A* below = above + taps.width * L;
            add<A, L>(value, weights[0][p], above);
            add<A, L>(value, weights[1][p], above + L);
            add<A, L>(value, weights[2][p], below);
            add<A, L>(value, weights[3][p], below + L);
        }
    }
}

}  // namespace
}  // namespace spuproj::cpu
