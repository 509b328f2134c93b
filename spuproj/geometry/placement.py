"""Places spheres on a slice for the constructors of ``Views``: centres, poses, rotations, spacing."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from spuproj.checks import choice, flag, number_of, pixel_size, positive, refuse_gradient
from spuproj.geometry.coordinates import lift_points
from spuproj.geometry.fit import contained
from spuproj.geometry.profiles import profile_code
from spuproj.geometry.table import Geometry
from spuproj.inputs import array_tensor, plain_tensor

POSES = ("tangent", "turned")
FITS = ("contain", "box")
FLIPS = ("none", "horizontal", "vertical", "both")

Size = tuple[int, int]


class Frame(NamedTuple):
    """Sizes of slice and views in pixels, and (height, width) of a slice pixel in the unit of lengths on the sphere."""

    size: Size
    view_size: Size
    spacing: tuple[float, float]

    @property
    def middle(self) -> tuple[float, float]:
        """The slice's centre (y, x), in pixels."""
        return (self.size[0] - 1) / 2, (self.size[1] - 1) / 2

    @property
    def half_side(self) -> float:
        """Half the larger side of the slice, in the unit of the spacing."""
        return max(n * unit for n, unit in zip(self.size, self.spacing, strict=True)) / 2


@contextmanager
def on_cpu(centers: Any = None) -> Iterator[torch.device]:
    """Makes new tensors on the CPU. Gives the device of the centres if they are a tensor, else torch's default."""
    # What torch 2.7 returns as the default device ignores ``with torch.device(...)``.
    default = torch.empty(0).device
    device = centers.device if isinstance(centers, Tensor) else default
    with nullcontext() if default.type == "cpu" else torch.device("cpu"):
        yield device


def frame(size: Sequence[int], view_size: Sequence[int] | None, spacing: Sequence[float] | None) -> Frame:
    """The checked frame; without ``view_size`` that of the slice in square pixels. Raises ValueError."""
    slice_size = pixel_size(size, "size")
    dy, dx = _checked_spacing((1.0, 1.0) if spacing is None else spacing)
    if view_size is not None:
        return Frame(slice_size, pixel_size(view_size, "view_size"), (dy, dx))
    # Header rounding can shift the size by a thousandth of a pixel.
    height, width = (math.ceil(n * unit / min(dy, dx) - 1e-3) for n, unit in zip(slice_size, (dy, dx), strict=True))
    return Frame(slice_size, (height, width), (dy, dx))


def _checked_spacing(spacing: Any) -> tuple[float, float]:
    try:
        units = list(spacing)
        plain: list[Any] = [unit.detach() if isinstance(unit, Tensor) else unit for unit in units]
        dy, dx = (number_of(unit, "spacing") for unit in plain)
    except (TypeError, ValueError, RuntimeError):
        dy = dx = math.nan
    if not (0 < dy < math.inf and 0 < dx < math.inf and 1e-6 < dy / dx < 1e6):
        raise ValueError(
            f"spacing must be two positive, finite numbers (height, width) of one magnitude, got {spacing!r}"
        )
    for unit in units:
        refuse_gradient(unit, "spacing")
    return dy, dx


