// Taps: which source pixels a destination pixel reads, and how they are blended.
#pragma once

#include "spuproj/geometry.hpp"

namespace spuproj {

// A tap reads pixel (row, column) and, where a fraction is positive, its next neighbour down (y) and right (x).
// A row of -1 marks a point that has no source; a fraction of exactly zero touches no neighbour.
struct Tap {
    int64_t row, column;
    double fraction_y, fraction_x;
};

SPUPROJ_HD static inline Tap bilinear_tap(double y, double x) {
    const double row = std::floor(y), column = std::floor(x);
    return {static_cast<int64_t>(row), static_cast<int64_t>(column), y - row, x - column};
}

// Half-way points go to the larger index.
SPUPROJ_HD static inline Tap nearest_tap(double y, double x) {
    return {static_cast<int64_t>(std::floor(y + 0.5)), static_cast<int64_t>(std::floor(x + 0.5)), 0.0, 0.0};
}

// The tap of destination pixel (row, column) of a view (forward) or of a slice (inverse).
struct Sampling {
    bool inverse;  // false: a view reads the slice; true: the slice reads a view
    bool nearest;
    bool border;  // beyond the source's rectangle read its nearest pixel
    int64_t source_height, source_width;
};

SPUPROJ_HD static inline Tap tap_at(const ViewGeometry& g, const Sampling& sampling, int64_t row, int64_t column) {
    Point p = sampling.inverse ? to_view(g, static_cast<double>(row), static_cast<double>(column))
                               : to_slice(g, static_cast<double>(row), static_cast<double>(column));
    const Tap none = {-1, 0, 0.0, 0.0};
    if (!p.valid || sampling.source_height < 1 || sampling.source_width < 1) return none;
    if (sampling.border) {
        const double last_y = static_cast<double>(sampling.source_height - 1);
        const double last_x = static_cast<double>(sampling.source_width - 1);
        if (p.y != p.y || p.x != p.x) return none;
        p.y = p.y < 0.0 ? 0.0 : (p.y > last_y ? last_y : p.y);
        p.x = p.x < 0.0 ? 0.0 : (p.x > last_x ? last_x : p.x);
    } else if (!snap_inside(p.y, sampling.source_height) || !snap_inside(p.x, sampling.source_width)) {
        return none;
    }
    return sampling.nearest ? nearest_tap(p.y, p.x) : bilinear_tap(p.y, p.x);
}

// How a tap's index is stored in 32 bits. Most taps blend four pixels; the sign sets the others apart: -1 has no
// source, and -2 - index marks a tap with a fraction of zero. An index is thus below 2^31 - 1.
// The fractions are those that will be read, in their own precision.
template <class A>
SPUPROJ_HD static inline int32_t stored_index(int64_t index, A fraction_y, A fraction_x) {
    const bool blends = fraction_y > A(0) && fraction_x > A(0);
    return static_cast<int32_t>(index < 0 || blends ? index : -2 - index);
}

SPUPROJ_HD static inline int64_t source_index(int32_t stored) {
    return stored < -1 ? -2 - static_cast<int64_t>(stored) : stored;
}

}  // namespace spuproj
