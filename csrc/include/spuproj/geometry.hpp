// The operator of docs/geometry.md: slice <-> sphere <-> view, both directions in closed form.
#pragma once

#include "spuproj/platform.hpp"

namespace spuproj {

constexpr double kPi = 3.14159265358979323846;
// A point this close to a border counts as on it, in pixels.
constexpr double kBorderTolerance = 1e-6;
// The same for a closed domain on the sphere, on the cosine of the polar angle.
constexpr double kCosineTolerance = 1e-12;

enum Profile : int { kGnomonic, kStereographic, kEquidistant, kEqualArea, kOrthographic };

// One row of the geometry table, in the order of spuproj/geometry.py. Vectors are ordered (y, x, pole).
struct ViewGeometry {
    double tangent_y, tangent_x;
    double radius;
    double scale;
    double origin_y, origin_x;
    double lift, chart;
    double rotation[9];
};

struct Point {
    double y, x;
    bool valid;
};

struct PolarAngle {
    double sine, cosine;
    bool valid;
};

// theta with L(theta) = s, for s >= 0; tolerance is kBorderTolerance in the units of s.
SPUPROJ_HD static inline PolarAngle polar_angle(int profile, double s, double tolerance) {
    switch (profile) {
        case kGnomonic: {
            const double cosine = 1.0 / std::sqrt(1.0 + s * s);
            return {s * cosine, cosine, s * s < HUGE_VAL};
        }
        case kStereographic: {
            const double q = 0.25 * s * s;
            return {s / (1.0 + q), (1.0 - q) / (1.0 + q), q < HUGE_VAL};
        }
        case kEquidistant: {
            const double theta = s < kPi ? s : kPi;
            return {std::sin(theta), std::cos(theta), s <= kPi + tolerance};
        }
        case kEqualArea: {
            const double chord = s < 2.0 ? s : 2.0;
            const double q = 0.25 * chord * chord;
            return {chord * std::sqrt(1.0 - q), 1.0 - 2.0 * q, s <= 2.0 + tolerance};
        }
        default: {
            const double sine = s < 1.0 ? s : 1.0;
            return {sine, std::sqrt((1.0 - sine) * (1.0 + sine)), s <= 1.0 + tolerance};
        }
    }
}

struct ProfileRadius {
    double value;
    bool valid;
};

// L(theta), from the sine (>= 0) and cosine of theta.
SPUPROJ_HD static inline ProfileRadius profile_radius(int profile, double sine, double cosine) {
    switch (profile) {
        case kGnomonic: return {sine / cosine, cosine > 0.0};
        case kStereographic:
            // The second form keeps its digits where 1 + cosine cancels.
            if (cosine >= 0.0) return {2.0 * sine / (1.0 + cosine), true};
            return {2.0 * (1.0 - cosine) / sine, sine > 0.0};
        case kEquidistant: return {std::atan2(sine, cosine), true};
        case kEqualArea:
            if (cosine >= 0.0) return {sine * std::sqrt(2.0 / (1.0 + cosine)), true};
            return {std::sqrt(2.0 * (1.0 - cosine)), true};
        default: return {sine, cosine >= -kCosineTolerance};
    }
}

// With equal profiles and the pole held fixed the sphere cancels: the view is a similarity of the plane.
SPUPROJ_HD static inline bool is_similarity(const ViewGeometry& g) { return g.lift == g.chart && g.rotation[8] == 1.0; }

// From one plane to the other through the sphere; the rotation is read transposed on the way back.
SPUPROJ_HD static inline Point through_sphere(double dy, double dx, int from, double from_scale, int to,
                                              double to_scale, const double* a, bool transposed) {
    const double distance = std::sqrt(dy * dy + dx * dx);
    const PolarAngle theta = polar_angle(from, distance / from_scale, kBorderTolerance / from_scale);
    const double per_distance = distance > 0.0 ? theta.sine / distance : 0.0;
    const double s0 = per_distance * dy, s1 = per_distance * dx, s2 = theta.cosine;
    const int row = transposed ? 1 : 3, column = transposed ? 3 : 1;
    const double r0 = a[0] * s0 + a[column] * s1 + a[2 * column] * s2;
    const double r1 = a[row] * s0 + a[row + column] * s1 + a[row + 2 * column] * s2;
    const double r2 = a[2 * row] * s0 + a[2 * row + column] * s1 + a[2 * row + 2 * column] * s2;
    const double sine = std::sqrt(r0 * r0 + r1 * r1);
    const ProfileRadius radius = profile_radius(to, sine, r2);
    const double length = to_scale * radius.value;
    // At a pole every azimuth names the same point; azimuth 0 lies along +x.
    const double unit_y = sine > 0.0 ? r0 / sine : 0.0;
    const double unit_x = sine > 0.0 ? r1 / sine : 1.0;
    return {length * unit_y, length * unit_x, theta.valid && radius.valid};
}

SPUPROJ_HD static inline Point similarity(double dy, double dx, int profile, double from_scale, double ratio,
                                          const double* a, bool transposed) {
    const double a01 = transposed ? a[3] : a[1], a10 = transposed ? a[1] : a[3];
    const double distance = std::sqrt(dy * dy + dx * dx);
    const bool valid = profile == kGnomonic || profile == kStereographic
                           ? distance < HUGE_VAL
                           : polar_angle(profile, distance / from_scale, kBorderTolerance / from_scale).valid;
    return {ratio * (a[0] * dy + a01 * dx), ratio * (a10 * dy + a[4] * dx), valid};
}

// Where slice pixel (y, x) lands in the view.
SPUPROJ_HD static inline Point to_view(const ViewGeometry& g, double y, double x) {
    const double dy = y - g.tangent_y, dx = x - g.tangent_x;
    const int lift = static_cast<int>(g.lift), chart = static_cast<int>(g.chart);
    const Point q = is_similarity(g) ? similarity(dy, dx, lift, g.radius, g.scale / g.radius, g.rotation, false)
                                     : through_sphere(dy, dx, lift, g.radius, chart, g.scale, g.rotation, false);
    return {g.origin_y + q.y, g.origin_x + q.x, q.valid};
}

// Where view pixel (v, u) comes from in the slice.
SPUPROJ_HD static inline Point to_slice(const ViewGeometry& g, double v, double u) {
    const double dv = v - g.origin_y, du = u - g.origin_x;
    const int lift = static_cast<int>(g.lift), chart = static_cast<int>(g.chart);
    const Point p = is_similarity(g) ? similarity(dv, du, chart, g.scale, g.radius / g.scale, g.rotation, true)
                                     : through_sphere(dv, du, chart, g.scale, lift, g.radius, g.rotation, true);
    return {g.tangent_y + p.y, g.tangent_x + p.x, p.valid};
}

// Moves a coordinate within the tolerance of [0, size - 1] onto it; false beyond, and for NaN.
SPUPROJ_HD static inline bool snap_inside(double& coordinate, int64_t size) {
    const double last = static_cast<double>(size - 1);
    if (!(coordinate >= -kBorderTolerance && coordinate <= last + kBorderTolerance) || size < 1) return false;
    coordinate = coordinate < 0.0 ? 0.0 : (coordinate > last ? last : coordinate);
    return true;
}

}  // namespace spuproj
