"""Where points land by the float64 reference, and how far from there another correct float64 computation may land.

The bound follows the chain of ``docs/geometry.md``, with u = 2^-53 the rounding error of one operation:

1. Offsets, their length r and s = r / scale take at most five operations, so s is off by 5u s; two computations differ
   by twice that. ``_RATIO`` is 12.
2. The polar angle moves by what the profile's inverse makes of this change of s, which is much beside a rim. The unit
   vector takes about 20 more operations on numbers up to 1 (angles up to pi), among them the rotation; twice that is
   ``_VECTOR``, 40. A rotation that is not quite orthogonal changes lengths, which the formulas treat differently.
3. The vector's error e moves the chart's angle theta by e, and the azimuth by e / sin theta. The radius rho changes by
   k (L(theta + e) - L(theta)), and along the circle the point moves by k L(theta + e) e / sin theta, at most its
   diameter. Beside the end of an open domain both are unbounded: then nothing is known of where the point lands.
4. The last operations lose ``_SUM`` u of the largest number that they add.

A point is in the domains for certain, or possibly, if it is there with all, or any, of these errors.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spuproj import reference

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

U = 2.0**-53
_RATIO, _VECTOR, _SUM = 12 * U, 40 * U, 16 * U
_ANGLE_TOLERANCE = 1e-12


class Landing(NamedTuple):
    """Points ``[P]``: coordinates, NaN outside the domains; their errors; whether they are in the domains."""

    y: Array
    x: Array
    error_y: Array
    error_x: Array
    certain: Mask
    possible: Mask


def _lifted(start: reference.Plane, dy: Array, dx: Array) -> tuple[Array, Array, Array, Mask, Mask]:
    """Angle and azimuth on the sphere, the angle's error, and whether the point is in the domain."""
    profile, s = start.profile, np.hypot(dy, dx) / start.scale
    end = profile.radius_limit + reference.TOLERANCE / start.scale
    low, high = s * (1 - _RATIO), s * (1 + _RATIO)
    theta, least, most = (profile.inverse(np.minimum(each, profile.radius_limit)) for each in (s, low, high))
    return theta, np.arctan2(dy, dx), most - least, high <= end, low <= end


def _charted(end: reference.Plane, theta: Array, error: Array) -> tuple[Array, Array, Mask, Mask]:
    """Distance from the pole, how far the point may be from there, and whether it is in the domain."""
    profile = end.profile
    closed = np.isfinite(profile.radius_limit)
    limit = profile.theta_limit + (_ANGLE_TOLERANCE if closed else 0)
    low, high = np.maximum(theta - error, 0), theta + error
    far = np.where(high < profile.theta_limit, profile.radius(np.minimum(high, profile.theta_limit)), np.inf)
    far = np.minimum(far, profile.radius_limit)
    near = np.where(low < profile.theta_limit, profile.radius(np.minimum(low, profile.theta_limit)), 0)
    along = np.minimum(np.where(np.sin(theta) > 0, error / np.sin(theta), 2), 2) * far
    return end.scale * far, end.scale * (far - near + along), high <= limit, low <= limit


@np.errstate(all="ignore")
def landing(row: Array, points: tuple[int, int], inverse: bool) -> Landing:
    """Where the pixels of a view (with ``inverse``: of a slice) land in the slice (the view)."""
    plane, view, rotation = reference.planes_of(row)
    start, end, turn = (plane, view, rotation) if inverse else (view, plane, rotation.T)
    p, q = np.mgrid[0 : points[0], 0 : points[1]].astype(np.float64)
    y, x = (each.ravel() for each in (reference.to_view if inverse else reference.to_slice)(row, p, q))
    dy, dx = (
        (at.ravel() - origin) * spacing for at, origin, spacing in zip((p, q), start.origin, start.spacing, strict=True)
    )
    theta, phi, error, lifted, may_be_lifted = _lifted(start, dy, dx)
    turned = turn @ np.stack([np.sin(theta) * np.sin(phi), np.sin(theta) * np.cos(phi), np.cos(theta)])
    error = error + _VECTOR + np.abs(rotation @ rotation.T - np.eye(3)).max()
    angle = np.arctan2(np.hypot(turned[0], turned[1]), turned[2])
    far, apart, shown, may_be_shown = _charted(end, angle, error)
    # Beyond a rim, within the tolerance, a zoom goes on where the sphere stops.
    beyond = np.maximum(np.hypot(dy, dx) / start.scale - start.profile.radius_limit, 0) * end.scale
    errors = [
        (apart + beyond) / spacing + _SUM * (np.abs(origin) + far / spacing)
        for origin, spacing in zip(end.origin, end.spacing, strict=True)
    ]
    error_y, error_x = (np.nan_to_num(each, nan=np.inf, posinf=np.inf) for each in errors)
    return Landing(y, x, error_y, error_x, lifted & shown, may_be_lifted & may_be_shown)
