// Running mean and variance, and their gradient: one formula for scalars and vectors, CPU and GPU, with equal bits.
#pragma once

#include <type_traits>

#include "spuproj/platform.hpp"

namespace spuproj {

// Moments are unweighted, and Count is int32_t, or weighted, and Count is the arithmetic type A: the sum of the
// weights.
template <class Count>
constexpr bool kWeighted = !std::is_same_v<Count, int32_t>;

template <class Count, class A>
SPUPROJ_HD static inline A weight_at(const A* weights, int64_t p) {
    if constexpr (kWeighted<Count>)
        return weights[p];
    else
        return A(1);
}

// Smaller weights count as zero: the reciprocal of their sum could overflow. SMALLEST_WEIGHT in Python.
template <class A>
constexpr A kSmallestWeight = A(1.17549435e-38f);

template <class A>
constexpr A kLargest = std::is_same_v<A, double> ? A(1.7976931348623157e308) : A(3.40282347e38f);

// Sums of deviations from the value of one view, the pivot, so that an offset common to all values costs no precision.
template <class V>
struct Moments {
    V pivot, sum, squares;
};

// The first view is the pivot until one weighs this many times as much: values far from a pivot of little weight would
// lose their own differences to rounding. OUTWEIGHS in Python.
template <class A>
constexpr A kOutweighs = A(8);

template <class V, class S>
SPUPROJ_HD static inline void add_deviation(Moments<V>& moments, V deviation, S weight) {
    const V weighted = weight * deviation;
    moments.sum += weighted;
    moments.squares += weighted * deviation;
}

template <class V, class S>
SPUPROJ_HD static inline void add(Moments<V>& moments, V value, S weight) {
    add_deviation(moments, value - moments.pivot, weight);
}

// value - value is zero, or NaN if the value is not finite, so that mean and variance become NaN.
template <class V>
SPUPROJ_HD static inline Moments<V> moments_of(V value) {
    return {value, value - value, value - value};
}

// Makes a later value the pivot; `seen` is the sum of the weights so far.
template <class V, class S>
SPUPROJ_HD static inline void move_pivot(Moments<V>& moments, V value, S seen) {
    const V step = value - moments.pivot;
    moments.squares += step * (seen * step - (moments.sum + moments.sum));
    moments.sum -= seen * step;
    moments.pivot = value;
}

// Mean and population variance; share is 1 / count, where count is the sum of the weights.
template <class V, class S>
SPUPROJ_HD static inline void finish(const Moments<V>& moments, S share, V& mean, V& variance) {
    const V shift = moments.sum * share;
    const V spread = moments.squares * share - shift * shift;
    mean = moments.pivot + shift;
    variance = spread < V{} ? V{} : spread;
}

// The gradient of mean and variance with respect to a value of this weight.
template <class A, class Count>
SPUPROJ_HD static inline A slope(A grad_mean, A grad_variance, A mean, A weight, Count count, A value) {
    const A gradient = grad_mean + A(2) * grad_variance * (value - mean);
    return count > 0 && weight >= kSmallestWeight<A> ? weight * gradient / static_cast<A>(count) : A(0);
}

}  // namespace spuproj
