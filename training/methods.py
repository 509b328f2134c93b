"""How a model looks at a slice: sets of views by name, and methods as configuration files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from spuproj import PROFILES, Geometry, Views
from spuproj.checks import choice, pixel_size, positive
from spuproj.placement import FLIPS, grid_centers
from spuproj.training.files import InputError
from spuproj.views import FITS, POSES

CONFIGS = Path(__file__).parent / "configs"
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
_KINDS: dict[str, type[ViewSet]] = {kind.kind: kind for kind in (Spherical, Zoom, Augmented)}

TRAINING_VIEWS = ("all", "first")


@dataclass(frozen=True)
class Method:
    """What a configuration file says: the views, and the network and training that all methods share.

    Attributes:
        name: of the method.
        views: that the network predicts through, N of them.
        training_views: ``"all"``: each slice through one of the N, drawn anew each time. ``"first"``: through the
            first one alone.
        oversampling: view pixels per slice pixel, where nothing is magnified: above 1, what a view compresses keeps
            detail.
        noise: standard deviation of the Gaussian noise added to what the network sees in prediction, where 1 is that
            of the brain's values.
        channels: feature channels of the U-Net's levels.
        epochs: passes over the data.
        batch_size: slices per step.
        learning_rate: the schedule's largest.
    """

    name: str
    views: ViewSet
    training_views: str = "all"
    oversampling: float = 1.0
    noise: float = 0.0
    channels: tuple[int, ...] = (16, 32, 64, 128)
    epochs: int = 30
    batch_size: int = 16
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        choice(self.training_views, TRAINING_VIEWS, "training_views")
        if not (self.noise >= 0 and math.isfinite(self.noise)):
            raise ValueError(f"noise must be finite and not negative, got {self.noise}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ValueError(f"channels must be at least two positive numbers, got {self.channels}")
        positive(self.oversampling, "oversampling")
        positive(self.learning_rate, "learning_rate")


def method_names() -> list[str]:
    """The methods that come with the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.json"))


def method_named(name: str) -> Method:
    """A method that comes with the package, or that of a file ``.json``.

    Raises:
        InputError: where there is no such method or file, or the file says something that does not hold.
    """
    path = Path(name) if name.endswith(".json") else CONFIGS / f"{name}.json"
    if not path.is_file():
        raise InputError(f"method must be one of {', '.join(method_names())} or a file .json, got {name!r}")
    try:
        return method_of(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} must be the configuration of a method, but is not: {error}") from None


def method_of(values: Mapping[str, Any]) -> Method:
    """A method from the values of ``values_of``. Raises TypeError or ValueError where they do not hold."""
    if not isinstance(values, Mapping):
        raise TypeError(f"it must be an object, got {type(values).__name__}")
    views = dict(values["views"]) if isinstance(values.get("views"), dict) else {}
    kind = views.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"views must have a kind of {', '.join(_KINDS)}, got {kind!r}")
    return _made(Method, {**values, "views": _made(_KINDS[kind], views)})


def values_of(method: Method) -> dict[str, Any]:
    """A method as JSON holds it."""
    return {**asdict(method), "views": {"kind": method.views.kind, **asdict(method.views)}}


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    known = [each.name for each in fields(kind)]
    if unknown := [name for name in values if name not in known]:
        raise ValueError(f"{unknown[0]} must be one of {', '.join(known)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
