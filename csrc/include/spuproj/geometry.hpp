// Maps between slice and view through the sphere, in closed form in both directions; see docs/geometry.md.
#pragma once

#include "spuproj/profiles.hpp"

namespace spuproj {

// A point at most this many pixels outside a border counts as on it.
constexpr double kBorderTolerance = 1e-6;

// One row of the geometry table, in the order of Geometry.table() in Python. Vectors are ordered (y, x, pole).
struct ViewGeometry {
    double tangent_y, tangent_x;
    double radius;
    double scale;
    double pole_y, pole_x;
    double lift, chart;
    double rotation[9];
    double spacing_y, spacing_x;  // of the slice's pixels, in the radius's unit
};

struct Point {
    double y, x;
    bool valid;
};

// The slice's or the view's plane: its profile code, and the factor from L to a distance in the plane.
struct TangentPlane {
    double profile, scale;
};

// The sphere's rotation, or its transpose, the inverse.
struct Rotation {
    const double* matrix;
    bool transposed;

    SPUPROJ_HD double operator()(int i, int j) const { return matrix[transposed ? 3 * j + i : 3 * i + j]; }
};

// Maps an offset in one plane to the sphere, rotates it, and maps it to an offset in the other plane. For equal
// profiles and a rotation about the pole this is a zoom, rotation and flip of the plane.
SPUPROJ_HD static inline Point plane_to_plane(double dy, double dx, TangentPlane from, TangentPlane to, Rotation a) {
    const double distance = std::sqrt(dy * dy + dx * dx), s = distance / from.scale;
    const bool is_similarity = from.profile == to.profile && a(2, 2) == 1.0;
    PolarAngle theta = {0.0, 1.0};
    bool valid = false;
    with_profile(from.profile, Profiles(), [&](auto profile) {
        using P = decltype(profile);
        valid = in_range(profile, s, kBorderTolerance / from.scale);
        if (!is_similarity) theta = P::inverse(s < P::kLargest ? s : P::kLargest);
    });
    if (is_similarity) {
        const double ratio = to.scale / from.scale;
        return {ratio * (a(0, 0) * dy + a(0, 1) * dx), ratio * (a(1, 0) * dy + a(1, 1) * dx), valid};
    }
    const double per_distance = distance > 0.0 ? theta.sine / distance : 0.0;
    const double s0 = per_distance * dy, s1 = per_distance * dx, s2 = theta.cosine;
    const double r0 = a(0, 0) * s0 + a(0, 1) * s1 + a(0, 2) * s2;
    const double r1 = a(1, 0) * s0 + a(1, 1) * s1 + a(1, 2) * s2;
    const double r2 = a(2, 0) * s0 + a(2, 1) * s1 + a(2, 2) * s2;
    const double sine = std::sqrt(r0 * r0 + r1 * r1);
    Distance end = {0.0, false};
    with_profile(to.profile, Profiles(), [&](auto profile) { end = decltype(profile)::forward(sine, r2); });
    const double length = to.scale * end.value;
    // At a pole the azimuth is arbitrary; 0, along +x, is used.
    const double unit_y = sine > 0.0 ? r0 / sine : 0.0;
    const double unit_x = sine > 0.0 ? r1 / sine : 1.0;
    return {length * unit_y, length * unit_x, valid && end.valid};
}

// Where slice pixel (y, x) lands in the view.
SPUPROJ_HD static inline Point to_view(const ViewGeometry& g, double y, double x) {
    const double dy = (y - g.tangent_y) * g.spacing_y, dx = (x - g.tangent_x) * g.spacing_x;
    const Point q = plane_to_plane(dy, dx, {g.lift, g.radius}, {g.chart, g.scale}, {g.rotation, false});
    return {g.pole_y + q.y, g.pole_x + q.x, q.valid};
}

// Where view pixel (v, u) comes from in the slice.
SPUPROJ_HD static inline Point to_slice(const ViewGeometry& g, double v, double u) {
    const double dv = v - g.pole_y, du = u - g.pole_x;
    const Point p = plane_to_plane(dv, du, {g.chart, g.scale}, {g.lift, g.radius}, {g.rotation, true});
    return {g.tangent_y + p.y / g.spacing_y, g.tangent_x + p.x / g.spacing_x, p.valid};
}

// Clamps a coordinate that is at most `tolerance` outside of [0, size - 1]; returns false for others and for NaN.
SPUPROJ_HD static inline bool clamp_inside(double& coordinate, int64_t size, double tolerance) {
    const double last = static_cast<double>(size - 1);
    if (!(coordinate >= -tolerance && coordinate <= last + tolerance) || size < 1) return false;
    coordinate = coordinate < 0.0 ? 0.0 : (coordinate > last ? last : coordinate);
    return true;
}

}  // namespace spuproj
