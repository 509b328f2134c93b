"""Taps: the source pixels that each point reads, with their weights; and transposes, the points that read each pixel.

They depend on geometry and sizes alone, so they are cached (``spuproj.backends.prepared``).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from spuproj.geometry.coordinates import snapped, to_slice, to_view
from spuproj.geometry.table import Geometry

PIXELS = 2**31 - 2
"""Largest number of pixels of a source plane: indices are int32, and two values are reserved."""

ENTRIES = 2**31 - 1
"""Largest number of entries of the transpose of one view, four for each point."""

Launch = TypeVar("Launch")


class Sampling(NamedTuple):
    """Everything that taps depend on, except the geometry.

    Attributes:
        size: (height, width) of the result: a view, or with ``inverse`` a slice.
        source: (height, width) of the source.
        inverse: whether slice pixels read a view.
        nearest: whether a tap reads one pixel instead of blending four.
        border: whether points outside the source read its nearest pixel.
        precision: dtype of the fractions.
    """

    size: tuple[int, int]
    source: tuple[int, int]
    inverse: bool
    nearest: bool
    border: bool
    precision: torch.dtype

    @property
    def pixels(self) -> int:
        """Number of pixels of the result, per plane."""
        return self.size[0] * self.size[1]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The fields for the compiled kernels, in the order of their ``Sampling``."""
        double = self.precision == torch.float64
        return *self.size, *self.source, self.inverse, self.nearest, self.border, double


def sampling_of(
    reads: Tensor, source: Tensor, interpolation: str, *, inverse: bool, padding: str = "constant"
) -> Sampling:
    """The sampling of a result ``[..., h, w]`` from a source. Raises ValueError if the source has too many pixels."""
    height, width = source.shape[-2:]
    if height * width > PIXELS:
        raise ValueError(f"a plane that is read must have at most {PIXELS} pixels, got {height} x {width}")
    precision = torch.float64 if source.dtype == torch.float64 else torch.float32
    size, nearest, border = (reads.shape[-2], reads.shape[-1]), interpolation == "nearest", padding == "border"
    return Sampling(size, (height, width), inverse, nearest, border, precision)


