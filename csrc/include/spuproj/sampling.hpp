// Computes which source pixels a point reads.
#pragma once

#include "spuproj/geometry.hpp"
#include "spuproj/taps.hpp"

namespace spuproj {

// How points read the source (see taps.hpp).
struct Sampling {
    bool inverse;  // false: a view reads the slice; true: the slice reads a view
    bool nearest;
    bool border;  // points outside the source read its nearest pixel
    int64_t source_height, source_width;
};

// One tap, before it is stored. A row of -1 marks a point that has no source.
struct Tap {
    int64_t row, column;
    double fraction_y, fraction_x;
};

SPUPROJ_HD static inline Tap no_tap() { return {-1, 0, 0.0, 0.0}; }

SPUPROJ_HD static inline Tap bilinear_tap(double y, double x) {
    const double row = std::floor(y), column = std::floor(x);
    return {static_cast<int64_t>(row), static_cast<int64_t>(column), y - row, x - column};
}

// Half-way cases round to the larger index.
SPUPROJ_HD static inline Tap nearest_tap(double y, double x) {
    return {static_cast<int64_t>(std::floor(y + 0.5)), static_cast<int64_t>(std::floor(x + 0.5)), 0.0, 0.0};
}

// Source coordinates of point (row, column), possibly outside the source.
SPUPROJ_HD static inline Point source_point(const ViewGeometry& g, const Sampling& sampling, int64_t row,
                                            int64_t column) {
    const double y = static_cast<double>(row), x = static_cast<double>(column);
    return sampling.inverse ? to_view(g, y, x) : to_slice(g, y, x);
}

// Whether a point is in the source; coordinates outside by no more than the tolerance are clamped.
SPUPROJ_HD static inline bool snap_inside(Point& p, const Sampling& sampling) {
    return p.valid && snap_inside(p.y, sampling.source_height) && snap_inside(p.x, sampling.source_width);
}

// The same for border padding: all coordinates are clamped.
SPUPROJ_HD static inline bool clamp_inside(Point& p, const Sampling& sampling) {
    if (!p.valid || p.y != p.y || p.x != p.x || sampling.source_height < 1 || sampling.source_width < 1) return false;
    const double last_y = static_cast<double>(sampling.source_height - 1);
    const double last_x = static_cast<double>(sampling.source_width - 1);
    p.y = p.y < 0.0 ? 0.0 : (p.y > last_y ? last_y : p.y);
    p.x = p.x < 0.0 ? 0.0 : (p.x > last_x ? last_x : p.x);
    return true;
}

SPUPROJ_HD static inline Tap tap_at(const ViewGeometry& g, const Sampling& sampling, int64_t row, int64_t column) {
    Point p = source_point(g, sampling, row, column);
    if (!(sampling.border ? clamp_inside(p, sampling) : snap_inside(p, sampling))) return no_tap();
    return sampling.nearest ? nearest_tap(p.y, p.x) : bilinear_tap(p.y, p.x);
}

// Stores tap p in Taps or Tiles; `width` is the row length of the source or of the tile's window.
template <class A, class T>
SPUPROJ_HD static inline void store_tap(const Tap& tap, int64_t width, const T& taps, int64_t p) {
    const A y = static_cast<A>(tap.fraction_y), x = static_cast<A>(tap.fraction_x);
    taps.index[p] = stored_index(tap.row < 0 ? -1 : tap.row * width + tap.column, y, x);
    static_cast<A*>(taps.fraction_y)[p] = y;
    static_cast<A*>(taps.fraction_x)[p] = x;
}

}  // namespace spuproj
