// How a thread reads a plane through a tap: blending or copying.
#pragma once

#include "spuproj/blend.hpp"
#include "spuproj/cuda.hpp"

namespace spuproj::cuda {

// The element at a byte offset, for which 32 bits suffice: a plane spans less than 4 GiB.
template <class E>
SPUPROJ_HD static inline const E& element_at(const E* plane, uint32_t bytes) {
    return *reinterpret_cast<const E*>(reinterpret_cast<const char*>(plane) + bytes);
}

// Byte offset of the pixel that a tap reads; 0 without a source.
SPUPROJ_HD static inline uint32_t pixel_of(int32_t stored, uint32_t pixel_bytes) {
    return stored == -1 ? 0 : static_cast<uint32_t>(source_index(stored)) * pixel_bytes;
}

// Blends elements E in the arithmetic type; the result is meaningless unless `valid`.
template <class E>
struct Blend {
    using Element = E;
    using Value = Arithmetic<E>;

    uint32_t first, right, down;  // byte offsets of the upper left pixel, and from it to its neighbours
    Value fraction_y, fraction_x;
    bool valid;

    SPUPROJ_HD Blend(const Taps& taps, int64_t tap, int64_t pixel_stride) {
        const uint32_t pixel = static_cast<uint32_t>(pixel_stride) * static_cast<uint32_t>(sizeof(E));
        fraction_y = static_cast<const Value*>(taps.fraction_y)[tap];
        fraction_x = static_cast<const Value*>(taps.fraction_x)[tap];
        valid = taps.index[tap] != -1;
        first = pixel_of(taps.index[tap], pixel);
        right = fraction_x > Value(0) ? pixel : 0;
        down = fraction_y > Value(0) ? static_cast<uint32_t>(taps.source_width) * pixel : 0;
    }

    SPUPROJ_HD Value operator()(const E* plane) const {
        const uint32_t below = first + down;
        return bilinear_if_positive(load(element_at(plane, first)), load(element_at(plane, first + right)),
                                    load(element_at(plane, below)), load(element_at(plane, below + right)), fraction_y,
                                    fraction_x);
    }
};

// Copies elements of any type with the size of E.
template <class E>
struct CopyElement {
    using Element = E;
    using Value = E;

    uint32_t pixel;
    bool valid;

    SPUPROJ_HD CopyElement(const Taps& taps, int64_t tap, int64_t pixel_stride) {
        valid = taps.index[tap] != -1;
        pixel = pixel_of(taps.index[tap], static_cast<uint32_t>(pixel_stride * int64_t{sizeof(E)}));
    }

    SPUPROJ_HD Value operator()(const E* plane) const { return element_at(plane, pixel); }
};

}  // namespace spuproj::cuda
