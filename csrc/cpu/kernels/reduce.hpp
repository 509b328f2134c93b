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
    A pivot[kRun * L], sum[kRun * L], squares[kRun * L];
    A pivot_weight[kRun];

    void begin(int64_t p, const Lanes<A, L>& value, A weight) {
        pivot_weight[p] = weight;
        for (int v = 0; v < kVectors; ++v) put(p, v, moments_of(value.part[v]));
    }
    // Makes the values of a later view the pivots; `seen` is the sum of the weights of those before.
    void move_pivots(int64_t p, const Lanes<A, L>& value, A weight, A seen) {
        pivot_weight[p] = weight;
        for (int v = 0; v < kVectors; ++v) {
            Moments<Part> moments = at(p, v);
            move_pivot(moments, value.part[v], seen);
            put(p, v, moments);
        }
    }
    // Adds one value of each of `Views` views.
    template <int Views>
    void add_values(int64_t p, const Lanes<A, L> (&values)[Views], const A (&weights)[Views]) {
        for (int v = 0; v < kVectors; ++v) {
            Moments<Part> moments = at(p, v);
            for (int n = 0; n < Views; ++n) add(moments, values[n].part[v], weights[n]);
            put_sums(p, v, moments);
        }
    }
    // Overwrites `pivot` with the means and `squares` with the variances.
    template <class Count>
    void finish_all(const Count* count, int64_t pixels) {
        for (int64_t p = 0; p < pixels; ++p) {
            for (int v = 0; v < kVectors; ++v) {
                Part mean = {}, variance = {};
                if (count[p] > 0) finish(at(p, v), A(1) / static_cast<A>(count[p]), mean, variance);
                store_vector<A, kWide>(pivot + p * L + v * kWide, mean);
                store_vector<A, kWide>(squares + p * L + v * kWide, variance);
            }
        }
    }

 private:
    Moments<Part> at(int64_t p, int v) const {
        return {load_part<A, L>(pivot + p * L, v), load_part<A, L>(sum + p * L, v),
                load_part<A, L>(squares + p * L, v)};
    }
    void put(int64_t p, int v, const Moments<Part>& moments) {
        store_vector<A, kWide>(pivot + p * L + v * kWide, moments.pivot);
        put_sums(p, v, moments);
    }
    void put_sums(int64_t p, int v, const Moments<Part>& moments) {
        store_vector<A, kWide>(sum + p * L + v * kWide, moments.sum);
        store_vector<A, kWide>(squares + p * L + v * kWide, moments.squares);
    }
};

// What a run of weights has in common.
struct WeightKinds {
    bool ordinary;  // none counts as zero, or outweighs that of the first view
    bool valid;     // all are finite and not negative
};

template <class Count, class A>
inline WeightKinds kinds_of(const A* weights, const A* first_view, int64_t count) {
    Integer<A> special = 0, invalid = 0;
    for (int64_t p = 0; p < count; ++p) {
        const A weight = weight_at<Count>(weights, p);
        special |= !(weight >= kSmallestWeight<A>) | (weight > kOutweighs<A> * weight_at<Count>(first_view, p));
        invalid |= !(weight >= A(0)) | !(weight <= kLargest<A>);
    }
    return {special == 0, invalid == 0};
}

// Ordinary taps blend four pixels, and their weights are ordinary.
template <class A, int L>
inline Lanes<A, L> blend_ordinary(const TapRun<A>& taps, int64_t p, const A* block) {
    return blend_four<A, L>(block + int64_t(taps.index[p]) * L, taps.width, taps.fraction_y[p], taps.fraction_x[p]);
}

// Adds `Views` views with ordinary taps only.
template <class Count, int Views, class A, int L>
inline void accumulate_ordinary(const TapRun<A>* given, const A* const* blocks, const A* const* weights,
                                RunMoments<A, L>& run) {
    TapRun<A> taps[Views];
    std::memcpy(taps, given, sizeof(taps));
    for (int64_t p = 0; p < taps[0].count; ++p) {
        Lanes<A, L> values[Views];
        A weight[Views];
        for (int n = 0; n < Views; ++n) {
            values[n] = blend_ordinary<A, L>(taps[n], p, blocks[n]);
            weight[n] = weight_at<Count>(weights[n], p);
        }
        run.add_values(p, values, weight);
    }
}

// Adds the first `count` views, which have ordinary taps only.
template <class Count, class A, int L>
inline void begin_ordinary(const TapRun<A>* taps, const A* const* blocks, const A* const* weights, int64_t count,
                           RunMoments<A, L>& run) {
    if (count == 0) return;
    const TapRun<A> first = taps[0];
    for (int64_t p = 0; p < first.count; ++p)
        run.begin(p, blend_ordinary<A, L>(first, p, blocks[0]), weight_at<Count>(weights[0], p));
    int64_t n = 1;
    for (; n + 2 <= count; n += 2) accumulate_ordinary<Count, 2>(taps + n, blocks + n, weights + n, run);
    for (; n < count; ++n) accumulate_ordinary<Count, 1>(taps + n, blocks + n, weights + n, run);
}

