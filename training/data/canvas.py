"""Slices on a canvas of another size: padded with background or cropped, without resampling."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from spuproj.training.runtime.errors import InputError

Scalar = TypeVar("Scalar", bound=np.generic)

Box = tuple[int, int, int, int]
"""(y0, x0, y1, x1) in pixels; the last row and column are inside."""

# Part of the canvas by which the brains of patients in one atlas differ in place.
_NEAR = 0.02

# Width of the canvas beside the largest brain, on each side, as part of that brain.
_MARGIN = 0.06

Pixel = tuple[float, float]
"""Height and width of a pixel, in mm."""


@dataclass(frozen=True)
class Canvas:
    """Where the slices of a case lie on a canvas.

    Attributes:
        size: (H, W) of the canvas.
        offset: (y, x) of a slice's first pixel on the canvas; negative where the slice is cropped.
    """

    size: tuple[int, int]
    offset: tuple[int, int] = (0, 0)

    def place(self, slices: NDArray[Scalar], fill: float = 0) -> NDArray[Scalar]:
        """Slices ``[..., h, w]`` on the canvas ``[..., H, W]``, with ``fill`` around them."""
        return _shifted(slices, self.size, self.offset, fill)

    def cut(self, placed: NDArray[Scalar], size: tuple[int, int], fill: float = 0) -> NDArray[Scalar]:
        """Inverse of ``place`` for slices of ``size``; ``fill`` is for their pixels that are not on the canvas."""
        return _shifted(placed, size, (-self.offset[0], -self.offset[1]), fill)


def canvas_around(
    brain: Box, size: tuple[int, int], canvas: tuple[int, int], centre: tuple[float, float], case: str
) -> Canvas:
    """Places slices so that the centre of the brain comes near a point of the canvas, and all of the brain on it.

    An axis on which slices and canvas have the same size is left as it is. One that is near enough (``_NEAR``) when
    padded or cropped evenly is treated so: images of an atlas keep their place, whatever their field of view.

    Args:
        brain: box around the brain of all slices.
        size: (h, w) of the slices.
        canvas: (H, W) of the canvas.
        centre: (y, x) of the point, as fractions of the canvas.
        case: name of the case, for the error.

    Raises:
        InputError: where the brain is larger than the canvas.
    """
    offsets = []
    for axis in (0, 1):
        first, last, length = brain[axis], brain[axis + 2], canvas[axis]
        if last - first >= length:
            raise InputError(
                f"{case} must have a brain of at most {canvas[0]} x {canvas[1]} pixels (height, width), got "
                f"{brain[2] - brain[0] + 1} x {brain[3] - brain[1] + 1}; if that is not all brain, "
                "name a brain mask in a manifest"
            )
        wanted, even = centre[axis] * (length - 1) - (first + last) / 2, (length - size[axis]) // 2
        is_near = size[axis] == length or abs(even - wanted) <= _NEAR * length
        offsets.append(min(max(even if is_near else round(wanted), -first), length - 1 - last))
    return Canvas(canvas, (offsets[0], offsets[1]))


def size_around(brains: Iterable[Box]) -> tuple[int, int]:
    """(H, W) of a canvas for the largest of these brains, with a margin around it."""
    height, width = np.max([(y1 - y0 + 1, x1 - x0 + 1) for y0, x0, y1, x1 in brains], axis=0)
    return math.ceil(height * (1 + 2 * _MARGIN)), math.ceil(width * (1 + 2 * _MARGIN))


def usual_pixel(pixels: Iterable[Pixel]) -> Pixel:
    """The size that most pixels have, in three digits."""
    (usual, _), *_ = Counter((float(f"{y:.3g}"), float(f"{x:.3g}")) for y, x in pixels).most_common(1)
    return usual


def fits_canvas(pixel: Pixel, usual: Pixel) -> bool:
    """Whether slices of both pixel sizes can share a canvas: they differ by at most 1 %."""
    return bool(np.allclose(pixel, usual, rtol=0.01))


def _shifted(slices: NDArray[Scalar], size: tuple[int, int], offset: tuple[int, int], fill: float) -> NDArray[Scalar]:
    """Slices ``[..., h, w]`` moved by an offset on slices of another size; themselves where nothing changes."""
    if slices.shape[-2:] == size and offset == (0, 0):
        return slices
    result = np.full((*slices.shape[:-2], *size), fill, slices.dtype)
    to, of = zip(*(_overlap(*axis) for axis in zip(slices.shape[-2:], size, offset, strict=True)), strict=True)
    result[(..., *to)] = slices[(..., *of)]
    return result


def _overlap(length: int, other: int, offset: int) -> tuple[slice, slice]:
    """The pixels of an axis that are on both: their places on the other axis, and on its own."""
    first, last = max(offset, 0), min(offset + length, other)
    return slice(first, max(last, first)), slice(first - offset, max(last, first) - offset)
