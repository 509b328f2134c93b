// Bilinear blending of the pixels that a tap reads: one formula for scalars and vectors, CPU and GPU, with equal bits.
#pragma once

#include "spuproj/platform.hpp"

namespace spuproj {

// `second` occurs once, so that the compiler can use it straight from memory.
template <class V, class S>
SPUPROJ_HD static inline V mix(V first, V second, S fraction) {
    return first - fraction * (first - second);
}

// A fraction of zero ignores `second`, so that a NaN or Inf there does not spread.
template <class V, class S>
SPUPROJ_HD static inline V mix_if_positive(V first, V second, S fraction) {
    return fraction > S(0) ? mix(first, second, fraction) : first;
}

// For a tap that blends four pixels: first vertically, then horizontally.
template <class V, class S>
SPUPROJ_HD static inline V bilinear(V above_left, V above_right, V below_left, V below_right, S y, S x) {
    return mix(mix(above_left, below_left, y), mix(above_right, below_right, y), x);
}

// For any tap.
template <class V, class S>
SPUPROJ_HD static inline V bilinear_if_positive(V above_left, V above_right, V below_left, V below_right, S y, S x) {
    const V left = mix_if_positive(above_left, below_left, y);
    return mix_if_positive(left, mix_if_positive(above_right, below_right, y), x);
}

// Weights of a tap's four pixels: upper left, upper right, lower left, lower right.
template <class A>
struct CornerWeights {
    A corner[4];
};

template <class A>
SPUPROJ_HD static inline CornerWeights<A> corner_weights(A y, A x) {
    return {{(A(1) - y) * (A(1) - x), (A(1) - y) * x, y * (A(1) - x), y * x}};
}

}  // namespace spuproj
