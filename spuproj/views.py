"""Views: a set of projections of a slice, as a module."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from spuproj import functional
from spuproj import geometry as geo
from spuproj.checks import choice, pixel_size, positive
from spuproj.fit import contain_scale
from spuproj.geometry import COLUMNS, PROFILES, Geometry, profile_code

FLIPS = ("none", "horizontal", "vertical", "both")
POSES = ("tangent", "turned")
FITS = ("contain", "extent")

Centers = Tensor | Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]


class Views(nn.Module):
    """N projections of a slice of ``size`` onto rasters of ``view_size``, shared by the batch or one set per sample.

    Build one with ``Views.spherical`` (SPU-Net), ``Views.zoom`` (LSU-Net) or ``Views.rigid`` (test-time augmentation),
    or from a geometry of your own. The geometry is a buffer: it moves with ``to(device)``, is part of
    ``state_dict()``, and stays float64 under ``half()`` or ``to(dtype)``.

    Args:
        geometry: ``[N]`` or ``[B, N]`` views.
        size: (H, W) of the slice, in pixels.
        view_size: (h, w) of the view raster; ``size`` where None.

    Raises:
        ValueError: for an empty list of views, a size that is not two positive whole numbers, a radius or scale that
            is not positive and finite, a tangent point or origin that is not finite, an unknown profile code, or a
            rotation that is not orthogonal.
    """

    geometry: Tensor

    def __init__(self, geometry: Geometry, size: Sequence[int], view_size: Sequence[int] | None = None) -> None:
        super().__init__()
        self.size = pixel_size(size, "size")
        self.view_size = self.size if view_size is None else pixel_size(view_size, "view_size")
        self.register_buffer("geometry", _checked_table(geometry))

    @classmethod
    def spherical(
        cls,
        size: Sequence[int],
        centers: Centers | None = None,
        *,
        grid: Sequence[int] | None = None,
        extent: Sequence[float] | None = None,
        radius: float | None = None,
        lift: str = "gnomonic",
        chart: str = "equidistant",
        pose: str = "tangent",
        fit: str = "contain",
        magnification: float | None = None,
        view_size: Sequence[int] | None = None,
    ) -> Views:
        """Projections onto a sphere from several positions, each magnifying the neighbourhood of its centre.

        Args:
            size: (H, W) of the slice.
            centers: ``[N, 2]`` or, per sample, ``[B, N, 2]`` points (y, x) of the slice, in pixels.
            grid: instead of ``centers``, (rows, columns) of equal cells over ``extent``; their middles are the centres.
            extent: (y0, x0, y1, x1) that the grid covers, in pixels; the whole slice where None.
            radius: of the sphere, in slice pixels, positive; half the larger side where None.
            lift: profile from the plane to the sphere, one of ``spuproj.PROFILES``.
            chart: profile from the sphere to the view raster, likewise.
            pose: ``"tangent"``: the sphere touches the slice at each centre. ``"turned"``: it touches at the slice's
                centre and is turned by the shortest arc until each centre faces the viewer.
            fit: ``"contain"``: the largest scale at which the whole slice stays inside the raster. ``"extent"``: the
                largest at which ``extent`` does; what of the rest falls outside is masked.
            magnification: replaces the fit: chart scale over radius, positive; what falls outside is masked.
            view_size: (h, w) of the view raster; ``size`` where None.

        Raises:
            ValueError: for centres outside the slice or not finite, an empty list, an unknown name, a radius or
                magnification that is not positive and finite, or a chart that cannot show the whole slice.
        """
        slice_size = pixel_size(size, "size")
        raster = slice_size if view_size is None else pixel_size(view_size, "view_size")
        choice(pose, POSES, "pose")
        choice(fit, FITS, "fit")
        if (centers is None) == (grid is None):
            given = "neither" if grid is None else "both"
            raise ValueError(f"centers or grid must be given, one of the two, got {given}")
        if grid is None and extent is not None:
            raise ValueError(f"extent must come with grid, got {extent} with centers")
        if fit == "extent" and extent is None:
            raise ValueError("extent must be given where fit='extent', got None")
        points = _checked_centers(centers if grid is None else grid_centers(slice_size, grid, extent), slice_size)
        sphere = positive(max(slice_size) / 2 if radius is None else radius, "radius")
        views = _geometry_at(points, raster, sphere, profile_code(lift, "lift"), profile_code(chart, "chart"))
        if pose == "turned":
            views = _turned(views, slice_size)
        if magnification is not None:
            scale = torch.full_like(views.radius, sphere * positive(magnification, "magnification"))
        else:
            whole = (0.0, 0.0, slice_size[0] - 1.0, slice_size[1] - 1.0)
            scale = _contained(views, whole if fit == "contain" or extent is None else extent, raster)
        return cls(replace(views, scale=scale), slice_size, raster)

    @classmethod
    def zoom(
        cls, size: Sequence[int], centers: Centers, *, factor: float = 2.0, view_size: Sequence[int] | None = None
    ) -> Views:
        """Linear scalings about each centre (LSU-Net): equal lift and chart, so that the sphere cancels.

        Args:
            size: (H, W) of the slice.
            centers: ``[N, 2]`` or ``[B, N, 2]`` points (y, x) that land on the raster's centre.
            factor: view pixels per slice pixel, positive.
            view_size: (h, w) of the view raster; ``size`` where None.

        Raises:
            ValueError: for centres outside the slice or not finite, or a factor that is not positive and finite.
        """
        slice_size = pixel_size(size, "size")
        raster = slice_size if view_size is None else pixel_size(view_size, "view_size")
        points = _checked_centers(centers, slice_size)
        views = _geometry_at(points, raster, max(slice_size) / 2, 0, 0)
        return cls(replace(views, scale=views.radius * positive(factor, "factor")), slice_size, raster)

    @classmethod
    def rigid(
        cls,
        size: Sequence[int],
        *,
        angles: Sequence[float] = (0.0,),
        flips: Sequence[str] = ("none",),
        view_size: Sequence[int] | None = None,
    ) -> Views:
        """Rotations and flips about the slice's centre (test-time augmentation): every angle with every flip.

        Args:
            size: (H, W) of the slice.
            angles: in radians; a quarter turn (pi / 2) equals ``torch.rot90(image, 1, (-2, -1))``.
            flips: of ``"none"``, ``"horizontal"`` (left to right), ``"vertical"``, ``"both"``; after the rotation.
            view_size: (h, w) of the view raster; ``size`` where None.

        Raises:
            ValueError: for an empty list, an angle that is not finite, or an unknown flip.
        """
        slice_size = pixel_size(size, "size")
        raster = slice_size if view_size is None else pixel_size(view_size, "view_size")
        center = [(slice_size[0] - 1) / 2, (slice_size[1] - 1) / 2]
        rotations = [_plane_rotation(float(angle), flip) for angle in angles for flip in flips]
        if not rotations:
            raise ValueError("angles and flips must each hold at least one entry, got an empty list")
        points = torch.tensor([center] * len(rotations), dtype=torch.float64)
        views = _geometry_at(points, raster, max(slice_size) / 2, 0, 0)
        return cls(replace(views, rotation=torch.stack(rotations)), slice_size, raster)

    @classmethod
    def from_table(cls, table: Tensor, size: Sequence[int], view_size: Sequence[int] | None = None) -> Views:
        """Views of a ``[N, 17]`` or ``[B, N, 17]`` geometry table. Raises ValueError as the constructor does."""
        if table.dim() not in (2, 3) or table.shape[-1] != COLUMNS:
            raise ValueError(f"table must be of shape [N, {COLUMNS}] or [B, N, {COLUMNS}], got {tuple(table.shape)}")
        return cls(Geometry.from_table(table), size, view_size)

    def project(
        self,
        image: Tensor,
        *,
        interpolation: str = "bilinear",
        padding: str = "zeros",
        out_dtype: torch.dtype | None = None,
        memory_format: torch.memory_format | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Projects ``[B, C, H, W]`` onto every view: ``[B, N, C, h, w]``. See ``spuproj.functional.project``."""
        self._check_raster(image, self.size, "image", 4)
        return functional.project(
            image,
            self.geometry,
            self.view_size,
            interpolation=interpolation,
            padding=padding,
            out_dtype=out_dtype,
            memory_format=memory_format,
            out=out,
        )

    def unproject(self, stack: Tensor, *, interpolation: str = "bilinear") -> Tensor:
        """Brings ``[B, N, C, h, w]`` back: ``[B, N, C, H, W]``. See ``spuproj.functional.unproject``."""
        self._check_raster(stack, self.view_size, "stack", 5)
        return functional.unproject(stack, self.geometry, self.size, interpolation=interpolation)

    def reduce(self, stack: Tensor, *, interpolation: str = "bilinear") -> tuple[Tensor, Tensor, Tensor]:
        """(mean, variance, count) ``[B, C, H, W]`` over the valid views of ``[B, N, C, h, w]``.

        See ``spuproj.functional.unproject_reduce``.
        """
        self._check_raster(stack, self.view_size, "stack", 5)
        return functional.unproject_reduce(stack, self.geometry, self.size, interpolation=interpolation)

    def forward(self, image: Tensor) -> Tensor:
        """``project`` with its default arguments."""
        return self.project(image)

    def slice_coordinates(self) -> tuple[Tensor, Tensor]:
        """Where in the slice each view pixel comes from: (y, x), ``[..., N, h, w]`` float64; NaN where invalid."""
        return geo.slice_coordinates(self.geometry, self.size, self.view_size)

    def view_coordinates(self) -> tuple[Tensor, Tensor]:
        """Where in the view each slice pixel lands: (v, u), ``[..., N, H, W]`` float64; NaN where invalid."""
        return geo.view_coordinates(self.geometry, self.size, self.view_size)

    def magnification(self) -> Tensor:
        """The local area factor, view area per slice area, ``[..., N, H, W]`` float64; NaN where invalid."""
        return geo.magnification(self.geometry, self.size, self.view_size)

    def __len__(self) -> int:
        """N, the number of views (of each sample)."""
        return self.geometry.shape[-2]

    def __getitem__(self, index: int | slice) -> Views:
        """Some of the views; an index gives a set of one. Raises IndexError beyond the end."""
        if not isinstance(index, slice):
            index = operator.index(index)
            if not -len(self) <= index < len(self):
                raise IndexError(f"index must lie in [-{len(self)}, {len(self) - 1}], got {index}")
            index = slice(index % len(self), index % len(self) + 1)
        return Views.from_table(self.geometry[..., index, :], self.size, self.view_size)

    def __add__(self, other: Views) -> Views:
        """The views of both, in order. Raises ValueError where sizes or batches differ."""
        if not isinstance(other, Views):
            return NotImplemented
        if (self.size, self.view_size) != (other.size, other.view_size):
            raise ValueError(
                f"views must have the same size and view_size to be added, got {self.size}, {self.view_size} "
                f"and {other.size}, {other.view_size}"
            )
        first, second = self.geometry, other.geometry
        if first.dim() == second.dim() == 3 and first.shape[0] != second.shape[0]:
            raise ValueError(f"views must have the same batch to be added, got {first.shape[0]} and {second.shape[0]}")
        if first.dim() < second.dim():
            first = first.expand(second.shape[0], -1, -1)
        if second.dim() < first.dim():
            second = second.expand(first.shape[0], -1, -1)
        return Views.from_table(torch.cat([first, second], dim=-2), self.size, self.view_size)

    def extra_repr(self) -> str:
        return f"{len(self)} views, size={self.size}, view_size={self.view_size}"

    def get_extra_state(self) -> dict[str, tuple[int, int]]:
        """The sizes, which the state dict carries beside the geometry."""
        return {"size": self.size, "view_size": self.view_size}

    def set_extra_state(self, state: dict[str, Sequence[int]]) -> None:
        """Takes the sizes of a state dict."""
        self.size = pixel_size(state["size"], "size")
        self.view_size = pixel_size(state["view_size"], "view_size")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Views:
        exact = self.geometry
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.geometry.dtype != torch.float64:
            # A cast of the module's tensors is for its activations: the geometry moves but keeps its digits.
            self.geometry = exact.to(self.geometry.device)
        return self

    def _check_raster(self, tensor: Tensor, raster: tuple[int, int], argument: str, rank: int) -> None:
        shape = tensor.shape
        if len(shape) != rank:
            axes = "[B, C, H, W]" if rank == 4 else "[B, N, C, h, w]"
            raise ValueError(f"{argument} must have the axes {axes}, got the shape {tuple(shape)}")
        if rank == 5 and shape[1] != len(self):
            raise ValueError(f"{argument} must hold {len(self)} views on axis 1, got {shape[1]}")
        if shape[-2:] != raster:
            raise ValueError(f"{argument} must end in the pixel size of these views, {raster}, got {tuple(shape[-2:])}")


