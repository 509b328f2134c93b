// Azimuthal projections. A profile L maps the polar angle theta on the unit sphere to a distance L(theta) in the plane.
#pragma once

#include "spuproj/platform.hpp"

namespace spuproj {

constexpr double kPi = 3.14159265358979323846;
// A polar angle with a cosine from minus this to zero counts as 90 degrees.
constexpr double kCosineTolerance = 1e-12;

struct PolarAngle {
    double sine, cosine;
};

struct Distance {
    double value;
    bool valid;  // whether the polar angle lies in the profile's domain
};

// Each profile has the largest distance L (HUGE_VAL if unbounded), `inverse`, the polar angle with L(theta) = s for
// 0 <= s <= kLargest, and `forward`, L of a polar angle.
struct Gnomonic {
    static constexpr double kLargest = HUGE_VAL;
    SPUPROJ_HD static PolarAngle inverse(double s) {
        const double cosine = 1.0 / std::sqrt(1.0 + s * s);
        return {s * cosine, cosine};
    }
    SPUPROJ_HD static Distance forward(double sine, double cosine) { return {sine / cosine, cosine > 0.0}; }
};

struct Stereographic {
    static constexpr double kLargest = HUGE_VAL;
    SPUPROJ_HD static PolarAngle inverse(double s) {
        const double q = 0.25 * s * s;
        return {s / (1.0 + q), (1.0 - q) / (1.0 + q)};
    }
    SPUPROJ_HD static Distance forward(double sine, double cosine) {
        // The second form avoids the cancellation in 1 + cosine.
        if (cosine >= 0.0) return {2.0 * sine / (1.0 + cosine), true};
        return {2.0 * (1.0 - cosine) / sine, sine > 0.0};
    }
};

struct Equidistant {
    static constexpr double kLargest = kPi;
    SPUPROJ_HD static PolarAngle inverse(double s) { return {std::sin(s), std::cos(s)}; }
    SPUPROJ_HD static Distance forward(double sine, double cosine) { return {std::atan2(sine, cosine), true}; }
};

struct EqualArea {
    static constexpr double kLargest = 2.0;
    SPUPROJ_HD static PolarAngle inverse(double s) {
        const double q = 0.25 * s * s;
        return {s * std::sqrt(1.0 - q), 1.0 - 2.0 * q};
    }
    SPUPROJ_HD static Distance forward(double sine, double cosine) {
        if (cosine >= 0.0) return {sine * std::sqrt(2.0 / (1.0 + cosine)), true};
        return {std::sqrt(2.0 * (1.0 - cosine)), true};
    }
};

struct Orthographic {
    static constexpr double kLargest = 1.0;
    SPUPROJ_HD static PolarAngle inverse(double s) { return {s, std::sqrt((1.0 - s) * (1.0 + s))}; }
    SPUPROJ_HD static Distance forward(double sine, double cosine) { return {sine, cosine >= -kCosineTolerance}; }
};

template <class... P>
struct ProfileList {
    static constexpr int kCount = sizeof...(P);
};

// A profile's position is its code in geometry tables; PROFILES in Python has the same order.
using Profiles = ProfileList<Gnomonic, Stereographic, Equidistant, EqualArea, Orthographic>;

// Calls `call` with the profile of a code; returns false, without calling, for an unknown code.
template <class Call, class... P>
SPUPROJ_HD static inline bool with_profile(double code, ProfileList<P...>, const Call& call) {
    double place = 0.0;
    return ((code == place++ && (call(P()), true)) || ...);
}

// Whether a distance is in the profile's range, which is extended by the tolerance.
template <class P>
SPUPROJ_HD static inline bool in_range(P, double s, double tolerance) {
    return P::kLargest < HUGE_VAL ? s <= P::kLargest + tolerance : s * s < HUGE_VAL;
}

}  // namespace spuproj
