"""The chart scale at which a whole slice stays inside the view raster (``fit="contain"``)."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from spuproj.geometry import PROFILES, Geometry, chart_points, lift_points, radius_limit

_SAMPLES = 257
_GOLDEN = (math.sqrt(5) - 1) / 2
_GOLDEN_STEPS = 40
_UNBOUNDED_CHARTS = ("gnomonic", "stereographic", "orthographic")


def contain_scale(geometry: Geometry, sides: tuple[float, float], view_size: tuple[int, int]) -> Tensor:
    """The largest chart scale k at which a rectangle of the slice lands inside the view raster.

    Points beyond the lift's domain are left out. A view coordinate takes its extremes on the border of the
    region that is shown (the map is open inside it) or at the chart's antipode; so the border is sampled, and the best
    samples are refined by golden section.

    Args:
        geometry: views of leading axes ``[M]``, the pole at the raster's centre; ``scale`` is ignored.
        sides: height and width of the rectangle, in slice pixels; its first corner is the origin of tangent points.
        view_size: (h, w) of the view raster.

    Returns:
        ``[M]`` float64 scales, in view pixels.

    Raises:
        ValueError: where the chart cannot show the whole slice, or the raster is a single pixel across.
    """
    unit = replace(geometry, scale=torch.ones_like(geometry.scale), origin=torch.zeros_like(geometry.origin))
    extent = _extent_along_border(unit, sides)
    extent = torch.maximum(extent, _extent_at_antipode(unit, sides)[:, None])
    half = torch.tensor([(n - 1) / 2 for n in view_size], dtype=torch.float64, device=extent.device)
    if bool(((half == 0) & (extent > 0)).any()):
        raise ValueError(
            f"view_size must be at least 2 pixels on each side for fit='contain', got {view_size}; "
            "or set magnification="
        )
    scale = torch.where(extent > 0, half / extent, math.inf).amin(dim=1)
    return torch.where(torch.isinf(scale), geometry.radius, scale)


def _border(geometry: Geometry, sides: tuple[float, float], at: Tensor) -> tuple[Tensor, Tensor]:
    """Slice points at positions ``[M, 5, S]`` in [0, 1] along the four edges and along the rim of the lift's domain.

    NaN where the rim lies outside the slice, or the domain is the whole plane.
    """
    last_y, last_x = sides
    rim = _rim(geometry)[:, None]
    angle = 2 * math.pi * at[:, 4]
    rim_y = geometry.tangent[:, :1] + rim * torch.sin(angle)
    rim_x = geometry.tangent[:, 1:] + rim * torch.cos(angle)
    rim_y, rim_x = _on_slice(rim_y, rim_x, sides)
    zero = torch.zeros_like(rim_y)
    y = [zero, zero + last_y, last_y * at[:, 2], last_y * at[:, 3], rim_y]
    x = [last_x * at[:, 0], last_x * at[:, 1], zero, zero + last_x, rim_x]
    return torch.stack(y, dim=1), torch.stack(x, dim=1)


def _extent_along_border(geometry: Geometry, sides: tuple[float, float]) -> Tensor:
    """Largest |v| and |u| of every view along the border of what its lift reaches, ``[M, 2]``."""
    views = geometry.radius.shape[0]
    at = torch.linspace(0, 1, _SAMPLES, dtype=torch.float64, device=geometry.radius.device).expand(views, 5, -1)
    sampled = _offsets(geometry, sides, at)
    best = sampled.argmax(dim=2)
    step = 1 / (_SAMPLES - 1)
    low, high = ((best - 1) * step).clamp(min=0), ((best + 1) * step).clamp(max=1)
    for _ in range(_GOLDEN_STEPS):
        first, second = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        heights = _own_axis(_offsets(geometry, sides, torch.cat([first, second], dim=2)))
        rising = heights[..., :2] < heights[..., 2:]
        low, high = torch.where(rising, first, low), torch.where(rising, high, second)
    refined = _own_axis(_offsets(geometry, sides, (low + high) / 2))
    crossings = _reach(geometry, *_rim_crossings(geometry, sides)).amax(dim=1)
    return torch.maximum(torch.maximum(refined, sampled.amax(dim=2)).amax(dim=1), crossings).clamp(min=0)


def _rim_crossings(geometry: Geometry, sides: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """The points ``[M, 8]`` where the rim of the lift's domain crosses the four edges, NaN where it does not."""
    rim = _rim(geometry)
    ty, tx = geometry.tangent.unbind(-1)
    y, x = [], []
    for edge in (0.0, sides[0]):
        half = torch.sqrt(rim**2 - (edge - ty) ** 2)
        y += [torch.full_like(ty, edge)] * 2
        x += [tx - half, tx + half]
    for edge in (0.0, sides[1]):
        half = torch.sqrt(rim**2 - (edge - tx) ** 2)
        x += [torch.full_like(tx, edge)] * 2
        y += [ty - half, ty + half]
    return _on_slice(torch.stack(y, dim=1), torch.stack(x, dim=1), sides)