def _checked_table(geometry: Geometry) -> Tensor:
    for name in ("radius", "scale"):
        values: Tensor = getattr(geometry, name)
        bad = ~((values > 0) & torch.isfinite(values))
        if bool(bad.any()):
            raise ValueError(f"{name} must be positive and finite, got {values[bad][0].item()}")
    for name in ("lift", "chart"):
        codes: Tensor = getattr(geometry, name)
        known = torch.isin(codes, torch.arange(len(PROFILES), dtype=codes.dtype, device=codes.device))
        if not bool(known.all()):
            raise ValueError(f"{name} must be a code from 0 to {len(PROFILES) - 1}, got {codes[~known][0].item()}")
    for name in ("tangent", "origin", "rotation"):
        if not bool(torch.isfinite(getattr(geometry, name)).all()):
            raise ValueError(f"{name} must be finite, got {getattr(geometry, name).tolist()}")
    turned = geometry.rotation @ geometry.rotation.transpose(-1, -2)
    if not torch.allclose(turned, torch.eye(3, dtype=turned.dtype, device=turned.device).expand_as(turned), atol=1e-9):
        raise ValueError(f"rotation must be orthogonal, got {geometry.rotation.tolist()}")
    table = geometry.table()
    if table.dim() not in (2, 3) or table.shape[-2] == 0:
        raise ValueError(f"views must be a list of at least one view, [N] or [B, N], got {tuple(table.shape[:-1])}")
    return table.contiguous()