def coordinates_at(geometry: Tensor, sampling: Sampling, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The source coordinates (y, x) that pixels (y, x) read, ``[..., P, Q]`` each; NaN where they read none.

    Args:
        geometry: ``[..., 19]`` views.
        y, x: float64, broadcast with ``[..., 1, 1]``.
    """
    to_source = to_view if sampling.inverse else to_slice
    y, x = to_source(Geometry.from_table(geometry), y, x)
    if sampling.border:
        return y.clamp(0, sampling.source[0] - 1), x.clamp(0, sampling.source[1] - 1)
    return snapped(y, x, sampling.source)


class Part(NamedTuple):
    """Part of a batch: its samples (None for all), the geometry of the batch, and whether to cache the taps."""

    samples: slice | None
    geometry: Tensor
    keep: bool

    def of(self, tensor: Tensor) -> Tensor:
        """The part's samples of a tensor; the tensor itself for all."""
        return tensor if self.samples is None else tensor[self.samples]


def in_parts(
    run: Callable[[Part], Launch | None], geometry: Tensor, batch: int, sampling: Sampling, points: int
) -> Launch | None:
    """Runs a kernel on the ``parts`` of a batch, one after another; returns what a single part returns, else None."""
    each = list(parts(geometry, batch, sampling, points))
    if len(each) == 1:
        return run(each[0])
    for part in each:
        run(part)  # Its launch would keep the part's taps in memory.
    return None


def parts(geometry: Tensor, batch: int, sampling: Sampling, points: int, most: int | None = None) -> Iterator[Part]:
    """Splits a batch into parts of at most ``most`` samples and, if these have their own taps, of ``points`` taps."""
    samples, shared = batch if most is None else most, geometry.dim() == 2
    if not shared:
        samples = min(samples, max(1, points // (geometry.shape[1] * sampling.pixels)))
    if samples >= batch:
        yield Part(None, geometry, keep=True)
        return
    for first in range(0, batch, samples):
        yield Part(slice(first, first + samples), geometry, keep=shared)


@dataclass(frozen=True)
class Taps:
    """Taps of every pixel of N or B N views or slices of P pixels.

    Attributes:
        index: ``[N, P]`` or ``[B, N, P]`` int32. 0 or more: the upper left of the four source pixels to interpolate.
            -1: no source. -2 or less: the upper left source pixel is -2 - index, and a fraction is zero, so the
            neighbour on that side is not read.
        fraction_y: same shape, the weight of the pixel below, in [0, 1).
        fraction_x: same shape, the weight of the pixel to the right, in [0, 1).
        source: (height, width) of the source.
    """

    index: Tensor
    fraction_y: Tensor
    fraction_x: Tensor
    source: tuple[int, int]

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Index and fractions."""
        return self.index, self.fraction_y, self.fraction_x

    def rows(self, numbers: Tensor) -> "Taps":
        """The taps of the views of these numbers, counted through all samples."""
        index, y, x = (each.flatten(0, -2)[numbers] for each in self.tensors)
        return Taps(index, y, x, self.source)

    @property
    def valid(self) -> Tensor:
        """Whether a tap has a source."""
        return self.index != -1

    @property
    def pixel(self) -> Tensor:
        """The upper left source pixel, int64; -1 without a source."""
        return torch.where(self.index < -1, -2 - self.index.long(), self.index.long())

    def corners(self) -> tuple[Tensor, Tensor, Tensor]:
        """``[..., P, 4]``: the source pixels of every tap, their weights, and whether they are read at all."""
        y, x, width = self.fraction_y, self.fraction_x, self.source[1]
        pixels = torch.stack([self.pixel + step for step in (0, 1, width, width + 1)], dim=-1)
        weights = torch.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], dim=-1)
        # Pixels of weight zero are not read, so that NaN or Inf in them does not spread.
        return pixels, weights, self.valid.unsqueeze(-1) & (weights > 0)


def encoded(pixel: Tensor, fraction_y: Tensor, fraction_x: Tensor) -> Tensor:
    """The int32 index of taps from their upper left source pixels (-1 without a source) and fractions."""
    blends = (fraction_y > 0) & (fraction_x > 0)
    return torch.where((pixel < 0) | blends, pixel, -2 - pixel).int()


@dataclass(frozen=True)
class Transpose:
    """The points that read each of the Q source pixels, for N or B N views with 4 P entries each.

    Attributes:
        start: ``[..., Q + 1]`` int32; the entries from ``start[q]`` to before ``start[q + 1]`` belong to pixel q.
        pixel: ``[..., 4 P]`` int32, the point of each entry, ascending for each source pixel.
        weight: ``[..., 4 P]``, the weight of each entry.
    """

    start: Tensor
    pixel: Tensor
    weight: Tensor

    def rows(self, numbers: Tensor) -> "Transpose":
        """The transposes of the views of these numbers, counted through all samples."""
        return Transpose(*(each.flatten(0, -2)[numbers] for each in (self.start, self.pixel, self.weight)))


def transpose_of(taps: Taps) -> Transpose:
    """Sorts the corners of all taps by the source pixel that they read; the stable sort makes sums reproducible.

    Raises ValueError for views whose entries exceed 32-bit indices.
    """
    if 4 * taps.index.shape[-1] > ENTRIES:
        raise ValueError(f"views must have at most {ENTRIES // 4} pixels here, got {taps.index.shape[-1]}")
    corner, weight, reads = taps.corners()
    count = taps.source[0] * taps.source[1]
    key, order = torch.where(reads, corner, count).flatten(-2).sort(dim=-1, stable=True)
    bounds = torch.arange(count + 1, dtype=key.dtype, device=key.device).expand(*key.shape[:-1], -1).contiguous()
    return Transpose(
        start=torch.searchsorted(key, bounds, out_int32=True),
        pixel=(order // 4).int(),
        weight=weight.flatten(-2).gather(-1, order),
    )
