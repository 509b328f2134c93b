// How a thread reads a plane through a tap: blended, or taken as it is.
#pragma once

#include "spuproj/cuda.hpp"

namespace spuproj::cuda {

// A fraction of zero keeps the first value, whatever the second one is.
template <class A>
SPUPROJ_HD static inline A mix(A first, A second, A fraction) {
    return fraction > A(0) ? first + fraction * (second - first) : first;
}

// An element at a distance in bytes; a plane spans less than 4 GiB.
template <class E>
SPUPROJ_HD static inline const E& element_at(const E* plane, uint32_t bytes) {
    return *reinterpret_cast<const E*>(reinterpret_cast<const char*>(plane) + bytes);
}

// Elements E, blended in arithmetic.
template <class E>
struct Blend {
    using Element = E;
    using Value = typename Arithmetic<E>::type;

    uint32_t first, right, down;  // bytes to the upper left pixel, and from there
    Value fraction_y, fraction_x;
    bool valid;

    // A tap without a source reads pixel 0 and leaves it.
    SPUPROJ_HD Blend(const Taps& taps, int64_t tap, int64_t pixel_stride) {
        const int32_t index = taps.index[tap];
        fraction_y = static_cast<const Value*>(taps.fraction_y)[tap];
        fraction_x = static_cast<const Value*>(taps.fraction_x)[tap];
        valid = index >= 0;
        const uint32_t pixel = static_cast<uint32_t>(pixel_stride) * static_cast<uint32_t>(sizeof(E));
        first = valid ? static_cast<uint32_t>(index) * pixel : 0;
        right = fraction_x > Value(0) ? pixel : 0;
        down = fraction_y > Value(0) ? static_cast<uint32_t>(taps.source_width) * pixel : 0;
    }

    SPUPROJ_HD Value operator()(const E* plane) const {
        const uint32_t below = first + down;
        const Value top = mix(load(element_at(plane, first)), load(element_at(plane, first + right)), fraction_x);
        const Value bottom = mix(load(element_at(plane, below)), load(element_at(plane, below + right)), fraction_x);
        return valid ? mix(top, bottom, fraction_y) : Value(0);
    }
};

// Elements of any type, of which only the size is known.
template <class E>
struct Take {
    using Element = E;
    using Value = E;

    uint32_t corner;
    bool valid;

    SPUPROJ_HD Take(const Taps& taps, int64_t tap, int64_t pixel_stride) {
        const int32_t index = taps.index[tap];
        valid = index >= 0;
        corner = valid ? static_cast<uint32_t>(index) * static_cast<uint32_t>(pixel_stride * int64_t{sizeof(E)}) : 0;
    }

    SPUPROJ_HD Value operator()(const E* plane) const { return valid ? element_at(plane, corner) : E(0); }
};

}  // namespace spuproj::cuda
