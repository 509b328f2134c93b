"""The largest chart scale at which a box of the slice stays inside the view, and where the pole then lands."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from spuproj.geometry.coordinates import chart_points, lift_points, polar_angle_of
from spuproj.geometry.profiles import PROFILES, Profile, profile_radius, radius_limit
from spuproj.geometry.table import Geometry

_SAMPLES = 129
_REFINED_SAMPLES = 17
_REFINEMENTS = 4


def contained(geometry: Geometry, box: Sequence[float], view_size: tuple[int, int], *, centered: bool) -> Geometry:
    """The views with the largest chart scale k at which a box of the slice is inside the view.

    Points outside the lift's domain are ignored. A view coordinate takes its extremes on the boundary of the region
    that is shown (the map is open inside it) or at the chart's antipode. So the boundary is sampled, and sampled more
    densely around the best samples. Scale and pole have gradients.

    Args:
        geometry: views of any leading axes ``...``; ``scale`` and ``pole`` are ignored.
        box: (y0, x0, y1, x1), in slice pixels.
        view_size: (h, w) of the view.
        centered: whether the pole lands at the view's centre, or where the scale can be largest.

    Raises:
        ValueError: where the chart cannot show the whole box, or the view is a single pixel across.
    """
    unit, sides = _in_units_of_the_sphere(Geometry.from_table(geometry.table().flatten(0, -2)), box)
    with torch.no_grad():
        antipode = _reach_of_antipode(unit, sides)
    reach = torch.maximum(_reach_of_border(unit, sides), antipode[:, None])
    before, after = reach.unflatten(1, (2, 2)).unbind(1)
    width = 2 * torch.maximum(before, after) if centered else before + after
    room = torch.tensor([n - 1.0 for n in view_size], dtype=torch.float64, device=reach.device)
    if bool(((room == 0) & (width > 0)).any()):
        raise ValueError(
            f"view_size must be at least 2 pixels on each side for a fit, got {view_size}; or set magnification="
        )
    scale = torch.where(width > 0, room / torch.where(width > 0, width, 1.0), math.inf).amin(dim=1)
    scale = torch.where(torch.isinf(scale), unit.radius, scale)
    pole = room / 2 if centered else room / 2 + scale[:, None] * (before - after) / 2
    return replace(
        geometry,
        scale=scale.reshape(geometry.radius.shape),
        pole=pole.expand(len(scale), 2).reshape(geometry.pole.shape),
    )


def _in_units_of_the_sphere(geometry: Geometry, box: Sequence[float]) -> tuple[Geometry, Tensor]:
    """Views relative to the box's first corner, with spacing 1, scale 1, pole 0; and the box's sides ``[M, 2]``."""
    y0, x0, y1, x1 = map(float, box)
    corner, sides = torch.tensor([[y0, x0], [y1 - y0, x1 - x0]], dtype=torch.float64, device=geometry.radius.device)
    moved = replace(
        geometry,
        tangent=(geometry.tangent - corner) * geometry.spacing,
        spacing=torch.ones_like(geometry.spacing),
        scale=torch.ones_like(geometry.scale),
        pole=torch.zeros_like(geometry.pole),
    )
    return moved, sides * geometry.spacing


def _reach_of_border(geometry: Geometry, sides: Tensor) -> Tensor:
    """Largest -v, -u, v and u of every view along the boundary of the region that its lift reaches, ``[M, 4]``.

    The gradient is that of the best points at fixed positions on their curves: a largest value does not change, to
    first order, with the position at which it is taken.
    """
    with torch.no_grad():
        farthest = _farthest(geometry, sides)
    return _reach_at(geometry, sides, farthest)[..., 0].amax(dim=1).clamp(min=0)


def _farthest(geometry: Geometry, sides: Tensor) -> Tensor:
    """Boundary positions ``[M, K, 4, 1]`` of the largest -v, -u, v and u of every view along every curve.

    K is 4, for the edges, or 8 if the lift of any view has a rim.
    """
    curves = 8 if bool((_rim(geometry) > 0).any()) else 4
    at = torch.linspace(0, 1, _SAMPLES, dtype=torch.float64, device=sides.device).expand(len(sides), curves, 1, -1)
    width = 1 / (_SAMPLES - 1)
    steps = torch.linspace(-1, 1, _REFINED_SAMPLES, dtype=torch.float64, device=sides.device)
    for _ in range(_REFINEMENTS):
        at = (_best(geometry, sides, at) + width * steps).clamp(0, 1)
        width *= 2 / (_REFINED_SAMPLES - 1)
    return _best(geometry, sides, at)


def _best(geometry: Geometry, sides: Tensor, at: Tensor) -> Tensor:
    reach = _reach_at(geometry, sides, at)
    return at.expand_as(reach).gather(-1, reach.argmax(dim=-1, keepdim=True))


def _reach_at(geometry: Geometry, sides: Tensor, at: Tensor) -> Tensor:
    """-v, -u, v and u, ``[M, K, 4, S]``, at boundary positions ``[M, K, 4, S]``, or shared, ``[M, K, 1, S]``."""
    y, x = _border(geometry, sides, at.flatten(2))
    each = _reach(geometry, y.flatten(1), x.flatten(1)).reshape(*at.shape, 4)
    return torch.stack([each[:, :, way if at.shape[2] > 1 else 0, :, way] for way in range(4)], dim=2)


def _border(geometry: Geometry, sides: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Points at positions ``[M, K, S]`` in [0, 1] along the four edges and, if K is 8, the quarters of the lift's rim.

    Those of an edge run along the part that the lift reaches, whose ends are corners of what is shown. NaN where there
    is no such part, and where the rim is outside the box.
    """
    rim, (ty, tx), (last_y, last_x) = _rim(geometry), geometry.tangent.unbind(-1), sides.unbind(-1)
    edge_y, edge_x = (torch.stack([torch.zeros_like(last), last], dim=1) for last in (last_y, last_x))
    x = _reached(rim, edge_y - ty[:, None], tx, last_x, at[:, :2])
    y = _reached(rim, edge_x - tx[:, None], ty, last_y, at[:, 2:4])
    quarter = torch.arange(at.shape[1] - 4, dtype=torch.float64, device=at.device)[:, None]
    angle = math.pi / 2 * (quarter + at[:, 4:])
    rim_y = ty[:, None, None] + rim[:, None, None] * torch.sin(angle)
    rim_x = tx[:, None, None] + rim[:, None, None] * torch.cos(angle)
    rim_y, rim_x = (each.view_as(angle) for each in _inside(rim_y.flatten(1), rim_x.flatten(1), sides))
    edges_y, edges_x = (edge[:, :, None].expand_as(x) for edge in (edge_y, edge_x))
    return torch.cat([edges_y, y, rim_y], dim=1), torch.cat([x, edges_x, rim_x], dim=1)


