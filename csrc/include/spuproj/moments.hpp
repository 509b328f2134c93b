// Running mean and variance, and their gradient: one formula for scalars and vectors, CPU and GPU, with equal bits.
#pragma once

#include "spuproj/platform.hpp"

namespace spuproj {

// Sums of deviations from the first value, so that an offset common to all values costs no precision.
template <class V>
struct Moments {
    V first, sum, squares;
};

template <class V>
SPUPROJ_HD static inline void add_deviation(Moments<V>& moments, V deviation) {
    moments.sum += deviation;
    moments.squares += deviation * deviation;
}

template <class V>
SPUPROJ_HD static inline void add(Moments<V>& moments, V value) {
    add_deviation(moments, value - moments.first);
}

// value - value is zero, or NaN if the value is not finite, so that mean and variance become NaN.
template <class V>
SPUPROJ_HD static inline Moments<V> moments_of(V value) {
    return {value, value - value, value - value};
}

// Mean and population variance; share is 1 / count.
template <class V, class S>
SPUPROJ_HD static inline void finish(const Moments<V>& moments, S share, V& mean, V& variance) {
    const V shift = moments.sum * share;
    const V spread = moments.squares * share - shift * shift;
    mean = moments.first + shift;
    variance = spread < V{} ? V{} : spread;
}

// The gradient of mean and variance with respect to one of `count` values.
template <class A>
SPUPROJ_HD static inline A slope(A grad_mean, A grad_variance, A mean, int32_t count, A value) {
    const A gradient = grad_mean + A(2) * grad_variance * (value - mean);
    return count > 0 ? gradient / static_cast<A>(count) : A(0);
}

}  // namespace spuproj
