"""Sets of views by name: how a model looks at a slice."""

from __future__ import annotations

import math
from dataclasses import field, replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from spuproj import PROFILES, Geometry, Views
from spuproj.geometry.placement import FLIPS, grid_centers
from spuproj.training.runtime.settings import SETTINGS, Number, Positive, one_of
from spuproj.views import FITS, POSES

Box = tuple[float, float, float, float]
Size = tuple[int, int]

# The network sees every view of a slice: a grid of 16 x 16 takes 28 times as long as one of 3 x 3.
Side = Annotated[int, Field(strict=True, ge=1, le=16)]
MOST_LISTED = 64
Grid = tuple[Side, Side]
Cover = Literal["brain", "slice"]
Profile = Annotated[str, one_of(PROFILES)]
Pose = Annotated[str, one_of(POSES)]
Fit = Annotated[str, one_of(FITS)]
Flip = Annotated[str, one_of(FLIPS)]

VIEW_SET: ConfigDict = {**SETTINGS, "json_schema_extra": {"required": ["kind"]}}


@dataclass(frozen=True, config=VIEW_SET)
class Spherical:
    """Projections onto a sphere from a grid of centres (SPU-Net; Yang et al. 2024)."""

    kind: Literal["spherical"] = field(default="spherical", kw_only=True)
    grid: Grid = (3, 3)
    """Rows and columns of centres."""
    cover: Cover = "brain"
    """What the grid covers: the mean box around the brains trained on, or the slice."""
    radius: Positive = 0.5
    """Of the sphere, as a fraction of the slice's larger side."""
    lift: Profile = "gnomonic"
    """Projection that takes the slice to the sphere."""
    chart: Profile = "equidistant"
    """Projection that takes the sphere to the view."""
    pose: Pose = "tangent"
    """Whether the sphere moves to each centre, or is turned towards it."""
    fit: Fit = "contain"
    """What a view is as large as: the whole slice, or the box that the grid covers."""
    centered: bool = True
    """Whether each centre lands in the middle of its view, or where more of the view can be filled."""
    magnification: Positive | None = None
    """At each centre; that of the fit where null."""

    @property
    def count(self) -> int:
        """Number of views."""
        return math.prod(self.grid)

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
            centered=self.centered,
            magnification=magnification,
            view_size=view_size,
        )


@dataclass(frozen=True, config=VIEW_SET)
class Zoom:
    """Linear scalings about a grid of centres (LSU-Net): each shows a part; some pixels are seen by few views."""

    kind: Literal["zoom"] = field(default="zoom", kw_only=True)
    grid: Grid = (3, 3)
    """Rows and columns of centres."""
    cover: Cover = "slice"
    """What the grid covers: the mean box around the brains trained on, or the slice."""
    factor: Positive = 2.0
    """How much larger than in the slice things are shown."""

    @property
    def count(self) -> int:
        """Number of views."""
        return math.prod(self.grid)

    def views(self, size: Size, view_size: Size, box: Box) -> Views:
        """The views of slices of ``size``; see ``Spherical.views``."""
        centers = grid_centers(size, self.grid, box if self.cover == "brain" else None)
        return Views.zoom(size, centers, factor=self.factor * _oversampling(size, view_size), view_size=view_size)


@dataclass(frozen=True, config=VIEW_SET)
class Augmented:
    """Test-time augmentation (Wang et al. 2019): every angle with every flip, then scalings about the centre."""

    kind: Literal["augmented"] = field(default="augmented", kw_only=True)
    angles: Annotated[tuple[Number, ...], Field(min_length=1, max_length=MOST_LISTED)] = (0.0,)
    """Rotations, in degrees."""
    flips: Annotated[tuple[Flip, ...], Field(min_length=1, max_length=len(FLIPS))] = ("none",)
    """Axes that are flipped."""
    scalings: Annotated[tuple[Positive, ...], Field(max_length=MOST_LISTED)] = ()
    """How much larger than in the slice things are shown."""

    @property
    def count(self) -> int:
        """Number of views."""
        return len(self.angles) * len(self.flips) + len(self.scalings)

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


ViewSet = Annotated[Spherical | Zoom | Augmented, Field(discriminator="kind")]
"""Any set of views; in JSON its ``kind`` says which."""
