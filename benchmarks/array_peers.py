"""Peers on NumPy arrays: scipy, scikit-image and OpenCV, one call for each plane of each view, into a new stack.

They have neither a gradient nor 16-bit floats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import transform
from torch import Tensor

from spuproj.benchmarks.cases import Case
from spuproj.benchmarks.problems import Problem, filled
from spuproj.benchmarks.samplers import Peer, Sampler

Array = NDArray[Any]
Read = Callable[[Array, Array, Array, bool], None]
"""Reads a plane at points and writes the result into an array, bilinear or of the nearest pixels."""

# OpenCV 4 rounds coordinates to 1/32 pixel; OpenCV 5 rounds them to float32.
_CV2_COORDINATE_ERROR = 1 / 64


def _scipy(plane: Array, points: Array, result: Array, bilinear: bool) -> None:
    ndimage.map_coordinates(plane, points, output=result, order=int(bilinear), prefilter=False)


def _skimage(plane: Array, points: Array, result: Array, bilinear: bool) -> None:
    result[:] = transform.warp(plane, points, order=int(bilinear), clip=False, preserve_range=True)


def _cv2(plane: Array, points: Array, result: Array, bilinear: bool) -> None:
    interpolation = cv2.INTER_LINEAR if bilinear else cv2.INTER_NEAREST
    cv2.remap(plane, points, None, interpolation, dst=result, borderMode=cv2.BORDER_CONSTANT)


def _points(problem: Problem) -> Array:
    """``[B, N, 2, P, Q]`` float64 points (y, x)."""
    return _per_sample(np.stack([filled(problem.y), filled(problem.x)], axis=-3), problem.case)


def _maps(problem: Problem) -> Array:
    """``[B, N, P, Q, 2]`` float32 points (x, y); one map of pairs is faster than a map for each axis."""
    return _per_sample(np.stack([filled(problem.x), filled(problem.y)], axis=-1).astype(np.float32), problem.case)


def _per_sample(points: Array, case: Case) -> Array:
    return np.broadcast_to(points, (case.batch, *points.shape[1:]))


def _sampler(
    read: Read, points_of: Callable[[Problem], Array], *, interleaved: bool = False
) -> Callable[[Problem], Sampler]:
    """One call for each plane of each view or, interleaved, for all planes of a view at once."""

    def build(problem: Problem) -> Sampler:
        case, points, bilinear = problem.case, points_of(problem), problem.case.interpolation == "bilinear"

        def prepare(planes: Tensor) -> Array:
            array = planes.numpy()
            if interleaved:
                array = np.ascontiguousarray(np.moveaxis(array, -3, -1))
            per_view = array[:, None] if array.ndim == 4 else array
            return np.broadcast_to(per_view, (case.batch, case.views, *array.shape[-3:]))

        def sample(planes: Array) -> Array:
            stack = np.empty(planes.shape, planes.dtype)
            for place in np.ndindex(*planes.shape[: 2 if interleaved else 3]):
                read(planes[place], points[place[:2]], stack[place], bilinear)
            return stack

        return Sampler(prepare, sample, lambda stack: np.moveaxis(stack, -1, 2) if interleaved else stack)

    return build


def _serves(case: Case) -> bool:
    return not case.backward and case.dtype in ("float32", "int16")


def _serves_interleaved(case: Case) -> bool:
    return _serves(case) and 2 <= case.channels <= 4


def _exact(side: int) -> float:
    """Points are taken in float64."""
    return 1e-9 * side


def _cv2_error(_: int) -> float:
    return _CV2_COORDINATE_ERROR


ARRAY_PEERS = (
    Peer("scipy", "", _sampler(_scipy, _points), _serves, _exact, threaded=False),
    Peer("skimage", "", _sampler(_skimage, _points), _serves, _exact, threaded=False),
    Peer("cv2", "planar", _sampler(_cv2, _maps), _serves, _cv2_error),
    Peer("cv2", "interleaved", _sampler(_cv2, _maps, interleaved=True), _serves_interleaved, _cv2_error),
)