def _reached(rim: Tensor, beside: Tensor, tangent: Tensor, last: Tensor, at: Tensor) -> Tensor:
    """Coordinates ``[M, 2, S]`` along the parts of two edges, from 0 to ``last``, that the lift reaches; or NaN.

    Args:
        rim: see ``_rim``.
        beside: ``[M, 2]``, the distance of each edge from the tangent point.
        tangent: ``[M]``, the coordinate of the tangent point along them.
        last: ``[M]``.
        at: positions in [0, 1], ``[M, 2, S]``.
    """
    half = torch.where(rim[:, None] > 0, _leg(rim[:, None], beside), math.inf)
    ends = tangent[:, None] - half, tangent[:, None] + half
    start, end = (torch.minimum(each.clamp(min=0), last[:, None])[..., None] for each in ends)
    return start + (end - start) * at


def _leg(hypotenuse: Tensor, other: Tensor) -> Tensor:
    """The third side of a right triangle; NaN where there is none."""
    square = hypotenuse**2 - other**2
    return torch.where(square > 0, torch.sqrt(torch.where(square > 0, square, 1.0)), math.nan)


def _rim(geometry: Geometry) -> Tensor:
    """Distance of the rim of the lift's domain from the tangent point, ``[M]``; 0 if the domain is the whole plane."""
    limit = radius_limit(geometry.lift)
    return geometry.radius * torch.where(torch.isinf(limit), 0.0, limit)


def _inside(y: Tensor, x: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
    """The points that lie in the box, NaN for the others."""
    inside = (y >= 0) & (y <= sides[:, :1]) & (x >= 0) & (x <= sides[:, 1:])
    return torch.where(inside, y, math.nan), torch.where(inside, x, math.nan)


def _reach(geometry: Geometry, y: Tensor, x: Tensor) -> Tensor:
    """-v, -u, v and u of slice points ``[M, P]`` -> ``[M, P, 4]``; -inf outside the lift's domain."""
    s = lift_points(geometry, y[:, None], x[:, None])
    v, u = (offset.squeeze(1) for offset in chart_points(geometry, s))
    lifted = ~torch.isnan(s[:, 0, :, 2])
    hidden = (lifted & torch.isnan(v)).any(dim=1)
    if bool(hidden.any()):
        _raise_not_shown(geometry, int(hidden.nonzero()[0, 0]))
    return torch.where(lifted[..., None], torch.stack([-v, -u, v, u], dim=-1), -math.inf)


def _reach_of_antipode(geometry: Geometry, sides: Tensor) -> Tensor:
    """The chart's radius at its antipode where this is a single point and the box contains it, else zero, ``[M]``.

    The antipode of the lift is no point but the rim of the lift's domain, whose parts in the box are on the border.
    """
    towards = -geometry.rotation[:, 2, :]
    distance = geometry.radius * profile_radius(geometry.lift, polar_angle_of(towards))
    sine = torch.hypot(towards[:, 0], towards[:, 1])
    y, x = (geometry.tangent + distance[:, None] * towards[:, :2] / sine[:, None]).split(1, dim=1)
    inside = (sine > 1e-12) & ~torch.isnan(_inside(y, x, sides)[0][:, 0])
    for view in inside.nonzero()[:, 0].tolist():
        profile = _chart(geometry, view)[1]
        if not profile.closed or profile.angle_limit < math.pi:
            _raise_not_shown(geometry, view)
    return torch.where(inside, radius_limit(geometry.chart), 0.0)


def _chart(geometry: Geometry, view: int) -> tuple[str, Profile]:
    return list(PROFILES.items())[int(geometry.chart[view])]


def _raise_not_shown(geometry: Geometry, view: int) -> None:
    name, profile = _chart(geometry, view)
    reached = "" if profile.closed else " (not reached)"
    raise ValueError(
        f"chart {name!r} ends {math.degrees(profile.angle_limit):.0f} degrees{reached} from its pole and cannot show "
        f"the whole slice or box in view {view}; use chart='equidistant' or 'equal_area', a larger radius, or set "
        "magnification="
    )
