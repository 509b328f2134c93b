"""The ``triton`` backend: kernels that Triton compiles when they are first called, for GPUs without compiled kernels.

Taps are computed by the ``torch`` backend, so the geometry is not implemented again here. Under Triton's interpreter
(``TRITON_INTERPRET=1``) the kernels also run on CPU tensors, slowly, to test them.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from triton import cdiv

from spuproj.backends import triton_kernels as kernels
from spuproj.backends.base import Moments
from spuproj.backends.gpu import GpuBackend
from spuproj.backends.native import bits_of, strides_of
from spuproj.backends.taps import Sampling, Taps, Transpose
from spuproj.backends.torch import taps_of

# Pixels and planes that one program processes.
_BLOCK = 256
_PLANES = 4

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _launch(kernel: Any, stack: Tensor, pixels: int, views: int, shared: bool, *arguments: Any, **options: Any) -> None:
    """Launches a kernel for every pixel of ``views`` views; ``shared``: the batch shares its taps."""
    batch, _, channels = stack.shape[:3]
    planes, groups = (batch * channels, 1) if shared else (channels, batch)
    programs = cdiv(pixels, _BLOCK) * views * cdiv(planes, _PLANES) * groups
    # No fused multiply-add, as in the compiled kernels, so that results are bit-identical.
    options |= {"chunk_planes": _PLANES, "block_pixels": _BLOCK, "enable_fp_fusion": False}
    with torch.cuda.device(stack.device) if stack.is_cuda else nullcontext():
        kernel[(programs,)](*arguments, channels, planes, **options)


def _launch_at_taps(
    kernel: Any,
    stack: Tensor,
    taps: Taps,
    tensors: Sequence[Tensor],
    strided: int,
    *numbers: int,
    own: bool = False,
    **options: Any,
) -> None:
    """Launches a kernel that reads taps, with its tensors, the strides of the first ones and its other arguments.

    ``own``: samples do not share what the kernel reads beside the taps.
    """
    views, pixels = taps.index.shape[-2:]
    shared = taps.index.dim() == 2
    arguments = (*taps.tensors, *tensors)
    sizes = (pixels, taps.source[1], views, 0 if shared else views * pixels)
    strides = (stride for tensor in tensors[:strided] for stride in strides_of(tensor))
    items = 1 if kernel is kernels.reduce else views
    _launch(kernel, stack, pixels, items, shared and not own, *arguments, *sizes, *strides, *numbers, **options)


def _launch_weighted(kernel: Any, stack: Tensor, taps: Taps, weights: Tensor | None, others: Sequence[Tensor]) -> None:
    """Launches a kernel that reads the stack and, if there are any, the weights of its views."""
    # Without weights the pointer is not read.
    batch, view = (0, 0) if weights is None else strides_of(weights)[:2]
    tensors = (stack, stack if weights is None else weights, *others)
    _launch_at_taps(kernel, stack, taps, tensors, 1, batch, view, own=batch > 0, weighted=weights is not None)


class TritonKernels:
    """The kernels, for ``GpuBackend``."""

    # The float64 coordinates of this many points take half a gigabyte.
    points = 2**21

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        taps = taps_of(geometry, sampling)
        index, y, x = (part.contiguous() for part in taps.tensors)
        return Taps(index, y, x, taps.source)

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool, fill: float) -> None:
        # Triton would pass a Python float as float32.
        bits = bits_of(fill, source.dtype if copy else torch.float64)
        if copy:
            integer = _INTEGERS[source.itemsize]
            source, destination = source.view(integer), destination.view(integer)
        _launch_at_taps(kernels.gather, destination, taps, (source, destination), 2, bits, copies=copy)

    def reduce(self, stack: Tensor, taps: Taps, weights: Tensor | None, results: Sequence[Tensor]) -> None:
        _launch_weighted(kernels.reduce, stack, taps, weights, results)

    def slopes(self, stack: Tensor, taps: Taps, weights: Tensor | None, moments: Moments, slopes: Tensor) -> None:
        _launch_weighted(kernels.slopes, stack, taps, weights, (*moments, slopes))

    def gather_adjoint(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        views, pixels = transpose.start.shape[-2], transpose.start.shape[-1] - 1
        targets, terms = (1, views) if destination.dim() == 4 else (views, 1)
        shared = transpose.start.dim() == 2
        arguments = (transpose.start, transpose.pixel, transpose.weight, source, destination)
        numbers = (transpose.pixel.shape[-1], pixels, terms, targets, 0 if shared else views)
        strides = (*strides_of(source), *strides_of(destination))
        _launch(kernels.gather_adjoint, source, pixels, targets, shared, *arguments, *numbers, *strides)

    def gather_adjoint_atomic(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        _launch_at_taps(kernels.gather_adjoint_atomic, source, taps, (source, destination), 2)


backend = GpuBackend(TritonKernels())
