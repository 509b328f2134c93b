"""Sets of views by name: how a model looks at a slice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from spuproj import PROFILES, Geometry, Views
from spuproj.checks import choice, pixel_size, positive
from spuproj.geometry.placement import FLIPS, grid_centers
from spuproj.views import FITS, POSES

COVERS = ("brain", "slice")

Box = tuple[float, float, float, float]
Size = tuple[int, int]


@dataclass(frozen=True)
class Spherical:
    """Projections onto a sphere from a grid of centres (SPU-Net; Yang et al. 2024).

    Attributes:
        grid: rows and columns of centres.
        cover: what the grid covers, ``"brain"`` (the mean box around the brains trained on) or ``"slice"``.
        radius: of the sphere, as a fraction of the slice's larger side.
        lift, chart: profiles, see ``spuproj.PROFILES``.
        pose, fit: see ``Views.spherical``; the box is what the grid covers.
        magnification: at each centre; the fit's where None.
    """

    kind: ClassVar[str] = "spherical"
    grid: tuple[int, int] = (3, 3)
    cover: str = "brain"
    radius: float = 0.5
    lift: str = "gnomonic"
    chart: str = "equidistant"
    pose: str = "tangent"
    fit: str = "contain"
    magnification: float | None = None

    def __post_init__(self) -> None:
        pixel_size(self.grid, "grid", "rows, columns")
        choice(self.cover, COVERS, "cover")
        positive(self.radius, "radius")
        choice(self.lift, PROFILES, "lift")
        choice(self.chart, PROFILES, "chart")
        choice(self.pose, POSES, "pose")
        choice(self.fit, FITS, "fit")
        if self.magnification is not None:
            positive(self.magnification, "magnification")

    def views(self, size: Size, view_size: Size, box: Box) -> Views:
        """The views of slices of ``size``.

        Args:
            size: (H, W) of the slice, in pixels.
            view_size: (h, w) of a view, in pixels, over the slice's field of view, coarser or finer.
            box: (y0, x0, y1, x1), the brain's box, in pixels.
        """
        magnification = None if self.magnification is None else self.magnification * _oversampling(size, view_size)
        return Views.spherical(
            size,
            grid=self.grid,
            box=box if self.cover == "brain" else (0.0, 0.0, size[0] - 1.0, size[1] - 1.0),
            radius=self.radius * max(size),
            lift=self.lift,
            chart=self.chart,
            pose=self.pose,
            fit=self.fit,
            magnification=magnification,
            view_size=view_size,
        )


@dataclass(frozen=True)
class Zoom:
    """Linear scalings about a grid of centres (LSU-Net): each shows a part, so that some pixels are seen by few views.

    Attributes:
        grid, cover: of the centres, see ``Spherical``.
        factor: how much larger than in the slice things are shown.
    """

    kind: ClassVar[str] = "zoom"
    grid: tuple[int, int] = (3, 3)
    cover: str = "slice"
    factor: float = 2.0

    def __post_init__(self) -> None:
        pixel_size(self.grid, "grid", "rows, columns")
        choice(self.cover, COVERS, "cover")
        positive(self.factor, "factor")

    def views(self, size: Size, view_size: Size, box: Box) -> Views:
        """The views of slices of ``size``; see ``Spherical.views``."""
        centers = grid_centers(size, self.grid, box if self.cover == "brain" else None)
        return Views.zoom(size, centers, factor=self.factor * _oversampling(size, view_size), view_size=view_size)


@dataclass(frozen=True)
class Augmented:
    """Test-time augmentation (Wang et al. 2019): every angle with every flip, then scalings about the slice's centre.

    Attributes:
        angles: in degrees.
        flips: see ``Views.rigid``.
        scalings: how much larger than in the slice things are shown.
    """

    kind: ClassVar[str] = "augmented"
    angles: tuple[float, ...] = (0.0,)
    flips: tuple[str, ...] = ("none",)
    scalings: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for flip in self.flips:
            choice(flip, FLIPS, "flips")
        for scaling in self.scalings:
            positive(scaling, "scalings")

    def views(self, size: Size, view_size: Size, box: Box) -> Views:
        """The views of slices of ``size``, the first angle with the first flip in front; see ``Spherical.views``."""
        oversampling = _oversampling(size, view_size)
        rigid = Views.rigid(size, degrees=self.angles, flips=self.flips, view_size=view_size)
        turned = Geometry.from_table(rigid.geometry)
        views = Views(replace(turned, scale=turned.scale * oversampling), size, view_size)
        center = [((size[0] - 1) / 2, (size[1] - 1) / 2)]
        for scaling in self.scalings:
            views = views + Views.zoom(size, center, factor=scaling * oversampling, view_size=view_size)
        return views


def _oversampling(size: Size, view_size: Size) -> float:
    """View pixels per slice pixel where nothing is magnified: a network then sees things as large at any resolution."""
    return min(view / side for view, side in zip(view_size, size, strict=True))


ViewSet = Spherical | Zoom | Augmented
VIEW_SETS: dict[str, type[ViewSet]] = {kind.kind: kind for kind in (Spherical, Zoom, Augmented)}
