// Mean, variance and count of each pixel over the views.
#pragma once

#include "cpu/kernels/gather_single.hpp"
#include "spuproj/moments.hpp"

namespace spuproj::cpu {
namespace {

// The moments of a run of pixels, as blocks; uninitialised for pixels that no view has shown yet.
template <class A, int L>
struct RunMoments {
    using Part = LaneVector<A, L>;
    static constexpr int kVectors = Lanes<A, L>::kVectors, kWide = kLaneWidth<A, L>;
    A first[kRun * L], sum[kRun * L], squares[kRun * L];

    void begin(int64_t p, const Lanes<A, L>& value) {
        store_lanes<A, L>(first + p * L, value);
        for (int v = 0; v < kVectors; ++v) put_sums(p, v, moments_of(value.part[v]));
    }
    // Adds one value of each of `Views` views.
    template <int Views>
    void add_values(int64_t p, const Lanes<A, L> (&values)[Views]) {
        for (int v = 0; v < kVectors; ++v) {
            Moments<Part> moments = at(p, v);
            for (int n = 0; n < Views; ++n) add(moments, values[n].part[v]);
            put_sums(p, v, moments);
        }
    }
    // Overwrites `first` with the means and `squares` with the variances.
    void finish_all(const int32_t* count, int64_t pixels) {
        for (int64_t p = 0; p < pixels; ++p) {
            for (int v = 0; v < kVectors; ++v) {
                Part mean = {}, variance = {};
                if (count[p] > 0) finish(at(p, v), A(1) / static_cast<A>(count[p]), mean, variance);
                store_vector<A, kWide>(first + p * L + v * kWide, mean);
                store_vector<A, kWide>(squares + p * L + v * kWide, variance);
            }
        }
    }

 private:
    Moments<Part> at(int64_t p, int v) const {
        return {load_part<A, L>(first + p * L, v), load_part<A, L>(sum + p * L, v),
                load_part<A, L>(squares + p * L, v)};
    }
    void put_sums(int64_t p, int v, const Moments<Part>& moments) {
        store_vector<A, kWide>(sum + p * L + v * kWide, moments.sum);
        store_vector<A, kWide>(squares + p * L + v * kWide, moments.squares);
    }
};

// Ordinary taps blend four pixels.
template <class A, int L>
inline Lanes<A, L> blend_ordinary(const TapRun<A>& taps, int64_t p, const A* block) {
    return blend_four<A, L>(block + int64_t(taps.index[p]) * L, taps.width, taps.fraction_y[p], taps.fraction_x[p]);
}

// Adds `Views` views with ordinary taps only.
template <class A, int L, int Views>
inline void accumulate_ordinary(const TapRun<A>* given, const A* const* blocks, RunMoments<A, L>& run) {
    TapRun<A> taps[Views];
    std::memcpy(taps, given, sizeof(taps));
    for (int64_t p = 0; p < taps[0].count; ++p) {
        Lanes<A, L> values[Views];
        for (int n = 0; n < Views; ++n) values[n] = blend_ordinary<A, L>(taps[n], p, blocks[n]);
        run.add_values(p, values);
    }
}

// Adds the first views, up to one with other than ordinary taps; returns how many.
template <class A, int L>
inline int64_t begin_ordinary(const TapRun<A>* taps, const A* const* blocks, int64_t views, RunMoments<A, L>& run) {
    int64_t count = 0;
    while (count < views && all_blend(taps[count])) ++count;
    if (count == 0) return 0;
    const TapRun<A> first = taps[0];
    for (int64_t p = 0; p < first.count; ++p) run.begin(p, blend_ordinary<A, L>(first, p, blocks[0]));
    int64_t n = 1;
    for (; n + 2 <= count; n += 2) accumulate_ordinary<A, L, 2>(taps + n, blocks + n, run);
    for (; n < count; ++n) accumulate_ordinary<A, L, 1>(taps + n, blocks + n, run);
    return count;
}

// Adds one view; `count` says how many views have shown each pixel.
template <class A, int L>
inline void accumulate(TapRun<A> taps, const A* block, RunMoments<A, L>& run, int32_t* count) {
    for (int64_t p = 0; p < taps.count; ++p) {
        if (taps.index[p] == -1) continue;
        const Lanes<A, L> value[1] = {blend_at<A, L>(taps, p, block, A(0))};
        if (count[p]++ == 0)
            run.begin(p, value[0]);
        else
            run.add_values(p, value);
    }
}

template <class A, int L>
void reduce(const TapRun<A>* taps, const A* const* blocks, int64_t views, A* const* mean, A* const* variance,
            int32_t* count) {
    const int64_t pixels = taps[0].count;
    RunMoments<A, L> run;
    int64_t n = begin_ordinary<A, L>(taps, blocks, views, run);
    for (int64_t p = 0; p < pixels; ++p) count[p] = static_cast<int32_t>(n);
    for (; n < views; ++n) accumulate<A, L>(taps[n], blocks[n], run, count);
    run.finish_all(count, pixels);
    deinterleave<A, L>(run.first, pixels, mean);
    deinterleave<A, L>(run.squares, pixels, variance);
}

// Mask of the taps of a group that have a source; taps beyond the run's end have none.
template <class A>
inline Vector<Integer<A>> validity_at(const TapRun<A>& taps, int64_t start) {
    if (taps.count - start >= kWidth<A>) return validity<A, kWidth<A>>(taps.index + start);
    int32_t index[kWidth<A>];
    for (int p = 0; p < kWidth<A>; ++p) index[p] = start + p < taps.count ? taps.index[start + p] : -1;
    return validity<A, kWidth<A>>(index);
}

// For a single plane: a vector of pixels at a time, over all views.
template <class A>
void reduce_single(const TapRun<A>* taps, const A* const* planes, int64_t views, A* const* mean, A* const* variance,
                   int32_t* count) {
    using V = Vector<A>;
    for (int64_t start = 0; start < taps[0].count; start += kWidth<A>) {
        Moments<V> moments = {};
        Vector<Integer<A>> seen = {};
        for (int64_t n = 0; n < views; ++n) {
            const auto valid = validity_at(taps[n], start);
            const V value = blend_group_at(taps[n], start, planes[n], A(0));
            moments.first = valid & (seen == 0) ? value : moments.first;
            const V deviation = valid ? value - moments.first : V{};
            add_deviation(moments, deviation);
            seen -= valid;
        }
        const V share = A(1) / __builtin_convertvector(seen > 0 ? seen : seen + 1, V);
        V average, spread;
        finish(moments, share, average, spread);
        const int64_t left = taps[0].count - start;
        store_values(mean[0] + start, average, left);
        store_values(variance[0] + start, spread, left);
        for (int p = 0; p < kWidth<A> && p < left; ++p) count[start + p] = static_cast<int32_t>(seen[p]);
    }
}

template <class A>
void slopes(const A* grad_mean, const A* grad_variance, const A* mean, const int32_t* count, int64_t pixels, A* value) {
    for (int64_t p = 0; p < pixels; ++p) value[p] = slope(grad_mean[p], grad_variance[p], mean[p], count[p], value[p]);
}

}  // namespace
}  // namespace spuproj::cpu