def _rim(geometry: Geometry) -> Tensor:
    """Distance of the rim of the lift's domain from the tangent point, ``[M]``, in slice pixels."""
    return geometry.radius * radius_limit(geometry.lift)


def _on_slice(y: Tensor, x: Tensor, sides: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """The points that lie on the slice, NaN for the others."""
    inside = (y >= 0) & (y <= sides[0]) & (x >= 0) & (x <= sides[1])
    return torch.where(inside, y, math.nan), torch.where(inside, x, math.nan)


def _own_axis(offsets: Tensor) -> Tensor:
    """``[M, 5, S, 2]`` offsets at candidates for v, u, v, u, ... -> ``[M, 5, S]``, each candidate's own coordinate."""
    candidates = torch.arange(offsets.shape[2], device=offsets.device)
    return offsets[:, :, candidates, candidates % 2]


def _offsets(geometry: Geometry, sides: tuple[float, float], at: Tensor) -> Tensor:
    """|v|, |u| at border positions ``[M, 5, S]`` -> ``[M, 5, S, 2]``; -inf where the lift does not reach."""
    y, x = _border(geometry, sides, at)
    return _reach(geometry, y.flatten(1), x.flatten(1)).reshape(*at.shape, 2)


def _reach(geometry: Geometry, y: Tensor, x: Tensor) -> Tensor:
    """|v|, |u| of slice points ``[M, P]`` -> ``[M, P, 2]``; -inf where the lift does not reach."""
    s = lift_points(geometry, y[:, None], x[:, None])
    v, u = (offset.squeeze(1) for offset in chart_points(geometry, s))
    lifted = ~torch.isnan(s[:, 0, :, 2])
    hidden = (lifted & torch.isnan(v)).any(dim=1)
    if bool(hidden.any()):
        _raise_not_shown(geometry, int(hidden.nonzero()[0, 0]))
    return torch.where(lifted[..., None], torch.stack([v.abs(), u.abs()], dim=-1), -math.inf)


def _extent_at_antipode(geometry: Geometry, sides: tuple[float, float]) -> Tensor:
    """The chart's radius at its antipode where the slice contains that point, else zero, ``[M]``."""
    towards = -geometry.rotation[:, 2, :]
    theta = torch.atan2(torch.hypot(towards[:, 0], towards[:, 1]), towards[:, 2])
    sine = torch.sin(theta)
    radii = torch.stack(
        [
            torch.where(theta < math.pi / 2, torch.tan(theta), math.inf),
            torch.where(theta < math.pi, 2 * torch.tan(theta / 2), math.inf),
            theta,
            2 * torch.sin(theta / 2),
            torch.where(theta <= math.pi / 2, sine, math.inf),
        ]
    )
    distance = geometry.radius * radii[geometry.lift.long(), torch.arange(len(theta), device=theta.device)]
    unit = torch.where((sine > 1e-12)[:, None], towards[:, :2] / sine[:, None], torch.tensor([0.0, 1.0]).to(towards))
    point = geometry.tangent + distance[:, None] * unit
    last = torch.tensor(sides, dtype=torch.float64, device=theta.device)
    # Straight below the tangent point the antipode is a whole circle; any of it inside counts.
    circle = (sine <= 1e-12) & (
        distance <= torch.maximum(geometry.tangent, last - geometry.tangent).square().sum(1).sqrt()
    )
    inside = ((point >= 0) & (point <= last)).all(dim=1) | (circle & torch.isfinite(distance))
    for view in inside.nonzero()[:, 0].tolist():
        if PROFILES[int(geometry.chart[view])] in _UNBOUNDED_CHARTS:
            _raise_not_shown(geometry, view)
    return torch.where(inside, radius_limit(geometry.chart).clamp(max=math.pi), 0.0)


def _raise_not_shown(geometry: Geometry, view: int) -> None:
    chart = PROFILES[int(geometry.chart[view])]
    end = {"gnomonic": "90 degrees (not reached)", "orthographic": "90 degrees"}.get(chart, "180 degrees (not reached)")
    raise ValueError(
        f"chart {chart!r} ends {end} from its pole and cannot show the whole slice in view {view}; "
        "use chart='equidistant' or 'equal_area', a larger radius, or set magnification="
    )
