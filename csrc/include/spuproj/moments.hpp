// Mean and variance of the values that come one after another, and their gradient: in one form for numbers and vectors,
// on CPUs and GPUs, so that all give equal bits.
#pragma once

#include "spuproj/platform.hpp"

namespace spuproj {

// Sums are taken of deviations from the first value, which is one of the data: no digits are lost to an offset.
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

// The first value's own deviation is zero, unless the value is not finite: then it must reach both results.
template <class V>
SPUPROJ_HD static inline Moments<V> moments_of(V value) {
    return {value, value - value, value - value};
}

// Mean and population variance; share is 1 / number of values.
template <class V, class S>
SPUPROJ_HD static inline void finish(const Moments<V>& moments, S share, V& mean, V& variance) {
    const V shift = moments.sum * share;
    const V spread = moments.squares * share - shift * shift;
    mean = moments.first + shift;
    variance = spread < V{} ? V{} : spread;
}

// The gradient of both with respect to one of so many values.
template <class A>
SPUPROJ_HD static inline A slope(A grad_mean, A grad_variance, A mean, int32_t count, A value) {
    const A gradient = grad_mean + A(2) * grad_variance * (value - mean);
    return count > 0 ? gradient / static_cast<A>(count) : A(0);
}

}  // namespace spuproj
