"""The ops in extended precision (``numpy.longdouble``, 64 bits of mantissa on x86), against which errors are measured.

Coordinates are those of ``spuproj.reference``, which computes in the precision of its table. Beside every result stands
its magnitude: what the op gives for absolute values, where every pixel that is read counts in full, since the error of
a weight does not shrink with the weight.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from spuproj import reference

Exact = NDArray[Any]
"""Numbers of extended precision, which the reference's types do not know."""
Both = tuple[Exact, Exact]
"""A result and its magnitude."""

needs_extended = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="this platform has no type of more precision than float64"
)


def extended(tensor: torch.Tensor) -> Exact:
    """A tensor's numbers in extended precision."""
    return tensor.detach().double().numpy().astype(np.longdouble)


class Corners(NamedTuple):
    """The four pixels that each of P points reads, and their weights: ``[N, P, 4]``. Points that read none weigh 0."""

    pixel: NDArray[np.int64]
    weight: Exact

    @property
    def valid(self) -> NDArray[np.bool_]:
        return self.weight.sum(axis=-1) > 0

    @property
    def full(self) -> "Corners":
        """The same pixels with a weight of 1, those that are not read with 0."""
        return self._replace(weight=(self.weight > 0).astype(np.longdouble))


def corners(coordinates: Both, size: tuple[int, int]) -> Corners:
    """The bilinear corners of coordinates (y, x) ``[N, ., .]`` in a source of this size."""
    y, x = (np.where(np.isnan(coordinates[0]), 0, each).reshape(len(each), -1) for each in coordinates)
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    b, a = y - top, x - left
    weight = np.stack([(1 - b) * (1 - a), (1 - b) * a, b * (1 - a), b * a], axis=-1)
    shown = ~np.isnan(coordinates[0]).reshape(len(y), -1, 1)
    rows, columns = np.minimum(top + 1, size[0] - 1), np.minimum(left + 1, size[1] - 1)
    pixel = np.stack([i * size[1] + j for i in (top, rows) for j in (left, columns)], axis=-1)
    return Corners(pixel, np.where(shown, weight, 0))


def view_reads_slice(table: torch.Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> Corners:
    return corners(reference.slice_coordinates(extended(table), size, view_size), size)


def slice_reads_view(table: torch.Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> Corners:
    return corners(reference.view_coordinates(extended(table), size, view_size), view_size)


def gather(source: Exact, at: Corners) -> Exact:
    """Planes ``[B, N or 1, C, K]`` read at every point: ``[B, N, C, P]``."""
    views = [
        (source[:, min(n, source.shape[1] - 1)][..., at.pixel[n]] * at.weight[n]).sum(axis=-1)
        for n in range(len(at.pixel))
    ]
    return np.stack(views, axis=1)


def scatter(values: Exact, at: Corners, pixels: int) -> Exact:
    """The transpose of ``gather``: ``[B, N, C, P]`` -> ``[B, N, C, pixels]``."""
    planes = np.zeros((*values.shape[:-1], pixels), dtype=np.longdouble)
    for n in range(values.shape[1]):
        for corner in range(4):
            part = values[:, n] * at.weight[n, :, corner]
            index: Any = (..., at.pixel[n, :, corner])
            np.add.at(planes[:, n], index, part)
    return planes


def moments(stack: Exact, at: Corners, weights: Exact) -> dict[str, Both]:
    """Mean and variance ``[B, C, P]`` over the views, of weights ``[N, P]``; zeros where no view counts."""
    weight = np.where(at.valid, weights, 0)[:, None]
    count = weight.sum(axis=0)
    share = weight / np.where(count > 0, count, 1)
    values, sizes = gather(stack, at), gather(np.abs(stack), at.full)
    mean = (share * values).sum(axis=1)
    variance = (share * (values - mean[:, None]) ** 2).sum(axis=1)
    return {"mean": (mean, (share * sizes).sum(axis=1)), "variance": (variance, (share * sizes**2).sum(axis=1))}


def moments_gradient(
    grads: tuple[Exact, Exact], stack: Exact, at: Corners, mean: Exact, weights: Exact, count: Exact
) -> Both:
    """The gradient ``[B, N, C, K]`` of mean and variance with respect to the stack, given the mean and the count."""
    share = np.where(at.valid, weights, 0)[None, :, None] / np.where(count > 0, count, 1)[:, None]
    values, sizes = gather(stack, at), gather(np.abs(stack), at.full)
    grad_mean, grad_variance = (grad[:, None] for grad in grads)
    slope = share * (grad_mean + 2 * grad_variance * (values - mean[:, None]))
    size = share * (np.abs(grad_mean) + 2 * np.abs(grad_variance) * (sizes + np.abs(mean)[:, None]))
    return scatter(slope, at, stack.shape[-1]), scatter(size, at.full, stack.shape[-1])
