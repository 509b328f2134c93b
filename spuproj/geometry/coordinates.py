"""Coordinates under views: slice <-> sphere <-> view, both directions in closed form.

Pixel centres lie at integer coordinates (y, x), y down, x right; angles are in radians, lengths in pixels. The five
azimuthal profiles are those of Snyder, *Map Projections: A Working Manual*, USGS Professional Paper 1395 (1987).
``docs/geometry.md`` derives the equations.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spuproj.geometry.profiles import area_factor, polar_angle, profile_radius, radius_limit
from spuproj.geometry.table import Geometry

BORDER_TOLERANCE = 1e-6
"""A point this close to a border counts as on it, in pixels."""


def _plane_to_sphere(code: Tensor, scale: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """Unit vectors (y, x, pole) of plane offsets, NaN beyond the profile's domain."""
    distance = torch.hypot(dy, dx)
    theta = polar_angle(code, distance / scale, BORDER_TOLERANCE / scale)
    per_distance = torch.where(distance > 0, torch.sin(theta) / distance, 0.0)
    return torch.stack([per_distance * dy, per_distance * dx, torch.cos(theta)], dim=-1)


def polar_angle_of(s: Tensor) -> Tensor:
    """Polar angles ``[...]`` in [0, pi] of unit vectors ``[..., 3]``."""
    return torch.atan2(torch.hypot(s[..., 0], s[..., 1]), s[..., 2])


