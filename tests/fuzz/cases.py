"""Random cases: geometry tables at and beyond the ends of domains, shapes, strides, dtypes and special numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from spuproj import PROFILES
from spuproj.ops.checks import FLOATING, INTEGRAL, INTERPOLATIONS, PADDINGS

LONG = 4097
_SIDES = (1, 2, 3, 5, 7, 8, 11, 13)
_LIMITS = [profile.radius_limit for profile in PROFILES.values()]
_seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Case:
    """All of a call but the numbers it reads."""

    size: tuple[int, int]
    view_size: tuple[int, int]
    batch: int
    channels: int
    table: Tensor
    interpolation: str
    padding: str
    threads: int

    @property
    def views(self) -> int:
        return self.table.shape[-2]

    @property
    def tables(self) -> Any:
        """The table as an array ``[G, N, 19]``."""
        return self.table.reshape(-1, *self.table.shape[-2:]).numpy()

    def shape(self, kind: str) -> tuple[int, ...]:
        """Shape of an image, a stack of views, a stack of slices, or the moments of slices."""
        views = (self.views,) if kind in ("stack", "slices") else ()
        return (self.batch, *views, self.channels, *(self.view_size if kind == "stack" else self.size))


def _rotation(draw: st.DrawFn, random: np.random.Generator) -> Any:
    kind = draw(st.sampled_from(("none", "tilted", "quarter", "flip", "any", "right angle", "antipode")))
    if kind == "none":
        return np.eye(3)
    if kind == "quarter":
        return np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    if kind == "flip":
        return np.diag([1.0, -1, 1])
    if kind == "right angle":
        return np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    if kind == "antipode":
        return np.diag([1.0, -1, -1])
    tilt = math.pi if kind == "any" else 0.5
    x, y, z = random.normal(size=3) * random.uniform(0, tilt) / math.sqrt(3)
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.matrix_exp(skew).numpy()


def _at_rim(random: np.random.Generator, origin: Any, spacing: Any, size: Any, limit: float) -> float:
    """The scale at which some pixel lies on the rim, or if there is none at the distance of the scale."""
    distance = math.hypot(*((random.integers(0, size) - origin) * spacing))
    return (distance or 1.0) / (limit if math.isfinite(limit) else 1.0)


@st.composite
def _rows(draw: st.DrawFn, size: tuple[int, int], view_size: tuple[int, int]) -> Tensor:
    """One row of a geometry table."""
    random = np.random.default_rng(draw(_seeds))
    sides, view_sides = np.maximum(size, 1), np.maximum(view_size, 1)
    lift, chart = draw(st.integers(0, len(PROFILES) - 1)), draw(st.integers(0, len(PROFILES) - 1))
    spacing = {
        "pixels": np.ones(2),
        "anisotropic": np.array([0.8, 1.25]),
        "power": 10 ** random.uniform(-3, 3, 2),
    }[draw(st.sampled_from(("pixels", "anisotropic", "power")))]
    places = ("centre", "pixel", "inside", "corner", "outside")
    tangent, pole = (
        {
            "centre": (one - 1) / 2,
            "pixel": random.integers(0, one).astype(float),
            "inside": random.uniform(0, 1, 2) * (one - 1),
            "corner": np.zeros(2),
            "outside": random.uniform(-2, 3, 2) * one,
        }[draw(st.sampled_from(places))]
        for one in (sides, view_sides)
    )
    extent = float(np.max(sides * spacing))
    radius = {
        "usual": extent * random.uniform(0.3, 2),
        "power": extent * 10 ** random.uniform(-12, 12),
        "rim": _at_rim(random, tangent, spacing, sides, _LIMITS[lift]),
    }[draw(st.sampled_from(("usual", "power", "rim")))]
    scale = {
        "usual": radius * max(view_sides) / extent * random.uniform(0.2, 1.5),
        "zoom": radius / spacing[0] * draw(st.sampled_from((1.0, 0.5, 2.0))),
        "power": float(max(view_sides)) * 10 ** random.uniform(-12, 12),
        "rim": _at_rim(random, pole, np.ones(2), view_sides, _LIMITS[chart]),
    }[draw(st.sampled_from(("usual", "zoom", "power", "rim")))]
    columns = tangent, [radius, scale], pole, [lift, chart], _rotation(draw, random).ravel(), spacing
    return torch.from_numpy(np.concatenate([np.asarray(each, dtype=np.float64) for each in columns]))


@st.composite
def _planes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int], bool]:
    """Sizes of slice and view; one of them may be long."""
    side = st.sampled_from(_SIDES)
    size, view_size = draw(st.tuples(side, side)), draw(st.tuples(side, side))
    kind = draw(st.sampled_from(("small",) * 12 + ("long slice", "long view", "empty slice", "empty view")))
    if kind == "small":
        return size, view_size, False
    short = draw(st.sampled_from((1, 2))), 0 if "empty" in kind else LONG
    other = min(size[0], 3), min(size[1], 5)
    short = short if draw(st.booleans()) else short[::-1]
    return (short, other, "long" in kind) if "slice" in kind else (other, short, "long" in kind)


@st.composite
def cases(draw: st.DrawFn, empty: bool = True) -> Case:
    """Sizes, a table and options."""
    size, view_size, long = draw(_planes().filter(lambda planes: empty or 0 not in (*planes[0], *planes[1])))
    numbers = (1, 2, 3) if not empty else (1, 2, 3, 1, 2, 3, 1, 2, 3, 0)
    batch = draw(st.sampled_from((1,) if long else numbers))
    channels = draw(st.sampled_from((1, 4, 17) if long else (*numbers, 4, 5, 15, 16, 17)))
    views = draw(st.sampled_from((1, 2) if long else (1, 2, 3, 5)))
    shape = (batch, views) if draw(st.booleans()) and batch > 0 else (views,)
    rows = torch.stack([draw(_rows(size, view_size)) for _ in range(math.prod(shape))])
    return Case(
        size,
        view_size,
        batch,
        channels,
        rows.reshape(*shape, -1),
        draw(st.sampled_from(INTERPOLATIONS)),
        draw(st.sampled_from(PADDINGS)),
        draw(st.sampled_from((1, 2, 3, 5))),
    )


def _numbers(kind: str, random: np.random.Generator, shape: tuple[int, ...], dtype: torch.dtype) -> Any:
    info = torch.finfo(dtype)
    if kind == "wide":
        reach = math.log10(info.max)
        return random.choice([-1.0, 1.0], shape) * 10 ** random.uniform(-reach, reach * 0.999, shape)
    if kind == "large":
        return random.uniform(-1, 1, shape) * info.max
    if kind == "half of large":
        return random.uniform(-0.12, 0.12, shape) * info.max
    if kind == "subnormal":
        return random.integers(-9, 10, shape) * (info.smallest_normal * info.eps)
    if kind == "offset":
        return 1000 + 0.1 * random.normal(size=shape)
    if kind == "steps":
        return random.integers(0, 4, shape).astype(np.float64)
    return random.normal(size=shape)


@st.composite
def numbers(draw: st.DrawFn, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Numbers of a floating dtype of all magnitudes; among them NaN, infinities and the largest number."""
    kinds = ("normal", "normal", "steps", "offset", "wide", "large", "half of large", "subnormal")
    kind, random = draw(st.sampled_from(kinds)), np.random.default_rng(draw(_seeds))
    tensor = torch.from_numpy(np.asarray(_numbers(kind, random, shape, dtype), dtype=np.float64)).to(dtype)
    special = (math.nan, math.inf, -math.inf, torch.finfo(dtype).max, -0.0)
    # A few, or so many that many results read one.
    count = draw(st.sampled_from((0, 0, 1, 3, tensor.numel() // 8)))
    places = torch.from_numpy(random.integers(0, max(1, tensor.numel()), min(count, tensor.numel())))
    tensor.view(-1)[places] = torch.from_numpy(random.choice(special, len(places))).to(dtype)
    return tensor


@st.composite
def labels(draw: st.DrawFn, shape: tuple[int, ...]) -> Tensor:
    """Numbers of a dtype of whole numbers, from its smallest to its largest."""
    dtype, random = draw(st.sampled_from(INTEGRAL)), np.random.default_rng(draw(_seeds))
    low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return torch.from_numpy(np.asarray(random.integers(low, high, shape, np.int64, endpoint=True))).to(dtype)


@st.composite
def laid_out(draw: st.DrawFn, tensor: Tensor) -> Tensor:
    """The same numbers with other strides and an offset, between numbers that no op may read; or one axis expanded."""
    kind = draw(st.sampled_from(("contiguous", "contiguous", "strided", "expanded")))
    if kind == "contiguous" or tensor.numel() == 0:
        return tensor
    axes = range(tensor.dim())
    if kind == "expanded":
        return tensor.narrow(draw(st.sampled_from(axes)), 0, 1).expand_as(tensor)
    order = draw(st.permutations(axes))
    steps = [draw(st.sampled_from((1, 1, 1, 2, 3))) for _ in axes]
    before = [draw(st.sampled_from((0, 0, 1))) for _ in axes]
    lengths = [first + step * n for n, step, first in zip(tensor.shape, steps, before, strict=True)]
    other = math.nan if tensor.dtype.is_floating_point else 1
    memory = torch.full([lengths[axis] for axis in order], other, dtype=tensor.dtype)
    place = memory.permute([order.index(axis) for axis in axes])
    for axis in axes:
        place = place[(slice(None),) * axis + (slice(before[axis], None, steps[axis]),)]
    return place.copy_(tensor)


@st.composite
def sources(draw: st.DrawFn, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Numbers of a floating dtype, laid out."""
    return draw(laid_out(draw(numbers(shape, dtype))))


@st.composite
def weights(draw: st.DrawFn, case: Case, precision: torch.dtype) -> Tensor | None:
    """Weights of views, if any, of a dtype of their own; finite after conversion to the arithmetic's precision."""
    kind = draw(st.sampled_from(("none", "usual", "tiny", "wide", "large", "mostly zero")))
    if kind == "none":
        return None
    shape = ((case.batch,) if draw(st.booleans()) else ()) + (case.views, *case.size)
    dtype, random = draw(st.sampled_from(FLOATING)), np.random.default_rng(draw(_seeds))
    largest = min(torch.finfo(dtype).max, torch.finfo(precision).max)
    values = {
        "usual": random.uniform(-0.3, 1, shape).clip(0),
        "tiny": 10 ** random.uniform(-45, -36, shape),
        "wide": 10 ** random.uniform(-38, math.log10(largest) - 1, shape),
        "large": largest * random.uniform(0, 0.9, shape),
        "mostly zero": random.choice([0.0, 0.0, 0.0, 1.0], shape),
    }[kind]
    return draw(laid_out(torch.from_numpy(np.asarray(values)).to(dtype)))
