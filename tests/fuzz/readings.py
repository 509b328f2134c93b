"""Which pixels a point may read, and with which weights: bounds of the sampling matrices of the reference.

A bilinear weight is the product of two hat functions, max(0, 1 - |y - i|), of the point's coordinates; a nearest one
of two box functions. A coordinate that is known up to an error gives each weight a least and a most.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fuzz.coordinates import Array, Mask, landing
from spuproj import reference


class Reading(NamedTuple):
    """Matrices ``[G, N, P, K]`` of P points that read K pixels, and ``[G, N, P]``; G is 1 or the batch.

    Attributes:
        least, most: bounds of the weights.
        shown, may_be_shown: whether a point is valid for certain, or possibly.
    """

    least: Array
    most: Array
    shown: Mask
    may_be_shown: Mask

    @property
    def unsure(self) -> Mask:
        """Points that may be valid or not."""
        return self.may_be_shown & ~self.shown


def inside(y: Array, error: Array, length: int) -> tuple[Mask, Mask]:
    """Whether a coordinate is on the image, for certain and possibly."""
    first, last = -reference.TOLERANCE, length - 1 + reference.TOLERANCE
    slack = 4 * np.spacing(last)
    certain = (y - error >= first + slack) & (y + error <= last - slack)
    return certain, ~(y + error < first - slack) & ~(y - error > last + slack)


def _hat(pixel: Array, y: Array) -> Array:
    """max(0, 1 - |y - pixel|), also where it is smaller than the rounding of 1."""
    first = np.floor(y)
    return np.where(pixel == first, 1 - (y - first), np.where(pixel == first + 1, y - first, 0))


def _axis_weights(y: Array, error: Array, length: int, nearest: bool) -> tuple[Array, Array]:
    """Bounds ``[P, length]`` of the weights along one axis."""
    low, high = (np.clip(np.nan_to_num(end, nan=nan), 0, length - 1)[:, None] for end, nan in
                 ((y - error, -np.inf), (y + error, np.inf)))  # fmt: skip
    pixel = np.arange(length, dtype=np.float64)
    if nearest:
        first, last = np.floor(low + 0.5), np.floor(high + 0.5)
        most = ((pixel >= first) & (pixel <= last)).astype(np.float64)
        return np.where(first == last, most, 0), most
    ends = _hat(pixel, low), _hat(pixel, high)
    return np.minimum(*ends), np.where((pixel >= low) & (pixel <= high), 1, np.maximum(*ends))


@np.errstate(all="ignore")
def _reading(
    row: Array, points: tuple[int, int], source: tuple[int, int], inverse: bool, nearest: bool, border: bool
) -> Reading:
    at = landing(row, points, inverse)
    shown, may_be_shown = at.certain, at.possible
    if not border:
        for y, error, length in ((at.y, at.error_y, source[0]), (at.x, at.error_x, source[1])):
            certain, possible = inside(y, error, length)
            shown, may_be_shown = shown & certain, may_be_shown & possible
    rows = _axis_weights(at.y, at.error_y, source[0], nearest)
    columns = _axis_weights(at.x, at.error_x, source[1], nearest)
    least, most = (
        (rows[n][:, :, None] * columns[n][:, None, :]).reshape(len(shown), -1) * valid[:, None]
        for n, valid in enumerate((shown, may_be_shown))
    )
    return Reading(least, most, shown, may_be_shown)


def readings(
    tables: Array,
    points: tuple[int, int],
    source: tuple[int, int],
    *,
    inverse: bool,
    interpolation: str,
    padding: str = "constant",
) -> Reading:
    """What the pixels of every view read of a slice, or with ``inverse`` those of a slice of every view.

    Args:
        tables: ``[G, N, 19]``.
    """
    options = points, source, inverse, interpolation == "nearest", padding == "border"
    each = [[_reading(row, *options) for row in table] for table in tables]
    return Reading(*(np.array([[getattr(one, name) for one in group] for group in each]) for name in Reading._fields))
