// How a tap's pixels are blended: in one form for numbers and vectors, on CPUs and GPUs, so that all give equal bits.
#pragma once

#include "spuproj/platform.hpp"

namespace spuproj {

// The second value is used once: where it lies in memory, it needs no load of its own.
template <class V, class S>
SPUPROJ_HD static inline V mix(V first, V second, S fraction) {
    return first - fraction * (first - second);
}

// A fraction of zero keeps the first value, whatever the second one is: NaN and Inf do not spread.
template <class V, class S>
SPUPROJ_HD static inline V mix_if_positive(V first, V second, S fraction) {
    return fraction > S(0) ? mix(first, second, fraction) : first;
}

// Of a tap that blends four pixels: down, then across.
template <class V, class S>
SPUPROJ_HD static inline V bilinear(V above_left, V above_right, V below_left, V below_right, S y, S x) {
    return mix(mix(above_left, below_left, y), mix(above_right, below_right, y), x);
}

// Of any tap.
template <class V, class S>
SPUPROJ_HD static inline V bilinear_if_positive(V above_left, V above_right, V below_left, V below_right, S y, S x) {
    const V left = mix_if_positive(above_left, below_left, y);
    return mix_if_positive(left, mix_if_positive(above_right, below_right, y), x);
}

// What a tap's pixels contribute to its value: above left, above right, below left, below right.
template <class A>
struct CornerWeights {
    A corner[4];
};

template <class A>
SPUPROJ_HD static inline CornerWeights<A> corner_weights(A y, A x) {
    return {{(A(1) - y) * (A(1) - x), (A(1) - y) * x, y * (A(1) - x), y * x}};
}

}  // namespace spuproj