def _checked_centers(centers: Any, size: tuple[int, int]) -> Tensor:
    points = torch.as_tensor(centers, dtype=torch.float64)
    if points.numel() == 0:
        raise ValueError("centers must hold at least one point (y, x), got an empty list")
    if points.dim() not in (2, 3) or points.shape[-1] != 2:
        raise ValueError(f"centers must be of shape [N, 2] or [B, N, 2], got {tuple(points.shape)}")
    last = torch.tensor([size[0] - 1.0, size[1] - 1.0], dtype=torch.float64, device=points.device)
    outside = ~((points >= 0) & (points <= last)).all(-1)
    if bool(outside.any()):
        y, x = points[outside][0].tolist()
        raise ValueError(f"centers must lie inside the slice, [0, {size[0] - 1}] x [0, {size[1] - 1}], got ({y}, {x})")
    return points


def grid_centers(size: tuple[int, int], grid: Sequence[int], extent: Sequence[float] | None) -> Tensor:
    """Middles ``[rows * columns, 2]`` of equal cells over an extent; see ``Views.spherical``."""
    rows, columns = pixel_size(grid, "grid", "rows, columns")
    box = (0.0, 0.0, size[0] - 1.0, size[1] - 1.0) if extent is None else tuple(map(float, extent))
    if len(box) != 4 or not (0 <= box[0] <= box[2] <= size[0] - 1 and 0 <= box[1] <= box[3] <= size[1] - 1):
        raise ValueError(f"extent must be (y0, x0, y1, x1), ordered and inside the slice, got {box}")
    y0, x0, y1, x1 = box
    y = y0 + (y1 - y0) * (torch.arange(rows, dtype=torch.float64) + 0.5) / rows
    x = x0 + (x1 - x0) * (torch.arange(columns, dtype=torch.float64) + 0.5) / columns
    return torch.cartesian_prod(y, x).reshape(-1, 2)


