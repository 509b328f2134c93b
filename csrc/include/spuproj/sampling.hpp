// Computes which source pixels a point reads.
#pragma once

#include "spuproj/geometry.hpp"
#include "spuproj/taps.hpp"

namespace spuproj {

// Everything that taps depend on but the geometry.
struct Sampling {
    int64_t height, width;  // of the points
    int64_t source_height, source_width;
    bool inverse;  // false: a view reads the slice; true: the slice reads a view
    bool nearest;
    bool border;            // points outside the source read its nearest pixel
    bool double_precision;  // of the fractions
};

// One tap, before it is stored. A row of -1 marks a point that has no source.
struct Tap {
    int64_t row, column;
    double fraction_y, fraction_x;
};

SPUPROJ_HD static inline Tap no_tap() { return {-1, 0, 0.0, 0.0}; }

// The tap of the point in this row and column.
SPUPROJ_HD static inline Tap tap_at(const ViewGeometry& g, const Sampling& sampling, int64_t row, int64_t column) {
    const double y = static_cast<double>(row), x = static_cast<double>(column);
    Point p = sampling.inverse ? to_view(g, y, x) : to_slice(g, y, x);
    const double tolerance = sampling.border ? HUGE_VAL : kBorderTolerance;
    if (!p.valid || !clamp_inside(p.y, sampling.source_height, tolerance) ||
        !clamp_inside(p.x, sampling.source_width, tolerance))
        return no_tap();
    // The nearest of two pixels at the same distance is that with the larger index.
    const double shift = sampling.nearest ? 0.5 : 0.0;
    const double top = std::floor(p.y + shift), left = std::floor(p.x + shift);
    const Tap tap = {static_cast<int64_t>(top), static_cast<int64_t>(left), p.y - top, p.x - left};
    return sampling.nearest ? Tap{tap.row, tap.column, 0.0, 0.0} : tap;
}

// A fraction in the precision of the taps, below 1 like the fraction itself: a tap never reads a pixel of weight 0.
template <class A>
SPUPROJ_HD static inline A stored_fraction(double fraction) {
    constexpr A largest = A(1) - (sizeof(A) == 4 ? A(0x1p-24) : A(0x1p-53));
    const A rounded = static_cast<A>(fraction);
    return rounded < largest ? rounded : largest;
}

// Stores tap p in Taps or Tiles; `width` is the row length of the source or of the tile's window.
template <class A, class T>
SPUPROJ_HD static inline void store_tap(const Tap& tap, int64_t width, const T& taps, int64_t p) {
    const A y = stored_fraction<A>(tap.fraction_y), x = stored_fraction<A>(tap.fraction_x);
    taps.index[p] = stored_index(tap.row < 0 ? -1 : tap.row * width + tap.column, y, x);
    static_cast<A*>(taps.fraction_y)[p] = y;
    static_cast<A*>(taps.fraction_x)[p] = x;
}

}  // namespace spuproj
