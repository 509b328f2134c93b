"""Coordinates under views: slice <-> sphere <-> view, both directions in closed form.

Pixel centres lie at integer coordinates (y, x), y down, x right; angles are in radians, coordinates in pixels, lengths
on the sphere in the unit of the spacing. ``docs/geometry.md`` lists the equations.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from spuproj.geometry.profiles import area_factor, polar_angle, profile_radius, radius_limit
from spuproj.geometry.table import FIELDS, Geometry

BORDER_TOLERANCE = 1e-6
"""A point this close to a border counts as on it, in pixels."""

_APART = 1e-30
"""Points closer than this count as one: the direction from one to the other, and its gradient, are not defined."""


class Plane(NamedTuple):
    """A plane that touches the sphere: where, in its pixels; the code and scale of its profile; its pixels' spacing."""

    origin: Tensor
    code: Tensor
    scale: Tensor
    spacing: Tensor


def _planes(g: Geometry) -> tuple[Plane, Plane]:
    """The plane of the slice and that of the view."""
    return Plane(g.tangent, g.lift, g.radius, g.spacing), Plane(g.pole, g.chart, g.scale, torch.ones_like(g.spacing))


def _length(y: Tensor, x: Tensor) -> Tensor:
    """Length of (y, x); exactly 0, without a gradient, where it is tiny: there the gradient of a length is NaN."""
    apart = y.abs() + x.abs() > _APART
    return torch.where(apart, torch.hypot(torch.where(apart, y, 1.0), x), 0.0)