def _sphere_to_plane(code: Tensor, scale: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Plane offsets of unit vectors, NaN beyond the profile's domain; at a pole the azimuth is 0, along +x."""
    sine = torch.hypot(s[..., 0], s[..., 1])
    length = scale * profile_radius(code, polar_angle_of(s))
    unit_y = torch.where(sine > 0, s[..., 0] / sine, 0.0)
    unit_x = torch.where(sine > 0, s[..., 1] / sine, 1.0)
    return length * unit_y, length * unit_x


def _over_pixels(geometry: Geometry) -> Geometry:
    """The same geometry with two axes of length one for the pixels."""
    return Geometry(
        tangent=geometry.tangent[..., None, None, :],
        radius=geometry.radius[..., None, None],
        scale=geometry.scale[..., None, None],
        pole=geometry.pole[..., None, None, :],
        lift=geometry.lift[..., None, None],
        chart=geometry.chart[..., None, None],
        rotation=geometry.rotation[..., None, None, :, :],
        spacing=geometry.spacing[..., None, None, :],
    )


def _from_tangent(g: Geometry, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Slice points as offsets from the tangent point, in units of the sphere."""
    return (y - g.tangent[..., 0]) * g.spacing[..., 0], (x - g.tangent[..., 1]) * g.spacing[..., 1]


def lift_points(geometry: Geometry, y: Tensor, x: Tensor) -> Tensor:
    """Slice points ``[..., P, Q]`` on the rotated sphere: unit ``[..., P, Q, 3]``, NaN beyond the lift's domain."""
    g = _over_pixels(geometry)
    s = _plane_to_sphere(g.lift, g.radius, *_from_tangent(g, y, x))
    return s @ geometry.rotation[..., None, :, :].transpose(-1, -2)


def chart_points(geometry: Geometry, s: Tensor) -> tuple[Tensor, Tensor]:
    """Rotated unit vectors ``[..., P, Q, 3]`` in the view: (v, u), NaN beyond the chart's domain."""
    g = _over_pixels(geometry)
    dv, du = _sphere_to_plane(g.chart, g.scale, s)
    return g.pole[..., 0] + dv, g.pole[..., 1] + du


def _similarity(
    g: Geometry, dy: Tensor, dx: Tensor, scale: Tensor, ratio: Tensor, rotation: Tensor
) -> tuple[Tensor, Tensor]:
    """A pure zoom, rotation and flip of plane offsets, NaN beyond the profile's domain."""
    distance = torch.hypot(dy, dx)
    inside = (distance / scale <= radius_limit(g.lift) + BORDER_TOLERANCE / scale) & torch.isfinite(distance)
    to_y = ratio * (rotation[..., 0, 0] * dy + rotation[..., 0, 1] * dx)
    to_x = ratio * (rotation[..., 1, 0] * dy + rotation[..., 1, 1] * dx)
    return torch.where(inside, to_y, math.nan), torch.where(inside, to_x, math.nan)


def _is_similarity(g: Geometry) -> Tensor:
    return (g.lift == g.chart) & (g.rotation[..., 2, 2] == 1)


def to_view(geometry: Geometry, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Where slice points land in the view, the view's border not regarded.

    Args:
        geometry: views of any leading axes ``...``.
        y, x: float64 slice coordinates that broadcast with ``[..., 1, 1]``.

    Returns:
        (v, u) float64 view coordinates; NaN beyond the lift's or the chart's domain.
    """
    g = _over_pixels(geometry)
    dy, dx = _from_tangent(g, y, x)
    v, u = chart_points(geometry, lift_points(geometry, y, x))
    flat_v, flat_u = _similarity(g, dy, dx, g.radius, g.scale / g.radius, g.rotation)
    flat = _is_similarity(g)
    return (
        torch.where(flat, g.pole[..., 0] + flat_v, v),
        torch.where(flat, g.pole[..., 1] + flat_u, u),
    )


def to_slice(geometry: Geometry, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Where view points come from in the slice, the slice's border not regarded; the inverse of ``to_view``."""
    g = _over_pixels(geometry)
    dv, du = v - g.pole[..., 0], u - g.pole[..., 1]
    back = g.rotation.transpose(-1, -2)
    s = _plane_to_sphere(g.chart, g.scale, dv, du)
    dy, dx = _sphere_to_plane(g.lift, g.radius, s @ geometry.rotation[..., None, :, :])
    flat_y, flat_x = _similarity(g, dv, du, g.scale, g.radius / g.scale, back)
    flat = _is_similarity(g)
    return (
        g.tangent[..., 0] + torch.where(flat, flat_y, dy) / g.spacing[..., 0],
        g.tangent[..., 1] + torch.where(flat, flat_x, dx) / g.spacing[..., 1],
    )


def pixel_grid(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixel centres of an image: y ``[H, 1]`` and x ``[1, W]``, float64."""
    y = torch.arange(size[0], dtype=torch.float64, device=device)
    x = torch.arange(size[1], dtype=torch.float64, device=device)
    return y[:, None], x[None, :]


def _snapped(y: Tensor, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Coordinates moved onto the image where they are within the tolerance of it, NaN beyond."""
    inside = (y >= -BORDER_TOLERANCE) & (y <= size[0] - 1 + BORDER_TOLERANCE)
    inside = inside & (x >= -BORDER_TOLERANCE) & (x <= size[1] - 1 + BORDER_TOLERANCE)
    y, x = y.clamp(0, max(size[0] - 1, 0)), x.clamp(0, max(size[1] - 1, 0))
    return torch.where(inside, y, math.nan), torch.where(inside, x, math.nan)


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
    return _snapped(y, x, size)


def view_coordinates(table: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where in the view each slice pixel lands: (v, u), ``[..., H, W]`` float64 each; NaN where invalid."""
    v, u = to_view(Geometry.from_table(table), *pixel_grid(size, table.device))
    return _snapped(v, u, view_size)


def magnification(table: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> Tensor:
    """The local area factor of slice -> view at each slice pixel.

    The rotation keeps areas, so the factor is (k / R)^2 times the chart's area factor over the lift's,
    times the area of a slice pixel (Snyder 1987, section 20 and following, h k of each azimuthal projection).

    Returns:
        ``[..., H, W]`` float64, view area per slice area; NaN where the slice pixel is not in the view.
    """
    geometry = Geometry.from_table(table)
    g = _over_pixels(geometry)
    y, x = pixel_grid(size, table.device)
    distance = torch.hypot(*_from_tangent(g, y, x))
    theta = polar_angle(g.lift, distance / g.radius, BORDER_TOLERANCE / g.radius)
    charted = polar_angle_of(lift_points(geometry, y, x))
    factor = area_factor(g.chart, charted) / area_factor(g.lift, theta)
    factor = torch.where(_is_similarity(g), 1.0, factor) * (g.scale / g.radius) ** 2 * g.spacing.prod(dim=-1)
    v, _ = view_coordinates(table, size, view_size)
    return torch.where(torch.isnan(v), math.nan, factor)