// Adds one view; `count` is the sum of the weights of the views that have shown each pixel.
template <class Count, class A, int L>
inline void accumulate(TapRun<A> taps, const A* block, const A* weights, RunMoments<A, L>& run, Count* count) {
    for (int64_t p = 0; p < taps.count; ++p) {
        const A weight[1] = {weight_at<Count>(weights, p)};
        if (taps.index[p] == -1 || !(weight[0] >= kSmallestWeight<A>)) continue;
        const Lanes<A, L> value[1] = {blend_at<A, L>(taps, p, block, A(0))};
        if (count[p] == 0) {
            run.begin(p, value[0], weight[0]);
        } else {
            if (kWeighted<Count> && weight[0] > kOutweighs<A> * run.pivot_weight[p])
                run.move_pivots(p, value[0], weight[0], static_cast<A>(count[p]));
            run.add_values(p, value, weight);
        }
        count[p] += static_cast<Count>(weight[0]);
    }
}

template <class A, int L, class Count>
bool reduce(const TapRun<A>* taps, const A* const* blocks, const A* const* weights, int64_t views, A* const* mean,
            A* const* variance, Count* count) {
    const int64_t pixels = taps[0].count;
    RunMoments<A, L> run;
    int64_t ordinary = 0;
    bool valid = true;
    for (int64_t n = 0; n < views; ++n) {
        const WeightKinds kinds = kinds_of<Count>(weights[n], weights[0], pixels);
        valid &= kinds.valid;
        if (n == ordinary && kinds.ordinary && all_blend(taps[n])) ++ordinary;
    }
    begin_ordinary<Count>(taps, blocks, weights, ordinary, run);
    for (int64_t p = 0; p < pixels; ++p) count[p] = 0;
    for (int64_t n = 0; n < ordinary; ++n)
        for (int64_t p = 0; p < pixels; ++p) count[p] += static_cast<Count>(weight_at<Count>(weights[n], p));
    for (int64_t n = ordinary; n < views; ++n) accumulate(taps[n], blocks[n], weights[n], run, count);
    run.finish_all(count, pixels);
    deinterleave<A, L>(run.pivot, pixels, mean);
    deinterleave<A, L>(run.squares, pixels, variance);
    return valid;
}

// Mask of the taps of a group that have a source; taps beyond the run's end have none.
template <class A>
inline Vector<Integer<A>> validity_at(const TapRun<A>& taps, int64_t start) {
    if (taps.count - start >= kWidth<A>) return validity<A, kWidth<A>>(taps.index + start);
    int32_t index[kWidth<A>];
    for (int p = 0; p < kWidth<A>; ++p) index[p] = start + p < taps.count ? taps.index[start + p] : -1;
    return validity<A, kWidth<A>>(index);
}

// The weights of a vector of pixels, zero beyond the last one; `left` pixels remain in the run.
template <class Count, class A>
inline Vector<A> weights_at(const A* weights, int64_t start, int64_t left) {
    if constexpr (!kWeighted<Count>) return repeated<A, kWidth<A>>(A(1));
    if (left >= kWidth<A>) return load_vector(weights + start);
    Vector<A> values = {};
    for (int p = 0; p < left; ++p) values[p] = weights[start + p];
    return values;
}

// For a single plane: a vector of pixels at a time, over all views.
template <class A, class Count>
bool reduce_single(const TapRun<A>* taps, const A* const* planes, const A* const* weights, int64_t views,
                   A* const* mean, A* const* variance, Count* count) {
    using V = Vector<A>;
    bool valid_weights = true;
    for (int64_t start = 0; start < taps[0].count; start += kWidth<A>) {
        const int64_t left = taps[0].count - start;
        Moments<V> moments = {};
        V seen = {};
        [[maybe_unused]] V pivot_weight = {};
        for (int64_t n = 0; n < views; ++n) {
            const V weight = weights_at<Count>(weights[n], start, left);
            const auto valid = validity_at(taps[n], start) & (weight >= kSmallestWeight<A>);
            const V value = blend_group_at(taps[n], start, planes[n], A(0));
            if constexpr (kWeighted<Count>) {
                // Before the first view the pivot weighs 0 and the sums are 0, so that the view becomes the pivot.
                const auto moves = valid & (weight > kOutweighs<A> * pivot_weight);
                pivot_weight = moves ? weight : pivot_weight;
                move_pivot(moments, moves ? value : moments.pivot, seen);
            } else {
                moments.pivot = (valid & (seen == 0)) ? value : moments.pivot;
            }
            const V deviation = valid ? value - moments.pivot : V{};
            add_deviation(moments, deviation, weight);
            seen += valid ? weight : V{};
        }
        const V share = A(1) / (seen > 0 ? seen : repeated<A, kWidth<A>>(A(1)));
        V average, spread;
        finish(moments, share, average, spread);
        store_values(mean[0] + start, average, left);
        store_values(variance[0] + start, spread, left);
        for (int p = 0; p < kWidth<A> && p < left; ++p) count[start + p] = static_cast<Count>(seen[p]);
    }
    for (int64_t n = 0; n < views; ++n) valid_weights &= kinds_of<Count>(weights[n], weights[0], taps[0].count).valid;
    return valid_weights;
}

template <class A, class Count>
void slopes(const A* grad_mean, const A* grad_variance, const A* mean, const A* weights, const Count* count,
            int64_t pixels, A* value) {
    for (int64_t p = 0; p < pixels; ++p)
        value[p] = slope(grad_mean[p], grad_variance[p], mean[p], weight_at<Count>(weights, p), count[p], value[p]);
}

}  // namespace
}  // namespace spuproj::cpu