def _offsets(plane: Plane, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Offsets of points from where the plane touches the sphere, and whether they are in the profile's domain.

    Points outside get the offset 0, so that no NaN enters the gradient of what follows.
    """
    dy, dx = ((at - plane.origin[..., axis]) * plane.spacing[..., axis] for axis, at in enumerate((y, x)))
    s = torch.hypot(dy, dx) / plane.scale
    inside = (s <= radius_limit(plane.code) + BORDER_TOLERANCE / plane.scale) & torch.isfinite(s)
    return torch.where(inside, dy, 0.0), torch.where(inside, dx, 0.0), inside


def _plane_to_sphere(code: Tensor, scale: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """Unit vectors (y, x, pole) of plane offsets in the profile's domain."""
    distance = _length(dy, dx)
    theta = polar_angle(code, distance / scale, BORDER_TOLERANCE / scale)
    apart = distance > 0
    per_distance = torch.sin(theta) / torch.where(apart, distance, 1.0)
    # At the pole L(theta) = theta to first order, so the offset in units of the scale is the vector.
    y, x = (torch.where(apart, per_distance * offset, offset / scale) for offset in (dy, dx))
    return torch.stack([y, x, torch.cos(theta)], dim=-1)


def polar_angle_of(s: Tensor) -> Tensor:
    """Polar angles ``[...]`` in [0, pi] of unit vectors ``[..., 3]``."""
    return torch.atan2(_length(s[..., 0], s[..., 1]), s[..., 2])


def _sphere_to_plane(code: Tensor, scale: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Plane offsets of unit vectors, and whether they are in the profile's domain (else the offset is finite).

    At a pole the azimuth is 0, along +x.
    """
    sine, radius = _length(s[..., 0], s[..., 1]), profile_radius(code, polar_angle_of(s))
    inside = ~torch.isnan(radius)
    length, apart = scale * torch.where(inside, radius, 0.0), sine > 0
    per_sine = length / torch.where(apart, sine, 1.0)
    y = torch.where(apart, per_sine * s[..., 0], scale * s[..., 0])
    x = torch.where(apart, per_sine * s[..., 1], scale * s[..., 1] + length)
    return y, x, inside


def _over_pixels(geometry: Geometry) -> Geometry:
    """The same geometry with two axes of length one for the pixels, after the leading axes."""
    at = geometry.radius.dim()
    # Not ``vars``, which the compiler of torch 2.7 does not know.
    return Geometry(**{name: getattr(geometry, name).unsqueeze(at).unsqueeze(at) for name in FIELDS})


def _rotated(s: Tensor, rotation: Tensor) -> Tensor:
    """Rotated vectors; not as a matrix product, whose rounding may depend on the number of points and of threads."""
    y, x, pole = s.unsqueeze(-2).unbind(-1)
    return rotation[..., 0] * y + rotation[..., 1] * x + rotation[..., 2] * pole


def lift_points(geometry: Geometry, y: Tensor, x: Tensor) -> Tensor:
    """Lifts slice points ``[..., P, Q]`` to unit vectors ``[..., P, Q, 3]``, rotated; NaN outside the lift's domain."""
    g = _over_pixels(geometry)
    dy, dx, inside = _offsets(_planes(g)[0], y, x)
    s = _rotated(_plane_to_sphere(g.lift, g.radius, dy, dx), g.rotation)
    return torch.where(inside[..., None], s, math.nan)


def chart_points(geometry: Geometry, s: Tensor) -> tuple[Tensor, Tensor]:
    """Maps rotated unit vectors ``[..., P, Q, 3]`` to view points (v, u); NaN outside the chart's domain."""
    g = _over_pixels(geometry)
    dv, du, inside = _sphere_to_plane(g.chart, g.scale, s)
    v, u = (torch.where(inside, offset, math.nan) for offset in (dv, du))
    return g.pole[..., 0] + v, g.pole[..., 1] + u


def _is_similarity(lift: Tensor, chart: Tensor, rotation: Tensor) -> Tensor:
    """Whether a view zooms, rotates and flips the plane: equal profiles, and a rotation about the pole."""
    return (lift == chart) & (rotation[..., 2, 2] == 1)


def _plane_to_plane(start: Plane, end: Plane, rotation: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Maps points of one plane to the sphere, rotates them, and maps them to the other; NaN outside the domains."""
    dy, dx, lifted = _offsets(start, y, x)
    s = _rotated(_plane_to_sphere(start.code, start.scale, dy, dx), rotation)
    *curved, shown = _sphere_to_plane(end.code, end.scale, s)
    flat, ratio = _is_similarity(start.code, end.code, rotation), end.scale / start.scale
    ends = []
    for axis, offset in enumerate(curved):
        straight = ratio * (rotation[..., axis, 0] * dy + rotation[..., axis, 1] * dx)
        # Without rounding both are equal, but only ``offset`` has the gradient for rotations not about the pole.
        offset = torch.where(flat, straight.detach() + (offset - offset.detach()), offset)
        at = end.origin[..., axis] + offset / end.spacing[..., axis]
        ends.append(torch.where(lifted & (shown | flat), at, math.nan))
    return ends[0], ends[1]


def to_view(geometry: Geometry, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """View coordinates of slice points, also of points outside the view's border.

    Args:
        geometry: views of any leading axes ``...``.
        y, x: float64 slice coordinates that broadcast with ``[..., 1, 1]``.

    Returns:
        (v, u) float64 view coordinates, in pixels; NaN outside the domain of the lift or the chart.
    """
    g = _over_pixels(geometry)
    plane, view = _planes(g)
    return _plane_to_plane(plane, view, g.rotation, y, x)


def to_slice(geometry: Geometry, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Slice coordinates of view points, also outside the slice's border; the inverse of ``to_view``."""
    g = _over_pixels(geometry)
    plane, view = _planes(g)
    return _plane_to_plane(view, plane, g.rotation.transpose(-1, -2), v, u)


def pixel_grid(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixel centres of an image: y ``[H, 1]`` and x ``[1, W]``, float64."""
    y, x = (torch.arange(n, dtype=torch.float64, device=device) for n in size)
    return y[:, None], x[None, :]


def snapped(y: Tensor, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Clamps coordinates within the tolerance of the image to it, with their gradient; NaN farther outside."""
    inside = (y >= -BORDER_TOLERANCE) & (y <= size[0] - 1 + BORDER_TOLERANCE)
    inside = inside & (x >= -BORDER_TOLERANCE) & (x <= size[1] - 1 + BORDER_TOLERANCE)
    y, x = _clamped(y, size[0]), _clamped(x, size[1])
    return torch.where(inside, y, math.nan), torch.where(inside, x, math.nan)


def _clamped(at: Tensor, count: int) -> Tensor:
    """Coordinates within 0 and count - 1. What moves them is a rounding, so it has no part in the gradient."""
    return at + (at.clamp(0, max(count - 1, 0)) - at).detach()


def slice_coordinates(table: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where in the slice each view pixel comes from.

    Args:
        table: ``[..., 19]`` geometry table.
        size: (H, W) of the slice.
        view_size: (h, w) of the view.

    Returns:
        (y, x), ``[..., h, w]`` float64 each, in slice pixels; NaN where invalid.
    """
    y, x = to_slice(Geometry.from_table(table), *pixel_grid(view_size, table.device))
    return snapped(y, x, size)


def view_coordinates(table: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where in the view each slice pixel lands: (v, u), ``[..., H, W]`` float64 each; NaN where invalid."""
    v, u = to_view(Geometry.from_table(table), *pixel_grid(size, table.device))
    return snapped(v, u, view_size)


def magnification(table: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> Tensor:
    """The local area factor of slice -> view at each slice pixel.

    The rotation preserves areas, so the factor is (k / R)^2 times the chart's area factor divided by the lift's,
    times the area of a slice pixel (Snyder 1987, sections 20 to 25: h k of each azimuthal projection).

    Args:
        table: ``[..., 19]`` geometry table.
        size: (H, W) of the slice.
        view_size: (h, w) of the view.

    Returns:
        ``[..., H, W]`` float64, view pixels per slice pixel; NaN where the slice pixel is not in the view.
    """
    geometry = Geometry.from_table(table)
    g = _over_pixels(geometry)
    y, x = pixel_grid(size, table.device)
    dy, dx, _ = _offsets(_planes(g)[0], y, x)
    theta = polar_angle(g.lift, torch.hypot(dy, dx) / g.radius, BORDER_TOLERANCE / g.radius)
    factor = area_factor(g.chart, polar_angle_of(lift_points(geometry, y, x))) / area_factor(g.lift, theta)
    factor = torch.where(_is_similarity(g.lift, g.chart, g.rotation), 1.0, factor)
    factor = factor * (g.scale / g.radius) ** 2 * g.spacing.prod(dim=-1)
    v, _ = view_coordinates(table, size, view_size)
    return torch.where(torch.isnan(v), math.nan, factor)
