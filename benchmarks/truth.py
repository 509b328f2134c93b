"""What every result is compared with: the definition in ``spuproj.reference``, in float64, on sparse matrices.

``spuproj.reference`` writes each view as a dense matrix, which a real slice is too large for. Here the same matrices
are sparse, and their points are the reference's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from spuproj.benchmarks.problems import Coordinates, Problem

Array = NDArray[np.float64]

_SAMPLES = 4


@dataclass(frozen=True)
class Truth:
    """The right results of some samples of a problem.

    Attributes:
        problem: the inputs.
        samples: which entries of the batch; all of up to four, else four from first to last.
        results: for each of the op's results an array ``[len(samples), ...]``.
    """

    problem: Problem
    samples: list[int]
    results: tuple[Array, ...]


def make_truth(problem: Problem) -> Truth:
    """The right results of a problem's op."""
    case = problem.case
    samples = np.unique(np.linspace(0, case.batch - 1, min(case.batch, _SAMPLES)).round().astype(int)).tolist()
    geometries = [matrices(y, x, case.size, case.interpolation) for y, x in zip(problem.y, problem.x, strict=True)]
    results = [_results(problem, geometries[sample % len(geometries)], sample) for sample in samples]
    return Truth(problem, samples, tuple(np.stack(parts) for parts in zip(*results, strict=True)))


def matrices(y: Coordinates, x: Coordinates, size: tuple[int, int], interpolation: str) -> list[sparse.csr_array]:
    """The sampling matrix ``[P Q, H W]`` of each view's points ``[N, P, Q]``: ``spuproj.reference.weights``, sparse."""
    return [_matrix(*pair, size, interpolation) for pair in zip(y, x, strict=True)]


def _matrix(y: Coordinates, x: Coordinates, size: tuple[int, int], interpolation: str) -> sparse.csr_array:
    points = np.flatnonzero(~np.isnan(y))
    row, column = y.ravel()[points], x.ravel()[points]
    if interpolation == "nearest":
        row, column = np.floor(row + 0.5), np.floor(column + 0.5)
    top, left = np.floor(row), np.floor(column)
    corners = [
        (points, (top + i) * size[1] + left + j, weight_y * weight_x)
        for i, weight_y in ((0, 1 - (row - top)), (1, row - top))
        for j, weight_x in ((0, 1 - (column - left)), (1, column - left))
    ]
    point, pixel, weight = (np.concatenate(parts) for parts in zip(*corners, strict=True))
    used = weight > 0
    entries = (weight[used], (point[used], pixel[used].astype(np.int64)))
    return sparse.csr_array(entries, shape=(y.size, size[0] * size[1]))


def _results(problem: Problem, views: list[sparse.csr_array], sample: int) -> tuple[Array, ...]:
    """The op's results on one sample."""
    case = problem.case
    planes = _float64(problem.planes[sample])
    gradients = [_float64(gradient[sample]) for gradient in problem.gradients]
    valid = problem.valid[sample % len(problem.valid)][:, None]
    match case.op:
        case "project" | "unproject":
            return (_apply(views, planes),)
        case "project backward":
            return (_apply([view.T for view in views], gradients[0]).sum(axis=0),)
        case "unproject backward":
            return (_apply([view.T for view in views], gradients[0]),)
        case "reduce":
            return _moments(_apply(views, planes), valid)
    slices = _apply(views, planes)
    mean, _, count = _moments(slices, valid)
    slope = (gradients[0] + 2 * gradients[1] * (slices - mean)) / np.maximum(count, 1)
    return (_apply([view.T for view in views], slope),)


def _apply(views: Sequence[sparse.sparray], planes: Array) -> Array:
    """Each view's matrix on ``[C, H, W]`` planes, or on its own of ``[N, C, H, W]``: ``[N, C, H, W]``."""
    per_view = np.broadcast_to(planes, (len(views), *planes.shape[-3:]))
    return np.stack([
        np.ascontiguousarray((view @ stack.reshape(len(stack), -1).T).T).reshape(stack.shape)
        for view, stack in zip(views, per_view, strict=True)
    ])  # fmt: skip


def _moments(slices: Array, valid: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """Mean, population variance and count ``[C, H, W]`` over the valid views of ``[N, C, H, W]``."""
    count = np.broadcast_to(valid, slices.shape).sum(axis=0).astype(np.float64)
    divisor = np.maximum(count, 1)
    mean = slices.sum(axis=0) / divisor
    return mean, (np.where(valid, slices - mean, 0) ** 2).sum(axis=0) / divisor, count


def _float64(tensor: Any) -> Array:
    """A tensor or array of any dtype as a float64 array."""
    return np.asarray(tensor.double() if hasattr(tensor, "double") else tensor, dtype=np.float64)


def difference(results: Sequence[Any], truth: Truth, near: float) -> float:
    """The largest difference of the op's results (tensors or arrays), over the largest right value of each.

    Nearest neighbours are not compared where a point lies within ``near`` pixels of half way between two.
    """
    compared = _decided(truth.problem, near)
    worst = 0.0
    for result, right in zip(results, truth.results, strict=True):
        scale = max(float(np.abs(right).max()), np.finfo(np.float64).tiny)
        for sample, expected in zip(truth.samples, right, strict=True):
            gap = np.abs(_float64(result[sample % len(result)]) - expected)
            if compared is not None:
                gap = np.where(compared[sample % len(compared)][:, None], gap, 0)
            worst = max(worst, float(np.nan_to_num(gap, nan=np.inf).max()) / scale)
    return worst


def _decided(problem: Problem, near: float) -> NDArray[np.bool_] | None:
    """``[B or 1, N, P, Q]``: points whose nearest neighbour is beyond doubt; None where all are compared."""
    if problem.case.interpolation != "nearest":
        return None
    by_row, by_column = (~(np.abs(axis % 1 - 0.5) <= near) for axis in (problem.y, problem.x))
    return by_row & by_column