def _geometry_at(points: Tensor, raster: tuple[int, int], radius: float, lift: int, chart: int) -> Geometry:
    """Views that look straight at each point from above, of magnification 1, the pole on the raster's centre."""
    shape = points.shape[:-1]
    filled = {name: torch.full(shape, float(value), dtype=torch.float64, device=points.device)
              for name, value in (("radius", radius), ("scale", radius), ("lift", lift), ("chart", chart))}  # fmt: skip
    origin = torch.tensor([(raster[0] - 1) / 2, (raster[1] - 1) / 2], dtype=torch.float64, device=points.device)
    rotation = torch.eye(3, dtype=torch.float64, device=points.device)
    return Geometry(tangent=points, origin=origin.expand(*shape, 2), rotation=rotation.expand(*shape, 3, 3), **filled)


def _turned(views: Geometry, size: tuple[int, int]) -> Geometry:
    """The sphere at the slice's centre, turned by the shortest arc until each tangent point reaches the pole."""
    middle = torch.tensor([(size[0] - 1) / 2, (size[1] - 1) / 2], dtype=torch.float64, device=views.tangent.device)
    flat = replace(views, tangent=middle.expand_as(views.tangent))
    centers = views.tangent[..., None, None, :]
    s = geo.lift_points(flat, centers[..., 0], centers[..., 1])[..., 0, 0, :]
    if bool(torch.isnan(s).any()) or bool((s[..., 2] <= -1 + 1e-9).any()):
        raise ValueError(
            "centers must lie within the lift's reach of the slice's centre for pose='turned'; use a larger radius"
        )
    zero = torch.zeros_like(s[..., 0])
    # Rodrigues' rotation about s x pole, of the angle between them.
    cross = torch.stack([s[..., 1], -s[..., 0], zero], dim=-1)
    skew = torch.stack(
        [zero, -cross[..., 2], cross[..., 1], cross[..., 2], zero, -cross[..., 0], -cross[..., 1], cross[..., 0], zero],
        dim=-1,
    ).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=torch.float64, device=s.device)
    return replace(flat, rotation=identity + skew + skew @ skew / (1 + s[..., 2, None, None]))


