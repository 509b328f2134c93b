// Taps: which source pixels each point reads, and how they are blended, as they are stored.
#pragma once

#include "spuproj/platform.hpp"

namespace spuproj {

// Taps of B x N or of N views: [views, pixels] each, fractions in the arithmetic type of the tensors they serve.
// A tap reads its pixel and, where a fraction is positive, the next pixel down (y) and right (x).
struct Taps {
    int32_t* index;  // as stored_index gives it
    void* fraction_y;
    void* fraction_x;
    int64_t pixels;         // of the raster that reads
    int64_t source_pixels;  // of the raster that is read
    int64_t source_width;
    int64_t sample_stride;  // from one sample's first view to the next one's, in pixels; 0 when the batch shares them
};

// A pixel's index in 32 bits. Its sign sets apart the taps that do not blend four pixels: -1 has no source, and
// -2 - index has a fraction of exactly zero, so that it must not touch a neighbour. An index is below 2^31 - 1.
// The fractions are those that will be read, in their own precision.
template <class A>
SPUPROJ_HD static inline int32_t stored_index(int64_t index, A fraction_y, A fraction_x) {
    const bool blends = fraction_y > A(0) && fraction_x > A(0);
    return static_cast<int32_t>(index < 0 || blends ? index : -2 - index);
}

// The pixel's index, or -1.
SPUPROJ_HD static inline int64_t source_index(int32_t stored) {
    return stored < -1 ? -2 - static_cast<int64_t>(stored) : stored;
}

}  // namespace spuproj
