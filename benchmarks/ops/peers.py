"""The libraries that spuproj is compared with ("peers"); each is imported only if it takes part.

Array libraries (scipy, scikit-image, OpenCV, CuPy) support neither gradients nor 16-bit floats. Tensor libraries get
16-bit floats and labels as float32, and the casts are timed: grid_sample needs 16-bit coordinates for 16-bit planes,
which are off by up to a pixel, and does not support integers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from operator import attrgetter, mul
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spuproj.backends.taps import Sampling
from spuproj.backends.torch import backend as torch_backend
from spuproj.benchmarks.ops.cases import Case
from spuproj.benchmarks.ops.truth import Problem

Function = Callable[..., Any]
# Three functions for a problem's points. The first converts planes [B, C, ., .] (read by all views) or [B, N, C, ., .]
# to the library's layout; it is timed only for gradients. The second samples them at all points of all views into new
# memory; it is timed. The third reshapes the result to a stack [B, N, C, P, Q], without copying.
Sampler = tuple[Function, Function, Function]
Build = Callable[[Problem], Sampler]


@dataclass(frozen=True)
class Peer:
    """One way to call a library.

    Attributes:
        name, form: the library's function, and the way of calling it; only the fastest form is shown.
        build: makes the sampler for a problem.
        serves: whether it supports a case.
        near: largest error of its coordinates, in pixels, given ``max(H, W)`` of slices and views.
        threaded: whether it uses more than one thread.
        samples: number of samples of the batch that it processes, if all would take too long.
        on_host: whether it runs on the CPU although the problem is on a GPU.
    """

    name: str
    form: str
    build: Build
    serves: Callable[[Case], bool]
    near: Callable[[int], float]
    threaded: bool = True
    samples: int | None = None
    on_host: bool = False


# Arrays: a library provides a function that samples one plane at points into an array, bilinear or nearest.


def _map_coordinates(package: str, bilinear: bool) -> Function:
    return partial(import_module(f"{package}.ndimage").map_coordinates, order=int(bilinear), prefilter=False)


def _skimage(bilinear: bool) -> Function:
    from skimage.transform import warp

    options = {"order": int(bilinear), "clip": False, "preserve_range": True}
    return lambda plane, points, output: np.copyto(output, warp(plane, points, **options), casting="unsafe")


def _cv2(bilinear: bool) -> Function:
    import cv2

    how, border = cv2.INTER_LINEAR if bilinear else cv2.INTER_NEAREST, cv2.BORDER_CONSTANT
    # One array holds both coordinates; OpenCV's types do not know that the second may be None then.
    return lambda plane, points, output: cv2.remap(plane, points, None, how, dst=output, borderMode=border)  # type: ignore[call-overload]


def _to_cupy(tensor: Tensor) -> Any:
    """A copy in memory of CuPy's own, whose work is queued on torch's stream from then on."""
    cupy = import_module("cupy")
    cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream).use()
    return cupy.array(tensor.cuda(), copy=True)


def _on_arrays(
    library: Function, to_array: Function = np.asarray, *, pairs: bool = False, interleaved: bool = False
) -> Build:
    """One call per plane of each view or, if interleaved, per view; at points y, x or at pairs (x, y)."""

    def build(problem: Problem) -> Sampler:
        case, read, (y, x) = problem.case, library(problem.case.interpolation == "bilinear"), problem.points
        packed = to_array(torch.stack([x, y], -1).float() if pairs else torch.stack([y, x], -3))
        points = [packed[sample % len(packed)] for sample in range(case.batch)]

        def prepare(planes: Tensor) -> Any:
            array = to_array(planes.movedim(-3, -1).contiguous() if interleaved else planes)
            per_view = array[:, None] if array.ndim == 4 else array
            return np.broadcast_to(per_view, (case.batch, case.views, *array.shape[-3:]))

        def sample(planes: Any) -> Any:
            stack = np.empty_like(planes, order="C")
            for place in np.ndindex(*planes.shape[: 2 if interleaved else 3]):
                read(planes[place], points[place[0]][place[1]], output=stack[place])
            return stack

        return prepare, sample, lambda stack: np.moveaxis(stack, -1, 2) if interleaved else stack

    return build


# Tensors: a library samples a batch of K entries with c planes at points y, x [K, P, Q]. A layout converts the planes
# and points of all views to such a batch, and its result to a stack.


def _views_as_batch(case: Case) -> Sampler:
    """K = B N views of c = C planes."""
    own = (-1, *case.image_shape[1:])
    return (
        lambda planes: (planes[:, None] if planes.dim() == 4 else planes).expand(case.stack_shape).reshape(own),
        lambda points: points[torch.arange(case.batch) % len(points)].flatten(0, 1),
        lambda batch: batch.unflatten(0, (case.batch, case.views)),
    )


def _planes_as_channels(case: Case) -> Sampler:
    """K = N views of c = B C planes, where all samples share the views."""
    own, per_view = (case.views, -1, *case.size), (case.views, *case.image_shape)
    return (
        lambda planes: (planes.expand(per_view) if planes.dim() == 4 else planes.movedim(1, 0)).reshape(own),
        lambda points: points[0],
        lambda batch: batch.unflatten(1, (case.batch, case.channels)).movedim(1, 0),
    )


def _channels_last(case: Case) -> Sampler:
    """The same, with the planes of a pixel beside one another, as grid_sample reads and writes them fastest."""
    prepare, spread, stack = _planes_as_channels(case)

    def interleaved(planes: Tensor) -> Tensor:
        batch: Tensor = prepare(planes)
        shared = planes.dim() == 4
        return (batch[:1] if shared else batch).contiguous(memory_format=torch.channels_last).expand(batch.shape)

    return interleaved, spread, stack


def _grid_sample(y: Tensor, x: Tensor, case: Case) -> Function:
    height, width = case.size
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1).float()
    return lambda planes: functional.grid_sample(planes, grid, mode=case.interpolation, align_corners=True)


def _kornia(y: Tensor, x: Tensor, case: Case) -> Function:
    from kornia.geometry.transform import remap

    map_x, map_y = x.float(), y.float()
    return lambda planes: remap(planes, map_x, map_y, mode=case.interpolation, align_corners=True)


def _monai_warp(y: Tensor, x: Tensor, case: Case) -> Function:
    from monai.networks.blocks import Warp

    with warnings.catch_warnings():
        # MONAI says at every construction that its own kernels are not compiled in.
        warnings.simplefilter("ignore", UserWarning)
        warp = Warp(mode=case.interpolation, padding_mode="zeros")
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in case.size)
    displacement = torch.stack([y - rows[:, None], x - columns], dim=1).float()
    return lambda planes: warp(planes, displacement)


def _monai_resample(y: Tensor, x: Tensor, case: Case) -> Function:
    from monai.transforms import Resample

    # MONAI takes torch's dtypes, which its types leave out.
    resample = Resample(mode=case.interpolation, padding_mode="zeros", dtype=torch.float32)  # type: ignore[arg-type]
    height, width = case.size
    centred = torch.stack([y - (height - 1) / 2, x - (width - 1) / 2], dim=1).float()
    return lambda planes: torch.stack([resample(image, grid) for image, grid in zip(planes, centred, strict=True)])


def _on_tensors(library: Function, layout: Callable[[Case], Sampler]) -> Build:
    def build(problem: Problem) -> Sampler:
        case, dtype = problem.case, problem.case.torch_dtype
        prepare, spread, stack = layout(case)
        read = library(*(spread(axis.to(problem.planes.device)) for axis in problem.points), case)
        return prepare, read if dtype == torch.float32 else lambda planes: read(planes.float()).to(dtype), stack

    return build


def _compiled(problem: Problem) -> Sampler:
    """The ``torch`` backend's ``project``, compiled; the coordinates are a part of it, computed at every call."""
    case, table = problem.case, problem.views.geometry
    sampling = Sampling(case.size, case.size, False, case.interpolation == "nearest", False, torch.float32)

    @partial(torch.compile, fullgraph=True, dynamic=False)
    def project(image: Tensor, table: Tensor) -> Tensor:
        stack = image.new_empty(case.stack_shape)
        torch_backend.gather(image, table, sampling, stack, 0.0)
        return stack

    return as_it_is, lambda image: project(image, table), as_it_is