def checked_centers(centers: Any, size: Size) -> Tensor:
    """Points ``[N, 2]`` or ``[B, N, 2]`` of the slice, float64 on the CPU, or on the meta device without numbers.

    Raises ValueError for points outside the slice, an empty list, another shape, or points that want a gradient, and
    TypeError for what are no points of real numbers.
    """
    refuse_gradient(centers, "centers")
    if isinstance(centers, np.ndarray):
        centers = array_tensor(centers, "centers")
    elif not isinstance(centers, Tensor):
        try:
            # Not as_tensor, which ignores the default device in torch 2.7.
            centers = torch.tensor(centers, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise TypeError(f"centers must be points (y, x), [N, 2] or [B, N, 2], got {centers!r}") from None
    if centers.is_complex():
        raise TypeError(f"centers must be real numbers, got {centers.dtype}")
    points = plain_tensor(centers, "centers").to(torch.float64)
    if points.numel() == 0:
        raise ValueError("centers must hold at least one point (y, x), got an empty list")
    if points.dim() not in (2, 3) or points.shape[-1] != 2:
        raise ValueError(f"centers must be of shape [N, 2] or [B, N, 2], got {tuple(points.shape)}")
    if points.is_meta:
        return points
    points = points.cpu()
    last = torch.tensor([size[0] - 1.0, size[1] - 1.0], dtype=torch.float64, device="cpu")
    outside = ~((points >= 0) & (points <= last)).all(-1)
    if bool(outside.any()):
        y, x = points[outside][0].tolist()
        raise ValueError(f"centers must lie inside the slice, [0, {size[0] - 1}] x [0, {size[1] - 1}], got ({y}, {x})")
    return points


def checked_box(box: Sequence[float] | None, size: Size) -> tuple[float, float, float, float]:
    """(y0, x0, y1, x1) as floats; the whole slice if None.

    Raises ValueError if the corners are not ordered or not inside the slice, or want a gradient, and TypeError for what
    are no numbers.
    """
    last_y, last_x = size[0] - 1, size[1] - 1
    try:
        edges = tuple(number_of(edge, "box") for edge in ((0, 0, last_y, last_x) if box is None else box))
    except (TypeError, OverflowError):
        raise TypeError(f"box must be four numbers (y0, x0, y1, x1), got {box!r}") from None
    if len(edges) != 4 or not (0 <= edges[0] <= edges[2] <= last_y and 0 <= edges[1] <= edges[3] <= last_x):
        raise ValueError(f"box must be (y0, x0, y1, x1), ordered and inside the slice, got {edges}")
    return edges


def grid_centers(size: Size, grid: Sequence[int], box: Sequence[float] | None = None) -> Tensor:
    """Centres ``[rows * columns, 2]`` of equal cells over a box; see ``Views.spherical``."""
    rows, columns = pixel_size(grid, "grid", "rows, columns")
    y0, x0, y1, x1 = checked_box(box, size)
    y = y0 + (y1 - y0) * (torch.arange(rows, dtype=torch.float64, device="cpu") + 0.5) / rows
    x = x0 + (x1 - x0) * (torch.arange(columns, dtype=torch.float64, device="cpu") + 0.5) / columns
    return torch.cartesian_prod(y, x).reshape(-1, 2)


def looking_at(
    points: Tensor, placed: Frame, radius: float, lift: int = 0, chart: int = 0, magnification: float = 1.0
) -> Geometry:
    """Views with tangent points at these points, no rotation, and the pole at the view's centre.

    ``magnification`` is linear, at the pole, of the smaller side of a slice pixel.
    """
    shape = points.shape[:-1]

    def filled(value: float) -> Tensor:
        return torch.full(shape, float(value), dtype=torch.float64, device=points.device)

    def pair(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=points.device).expand(*shape, 2)

    return Geometry(
        tangent=points,
        radius=filled(radius),
        scale=filled(radius * magnification / min(placed.spacing)),
        pole=pair([(n - 1) / 2 for n in placed.view_size]),
        lift=filled(lift),
        chart=filled(chart),
        rotation=torch.eye(3, dtype=torch.float64, device=points.device).expand(*shape, 3, 3),
        spacing=pair(placed.spacing),
    )


def points_of(size: Size, centers: Any, grid: Sequence[int] | None, box: Sequence[float] | None) -> Tensor:
    """The checked points that either ``centers`` or ``grid`` with ``box`` stand for; see ``Views.spherical``.

    Raises ValueError if neither or both are given, or a box without a grid.
    """
    if (centers is None) == (grid is None):
        given = "neither" if grid is None else "both"
        raise ValueError(f"centers or grid must be given, one of the two, got {given}")
    if grid is None and box is not None:
        raise ValueError(f"box must come with grid, got {box} with centers")
    return checked_centers(centers if grid is None else grid_centers(size, grid, box), size)


def on_sphere(
    placed: Frame,
    centers: Any,
    grid: Sequence[int] | None,
    box: Sequence[float] | None,
    radius: float | None,
    names: tuple[str, str],
    pose: str,
    fit: str,
    centered: bool,
    magnification: float | None,
) -> Geometry:
    """The checked geometry of ``Views.spherical``, whose arguments these are; ``names``: of the lift and the chart."""
    choice(pose, POSES, "pose")
    choice(fit, FITS, "fit")
    points = points_of(placed.size, centers, grid, box)
    if fit == "box" and box is None:
        raise ValueError("box must be given where fit='box', got None")
    sphere = positive(placed.half_side if radius is None else radius, "radius")
    factor = 1.0 if magnification is None else positive(magnification, "magnification")
    lift, chart = profile_code(names[0], "lift"), profile_code(names[1], "chart")
    views = looking_at(points, placed, sphere, lift, chart, factor)
    if points.is_meta:
        return views
    views = turned(views, placed.middle) if pose == "turned" else views
    if magnification is not None:
        return views
    shown = checked_box(box if fit == "box" else None, placed.size)
    return contained(views, shown, placed.view_size, centered=flag(centered, "centered"))


def zoomed(
    placed: Frame, centers: Any, grid: Sequence[int] | None, box: Sequence[float] | None, factor: float
) -> Geometry:
    """The checked geometry of ``Views.zoom``, whose arguments these are."""
    points = points_of(placed.size, centers, grid, box)
    return looking_at(points, placed, placed.half_side, magnification=positive(factor, "factor"))


def turned_flat(
    placed: Frame, angles: Sequence[float] | None, degrees: Sequence[float] | None, flips: Sequence[str]
) -> Geometry:
    """The checked geometry of ``Views.rigid``, whose arguments these are."""
    if angles is not None and degrees is not None:
        raise ValueError("angles or degrees must be given, one of the two, got both")
    name, given = ("angles", angles) if degrees is None else ("degrees", degrees)
    turns = [0.0] if given is None else given
    for argument, values, kind in ((name, turns, "numbers"), ("flips", flips, "names")):
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise ValueError(f"{argument} must be a list of {kind}, got {values!r}")
    radians = [_finite(turn, name) * (math.pi / 180 if degrees is not None else 1) for turn in turns]
    rotations = [_plane_rotation(angle, flip) for angle in radians for flip in flips]
    if not rotations:
        raise ValueError("angles and flips must each hold at least one entry, got an empty list")
    points = torch.tensor(placed.middle, dtype=torch.float64).expand(len(rotations), 2)
    return replace(looking_at(points, placed, placed.half_side), rotation=torch.stack(rotations))


def turned(views: Geometry, middle: tuple[float, float]) -> Geometry:
    """Moves the sphere to the slice's centre and rotates it by the shortest arc from each tangent point to the pole.

    Raises ValueError for points outside the lift's domain.
    """
    flat = replace(views, tangent=views.tangent.new_tensor(middle).expand_as(views.tangent))
    y, x = views.tangent[..., None, None, :].unbind(-1)
    s = lift_points(flat, y, x)[..., 0, 0, :]
    y, x, pole = s.unbind(-1)
    if bool(torch.isnan(s).any()) or bool((pole <= -1 + 1e-9).any()):
        raise ValueError(
            "centers must lie within the lift's reach of the slice's centre for pose='turned'; use a larger radius"
        )
    zero = torch.zeros_like(pole)
    # Rodrigues' formula: rotation about s x pole, which is (x, -y, 0), by the angle between s and the pole.
    skew = torch.stack([zero, zero, -y, zero, zero, -x, y, x, zero], dim=-1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=torch.float64, device=skew.device)
    return replace(flat, rotation=identity + skew + skew @ skew / (1 + pole[..., None, None]))


def _finite(value: float, argument: str) -> float:
    number = number_of(value, argument)
    if not math.isfinite(number):
        raise ValueError(f"{argument} must be finite, got {number}")
    return number


def _plane_rotation(angle: float, flip: str) -> Tensor:
    """The rotation ``[3, 3]`` about the pole by an angle, and then the flip."""
    choice(flip, FLIPS, "flips")
    cosine, sine = _exact(math.cos(angle)), _exact(math.sin(angle))
    across, down = (-1.0 if flip in names else 1.0 for names in (("horizontal", "both"), ("vertical", "both")))
    rows = [[down * cosine, -down * sine, 0.0], [across * sine, across * cosine, 0.0], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float64)


def _exact(value: float) -> float:
    """Rounds to an integer within 1e-15, so that sine and cosine of quarter turns are exactly 0, 1 or -1."""
    return float(round(value)) if abs(value - round(value)) < 1e-15 else value
