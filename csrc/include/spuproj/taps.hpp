// Taps: which source pixels each point reads and how it blends them. Points are the pixels of views that read a slice
// (the source), or of a slice that reads views.
#pragma once

#include "spuproj/platform.hpp"

namespace spuproj {

// Taps of N or B x N views, [views, pixels] each; fractions have the arithmetic type of the tensors.
// A tap reads its pixel and, where a fraction is positive, the next pixel down (y) and right (x).
struct Taps {
    int32_t* index;  // encoded by stored_index
    void* fraction_y;
    void* fraction_x;
    int64_t pixels;         // points of one view
    int64_t width;          // points of a row
    int64_t source_pixels;  // of one source plane
    int64_t source_width;
    int64_t sample_stride;  // points from one sample to the next; 0 if all samples share the taps
};

// As many consecutive taps of a view as have their indices in one cache line.
constexpr int64_t kTapLine = 16;

// Encodes a pixel index below 2^31 - 1 with the kind of tap: the index itself if it blends four pixels, -2 - index if a
// fraction is exactly zero, so that a neighbour must not be read, and -1 without a source.
// A is the stored precision: a tiny fraction of type double may be zero as a float.
template <class A>
SPUPROJ_HD static inline int32_t stored_index(int64_t index, A fraction_y, A fraction_x) {
    const bool blends = fraction_y > A(0) && fraction_x > A(0);
    return static_cast<int32_t>(index < 0 || blends ? index : -2 - index);
}

// Decodes the pixel index; -1 without a source.
SPUPROJ_HD static inline int64_t source_index(int32_t stored) {
    return stored < -1 ? -2 - static_cast<int64_t>(stored) : stored;
}

}  // namespace spuproj
