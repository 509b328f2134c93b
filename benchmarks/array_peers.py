"""Peers on NumPy arrays: scipy, scikit-image and OpenCV, one call for each plane of each view.

They have neither a gradient nor 16-bit floats.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import transform
from torch import Tensor

from spuproj.benchmarks.buffers import interleaved_stack, planar_stack
from spuproj.benchmarks.cases import Case
from spuproj.benchmarks.problems import Problem, filled
from spuproj.benchmarks.samplers import Peer, Sampler

Array = NDArray[Any]

# OpenCV 4 rounds coordinates to 1/32 pixel; OpenCV 5 rounds them to float32.
_CV2_COORDINATE_ERROR = 1 / 64


def _serves(case: Case) -> bool:
    return not case.backward and case.dtype in ("float32", "int16")


def _serves_interleaved(case: Case) -> bool:
    return _serves(case) and 2 <= case.channels <= 4


def _per_view(planes: Tensor, case: Case) -> Array:
    """``[B, N, C, H, W]``: the planes that each view reads."""
    array = planes.numpy()
    return np.broadcast_to(array[:, None] if array.ndim == 4 else array, case.stack_shape)


def _points(problem: Problem) -> Array:
    """``[B, N, 2, P, Q]`` float64 points (y, x)."""
    points = np.stack([filled(problem.y), filled(problem.x)], axis=-3)
    return np.broadcast_to(points, (problem.case.batch, *points.shape[1:]))


def _scipy(problem: Problem) -> Sampler:
    case, points, result = problem.case, _points(problem), planar_stack(problem.case).numpy()
    order = int(case.interpolation == "bilinear")

    def sample(planes: Array) -> Array:
        for b, n, c in np.ndindex(*planes.shape[:3]):
            ndimage.map_coordinates(planes[b, n, c], points[b, n], output=result[b, n, c], order=order, prefilter=False)
        return result

    return Sampler(lambda planes: _per_view(planes, case), sample, lambda stack: stack)


def _skimage(problem: Problem) -> Sampler:
    case, points, result = problem.case, _points(problem), planar_stack(problem.case).numpy()
    order = int(case.interpolation == "bilinear")

    def sample(planes: Array) -> Array:
        for b, n, c in np.ndindex(*planes.shape[:3]):
            result[b, n, c] = transform.warp(
                planes[b, n, c], points[b, n], order=order, clip=False, preserve_range=True
            )
        return result

    return Sampler(lambda planes: _per_view(planes, case), sample, lambda stack: stack)


def _maps(problem: Problem) -> Array:
    """``[B, N, P, Q, 2]`` float32 points (x, y); one map of pairs is faster than a map for each axis."""
    maps = np.stack([filled(problem.x), filled(problem.y)], axis=-1).astype(np.float32)
    return np.broadcast_to(maps, (problem.case.batch, *maps.shape[1:]))


def _flag(case: Case) -> int:
    return cv2.INTER_LINEAR if case.interpolation == "bilinear" else cv2.INTER_NEAREST


def _cv2_planar(problem: Problem) -> Sampler:
    case, maps, result = problem.case, _maps(problem), planar_stack(problem.case).numpy()
    flag = _flag(case)

    def sample(planes: Array) -> Array:
        for b, n, c in np.ndindex(*planes.shape[:3]):
            cv2.remap(planes[b, n, c], maps[b, n], None, flag, dst=result[b, n, c], borderMode=cv2.BORDER_CONSTANT)
        return result

    return Sampler(lambda planes: _per_view(planes, case), sample, lambda stack: stack)


def _cv2_interleaved(problem: Problem) -> Sampler:
    case, maps, result = problem.case, _maps(problem), interleaved_stack(problem.case).numpy()
    flag = _flag(case)

    def prepare(planes: Tensor) -> Array:
        interleaved = np.ascontiguousarray(np.moveaxis(planes.numpy(), -3, -1))
        return np.broadcast_to(interleaved[:, None] if interleaved.ndim == 4 else interleaved, result.shape)

    def sample(pixels: Array) -> Array:
        for b, n in np.ndindex(*pixels.shape[:2]):
            cv2.remap(pixels[b, n], maps[b, n], None, flag, dst=result[b, n], borderMode=cv2.BORDER_CONSTANT)
        return result

    return Sampler(prepare, sample, lambda stack: np.moveaxis(stack, -1, 2))


def _exact(side: int) -> float:
    """Points are taken in float64."""
    return 1e-9 * side


ARRAY_PEERS = (
    Peer("scipy", "", _scipy, _serves, _exact, buffered=True, threaded=False),
    Peer("skimage", "", _skimage, _serves, _exact, threaded=False),
    Peer("cv2", "planar", _cv2_planar, _serves, lambda _: _CV2_COORDINATE_ERROR, buffered=True),
    Peer("cv2", "interleaved", _cv2_interleaved, _serves_interleaved, lambda _: _CV2_COORDINATE_ERROR, buffered=True),
)
