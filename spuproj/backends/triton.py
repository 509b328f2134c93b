"""The ``triton`` backend: kernels that Triton compiles when they are first called, for GPUs without compiled kernels.

Taps are computed by the ``torch`` backend, so the geometry is not implemented again here. Under Triton's interpreter
(``TRITON_INTERPRET=1``) the kernels also run on CPU tensors, slowly, to test them.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from triton import cdiv

from spuproj.backends import triton_kernels as kernels
from spuproj.backends.base import Moments
from spuproj.backends.gpu import GpuBackend, pixel_stride
from spuproj.backends.native import bits_of
from spuproj.backends.taps import Sampling, Taps, Transpose
from spuproj.backends.torch import taps_of

# Pixels and planes that one program processes.
_BLOCK = 256
_PLANES = 4

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _strides(tensor: Tensor) -> tuple[int, int, int, int]:
    """Strides of batch, view, channel and pixel; a view stride of zero for planes shared by all views."""
    batch, *view, channel = tensor.stride()[:-2]
    return batch, view[0] if view else 0, channel, pixel_stride(tensor)


def _on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _launch(kernel: Any, stack: Tensor, pixels: int, views: int, shared: bool, *arguments: Any, **options: Any) -> None:
    """Launches a kernel for every pixel of ``views`` views; ``shared``: the batch shares its taps."""
    batch, _, channels = stack.shape[:3]
    planes, groups = (batch * channels, 1) if shared else (channels, batch)
    programs = cdiv(pixels, _BLOCK) * views * cdiv(planes, _PLANES) * groups
    # No fused multiply-add, as in the compiled kernels, so that results are bit-identical.
    options |= {"chunk_planes": _PLANES, "block_pixels": _BLOCK, "enable_fp_fusion": False}
    with _on_device(stack):
        kernel[(programs,)](*arguments, channels, planes, **options)


def _launch_at_taps(
    kernel: Any,
    stack: Tensor,
    taps: Taps,
    tensors: tuple[Tensor, ...],
    strided: tuple[Tensor, ...],
    *numbers: int,
    **options: Any,
) -> None:
    """Launches a kernel that reads taps, with its tensors, their strides and its other arguments."""
    views, pixels = taps.index.shape[-2:]
    shared = taps.index.dim() == 2
    arguments = (taps.index, taps.fraction_y, taps.fraction_x, *tensors)
    sizes = (pixels, taps.source[1], views, 0 if shared else views * pixels)
    strides = (stride for tensor in strided for stride in _strides(tensor))
    items = 1 if kernel is kernels.reduce else views
    _launch(kernel, stack, pixels, items, shared, *arguments, *sizes, *strides, *numbers, **options)


class TritonKernels:
    """The kernels, for ``GpuBackend``."""

    # The float64 coordinates of this many points take half a gigabyte.
    points = 2**21

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        taps = taps_of(geometry, sampling)
        fractions = taps.fraction_y.contiguous(), taps.fraction_x.contiguous()
        return Taps(taps.index.contiguous(), *fractions, sampling.source)

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool, fill: float) -> None:
        # Triton would pass a Python float as float32.
        bits = bits_of(fill, source.dtype if copy else torch.float64)
        if copy:
            integer = _INTEGERS[source.itemsize]
            source, destination = source.view(integer), destination.view(integer)
        tensors = (source, destination)
        _launch_at_taps(kernels.gather, destination, taps, tensors, tensors, bits, copies=copy)

    def reduce(self, stack: Tensor, taps: Taps, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        _launch_at_taps(kernels.reduce, stack, taps, (stack, mean, variance, count), (stack,))

    def slopes(self, stack: Tensor, taps: Taps, moments: Moments, slopes: Tensor) -> None:
        _launch_at_taps(kernels.slopes, stack, taps, (stack, *moments, slopes), (stack,))

    def gather_adjoint(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        views, pixels = transpose.start.shape[-2], transpose.start.shape[-1] - 1
        targets, terms = (1, views) if destination.dim() == 4 else (views, 1)
        shared = transpose.start.dim() == 2
        arguments = (transpose.start, transpose.pixel, transpose.weight, source, destination)
        numbers = (transpose.pixel.shape[-1], pixels, terms, targets, 0 if shared else views)
        strides = (*_strides(source), *_strides(destination))
        _launch(kernels.gather_adjoint, source, pixels, targets, shared, *arguments, *numbers, *strides)

    def gather_adjoint_atomic(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        tensors = (source, destination)
        _launch_at_taps(kernels.gather_adjoint_atomic, source, taps, tensors, tensors)


backend = GpuBackend(TritonKernels())
