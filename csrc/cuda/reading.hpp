// How a thread reads a plane through its tap: blending or copying.
#pragma once

#include "spuproj/blend.hpp"
#include "spuproj/cuda.hpp"

namespace spuproj::cuda {

// A tap as it is stored; apart from Blend, so that a loop can load the next one while it uses this one.
template <class A>
struct StoredTap {
    int32_t index;
    A fraction_y, fraction_x;

    SPUPROJ_HD StoredTap(const Taps& taps, int64_t tap)
        : index(taps.index[tap]),
          fraction_y(static_cast<const A*>(taps.fraction_y)[tap]),
          fraction_x(static_cast<const A*>(taps.fraction_x)[tap]) {}

    // The upper left pixel; the first pixel without a source.
    SPUPROJ_HD int64_t pixel() const { return index == -1 ? 0 : source_index(index); }
};

// Blends elements E of a view in the arithmetic type. kAdjacent: the pixels of a row are adjacent in memory, so that
// right neighbours need no addresses of their own.
template <class E, bool kAdjacent>
struct Blend {
    using Element = E;
    using Value = Arithmetic<E>;

    const E *upper, *lower;  // the upper left and the lower left pixel of the view's plane of offset zero
    int64_t right;           // from a pixel to its right neighbour, in elements
    Value fraction_y, fraction_x;
    bool valid, blends_four;

    SPUPROJ_HD Blend(const StoredTap<Value>& tap, const E* view, int64_t source_width, int64_t pixel_stride)
        : right(kAdjacent ? 1 : pixel_stride),
          fraction_y(tap.fraction_y),
          fraction_x(tap.fraction_x),
          valid(tap.index != -1),
          blends_four(tap.index >= 0) {
        upper = view + tap.pixel() * right;
        lower = upper + source_width * right;
    }

    SPUPROJ_HD Blend(const Taps& taps, int64_t tap, const E* view, int64_t pixel_stride)
        : Blend(StoredTap<Value>(taps, tap), view, taps.source_width, pixel_stride) {}

    // Of the plane at an offset, where the tap blends four pixels.
    SPUPROJ_HD Value of_four(int64_t plane) const {
        const E *above = upper + plane, *below = lower + plane;
        const int64_t next = kAdjacent ? 1 : right;
        return bilinear(load(above[0]), load(above[next]), load(below[0]), load(below[next]), fraction_y, fraction_x);
    }

    // Where a fraction is zero: the neighbour on that side is not read.
    SPUPROJ_HD Value of_fewer(int64_t plane) const {
        const E *above = upper + plane, *below = (fraction_y > Value(0) ? lower : upper) + plane;
        const int64_t next = fraction_x > Value(0) ? right : 0;
        return bilinear_if_positive(load(above[0]), load(above[next]), load(below[0]), load(below[next]), fraction_y,
                                    fraction_x);
    }
};

// Copies elements of any type with the size of E.
template <class E>
struct CopyElement {
    using Element = E;
    using Value = E;

    static constexpr bool blends_four = false;

    const E* pixel;
    bool valid;

    SPUPROJ_HD CopyElement(const Taps& taps, int64_t tap, const E* view, int64_t pixel_stride)
        : valid(taps.index[tap] != -1) {
        pixel = view + (valid ? source_index(taps.index[tap]) : 0) * pixel_stride;
    }

    SPUPROJ_HD Value of_four(int64_t plane) const { return pixel[plane]; }
    SPUPROJ_HD Value of_fewer(int64_t plane) const { return pixel[plane]; }
};

}  // namespace spuproj::cuda
