"""Coordinates under views: slice <-> sphere <-> view, both directions in closed form.

Pixel centres lie at integer coordinates (y, x), y down, x right; angles are in radians, coordinates in pixels, lengths
on the sphere in the unit of the spacing. ``docs/geometry.md`` lists the equations.
"""

import math

import torch
from torch import Tensor

from spuproj.geometry.profiles import area_factor, polar_angle, profile_radius, radius_limit
from spuproj.geometry.table import Geometry

BORDER_TOLERANCE = 1e-6
"""A point this close to a border counts as on it, in pixels."""

Plane = tuple[Tensor, Tensor]
"""A plane that touches the sphere: code and scale of its profile."""


def _plane_to_sphere(code: Tensor, scale: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """Unit vectors (y, x, pole) of plane offsets; NaN outside the profile's domain."""
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
    """The same geometry with two axes of length one for the pixels, after the leading axes."""
    at = geometry.radius.dim()
    return Geometry(**{name: values.unsqueeze(at).unsqueeze(at) for name, values in vars(geometry).items()})


def _from_tangent(g: Geometry, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets of slice points from the tangent point, in the unit of the spacing."""
    return (y - g.tangent[..., 0]) * g.spacing[..., 0], (x - g.tangent[..., 1]) * g.spacing[..., 1]


def _rotated(s: Tensor, rotation: Tensor) -> Tensor:
    return s @ rotation[..., 0, :, :].transpose(-1, -2)


def lift_points(geometry: Geometry, y: Tensor, x: Tensor) -> Tensor:
    """Lifts slice points ``[..., P, Q]`` to unit vectors ``[..., P, Q, 3]``, rotated; NaN outside the lift's domain."""
    g = _over_pixels(geometry)
    return _rotated(_plane_to_sphere(g.lift, g.radius, *_from_tangent(g, y, x)), g.rotation)


def chart_points(geometry: Geometry, s: Tensor) -> tuple[Tensor, Tensor]:
    """Maps rotated unit vectors ``[..., P, Q, 3]`` to view points (v, u); NaN outside the chart's domain."""
    g = _over_pixels(geometry)
    dv, du = _sphere_to_plane(g.chart, g.scale, s)
    return g.pole[..., 0] + dv, g.pole[..., 1] + du


def _is_similarity(lift: Tensor, chart: Tensor, rotation: Tensor) -> Tensor:
    """Whether a view zooms, rotates and flips the plane: equal profiles, and a rotation about the pole."""
    return (lift == chart) & (rotation[..., 2, 2] == 1)


def _plane_to_plane(dy: Tensor, dx: Tensor, start: Plane, end: Plane, rotation: Tensor) -> tuple[Tensor, Tensor]:
    """Maps offsets in one plane to the sphere, rotates them, and maps them to the other; NaN outside the domains."""
    (code, scale), (end_code, end_scale) = start, end
    y, x = _sphere_to_plane(end_code, end_scale, _rotated(_plane_to_sphere(code, scale, dy, dx), rotation))
    distance, ratio = torch.hypot(dy, dx), end_scale / scale
    inside = (distance / scale <= radius_limit(code) + BORDER_TOLERANCE / scale) & torch.isfinite(distance)
    flat_y = torch.where(inside, ratio * (rotation[..., 0, 0] * dy + rotation[..., 0, 1] * dx), math.nan)
    flat_x = torch.where(inside, ratio * (rotation[..., 1, 0] * dy + rotation[..., 1, 1] * dx), math.nan)
    flat = _is_similarity(code, end_code, rotation)
    return torch.where(flat, flat_y, y), torch.where(flat, flat_x, x)


def to_view(geometry: Geometry, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """View coordinates of slice points, also of points outside the view's border.

    Args:
        geometry: views of any leading axes ``...``.
        y, x: float64 slice coordinates that broadcast with ``[..., 1, 1]``.

    Returns:
        (v, u) float64 view coordinates, in pixels; NaN outside the domain of the lift or the chart.
    """
    g = _over_pixels(geometry)
    dv, du = _plane_to_plane(*_from_tangent(g, y, x), (g.lift, g.radius), (g.chart, g.scale), g.rotation)
    return g.pole[..., 0] + dv, g.pole[..., 1] + du


def to_slice(geometry: Geometry, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Slice coordinates of view points, also outside the slice's border; the inverse of ``to_view``."""
    g = _over_pixels(geometry)
    dv, du, back = v - g.pole[..., 0], u - g.pole[..., 1], g.rotation.transpose(-1, -2)
    dy, dx = _plane_to_plane(dv, du, (g.chart, g.scale), (g.lift, g.radius), back)
    return g.tangent[..., 0] + dy / g.spacing[..., 0], g.tangent[..., 1] + dx / g.spacing[..., 1]


def pixel_grid(size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixel centres of an image: y ``[H, 1]`` and x ``[1, W]``, float64."""
    y, x = (torch.arange(n, dtype=torch.float64, device=device) for n in size)
    return y[:, None], x[None, :]


def _snapped(y: Tensor, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Clamps coordinates within the tolerance of the image to it; NaN farther outside."""
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
    theta = polar_angle(g.lift, torch.hypot(*_from_tangent(g, y, x)) / g.radius, BORDER_TOLERANCE / g.radius)
    factor = area_factor(g.chart, polar_angle_of(lift_points(geometry, y, x))) / area_factor(g.lift, theta)
    factor = torch.where(_is_similarity(g.lift, g.chart, g.rotation), 1.0, factor)
    factor = factor * (g.scale / g.radius) ** 2 * g.spacing.prod(dim=-1)
    v, _ = view_coordinates(table, size, view_size)
    return torch.where(torch.isnan(v), math.nan, factor)