def _contained(views: Geometry, box: Sequence[float], raster: tuple[int, int]) -> Tensor:
    """The largest scales at which a box (y0, x0, y1, x1) of the slice stays inside the raster."""
    y0, x0, y1, x1 = map(float, box)
    shape = views.radius.shape
    flat = Geometry.from_table(views.table().reshape(-1, COLUMNS))
    corner = torch.tensor([y0, x0], dtype=torch.float64, device=flat.tangent.device)
    moved = replace(flat, tangent=flat.tangent - corner)
    return contain_scale(moved, (y1 - y0, x1 - x0), raster).reshape(shape)


def _plane_rotation(angle: float, flip: str) -> Tensor:
    """The sphere's rotation about its pole by an angle, then a flip of the view."""
    choice(flip, FLIPS, "flips")
    if not math.isfinite(angle):
        raise ValueError(f"angles must be finite, got {angle}")
    cosine, sine = _exact(math.cos(angle)), _exact(math.sin(angle))
    across, down = (-1.0 if flip in names else 1.0 for names in (("horizontal", "both"), ("vertical", "both")))
    rows = [[down * cosine, -down * sine, 0.0], [across * sine, across * cosine, 0.0], [0.0, 0.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float64)


def _exact(value: float) -> float:
    """Quarter turns have entries 0 and 1: what rounding left of them is put right."""
    return float(round(value)) if abs(value - round(value)) < 1e-15 else value