def as_it_is(value: Any) -> Any:
    """The identity, for samplers that take planes and return stacks as spuproj does."""
    return value


# Coordinate errors: in float64; and in float32, where normalising to [-1, 1] and back rounds a few times.
EXACT, _FLOAT32 = partial(mul, 1e-9), partial(mul, 8 * torch.finfo(torch.float32).eps)


def _arrays(case: Case) -> bool:
    return not case.backward and case.dtype in ("float32", "int16")


_SCIPY = Peer("scipy", "", _on_arrays(partial(_map_coordinates, "scipy")), _arrays, EXACT, threaded=False)
# OpenCV 4 rounds coordinates to 1/32 pixel; OpenCV 5 rounds them to float32. It is slower with a map for each axis.
_CV2 = Peer("cv2", "planar", _on_arrays(_cv2, pairs=True), _arrays, lambda side: 1 / 64)
_PEERS = (
    _SCIPY,
    replace(_SCIPY, name="scipy, one CPU core", samples=1, on_host=True),
    Peer("cupyx", "", _on_arrays(partial(_map_coordinates, "cupyx.scipy"), _to_cupy), _arrays, EXACT, samples=4),
    Peer("skimage", "", _on_arrays(_skimage), _arrays, EXACT, threaded=False),
    _CV2,
    replace(_CV2, form="interleaved", build=_on_arrays(_cv2, pairs=True, interleaved=True),
            serves=lambda case: _arrays(case) and 2 <= case.channels <= 4),
    *(
        # Views as batch entries copy the image for each view, mostly slower. Planes as channels need shared views.
        Peer(name, form, _on_tensors(library, layout), serves, _FLOAT32)
        for name, library, as_batch in (
            ("grid_sample", _grid_sample, lambda case: case.per_sample or not case.large),
            ("kornia", _kornia, attrgetter("per_sample")),
            ("MONAI Warp", _monai_warp, attrgetter("per_sample")),
            ("MONAI Resample", _monai_resample, attrgetter("per_sample")),
        )
        for form, layout, serves in (
            ("views as batch", _views_as_batch, as_batch),
            ("planes as channels", _planes_as_channels, lambda case: not case.per_sample),
        )
    ),
    Peer("grid_sample", "planes as channels, last", _on_tensors(_grid_sample, _channels_last),
         lambda case: not case.per_sample and case.op == "project" and case.batch * case.channels > 1, _FLOAT32),
    # Compiling the other ops takes minutes.
    Peer("torch.compile", "", _compiled, lambda case: case.op == "project", _FLOAT32),
)  # fmt: skip


def serving(case: Case) -> list[Peer]:
    """The peers that take part in a case."""
    return [peer for peer in _PEERS if peer.name in case.peers and peer.serves(case)]
