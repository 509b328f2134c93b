"""The ``triton`` backend: kernels that Triton compiles when they are first called, for GPUs without compiled kernels.

Taps are computed by the ``torch`` backend, so that the geometry has no second form here. Under Triton's interpreter
(``TRITON_INTERPRET=1``) the kernels also run on CPU tensors, slowly, to test them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from triton import cdiv

from spuproj.backends import triton_kernels as kernels
from spuproj.backends.gpu import GpuBackend, pixel_stride
from spuproj.backends.gpu_taps import Sampling, Taps, Transpose
from spuproj.backends.torch import slice_taps, view_taps

# Pixels and planes of one program.
_BLOCK = 256
_PLANES = 4

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _strides(tensor: Tensor) -> tuple[int, int, int, int]:
    """Of batch, view, channel and pixel; planes that all views share have a view stride of zero."""
    batch, *view, channel = tensor.stride()[:-2]
    return batch, view[0] if view else 0, channel, pixel_stride(tensor)


def _on_device(tensor: Tensor) -> AbstractContextManager[Any]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


def _launch(kernel: Any, stack: Tensor, pixels: int, views: int, shared: bool, *arguments: Any, **options: Any) -> None:
    """Runs a kernel for every pixel of so many views of a stack, whose batch shares its taps or does not."""
    batch, _, channels = stack.shape[:3]
    planes, groups = (batch * channels, 1) if shared else (channels, batch)
    programs = cdiv(pixels, _BLOCK) * views * cdiv(planes, _PLANES) * groups
    with _on_device(stack):
        kernel[(programs,)](*arguments, channels, planes, chunk_planes=_PLANES, block_pixels=_BLOCK, **options)


def _launch_at_taps(
    kernel: Any, stack: Tensor, taps: Taps, tensors: tuple[Tensor, ...], strided: tuple[Tensor, ...], **options: Any
) -> None:
    """Runs a kernel that reads taps, with these tensors and the strides of those."""
    views, pixels = taps.index.shape[-2:]
    shared = taps.index.dim() == 2
    arguments = (taps.index, taps.fraction_y, taps.fraction_x, *tensors)
    numbers = (pixels, taps.source[1], views, 0 if shared else views * pixels)
    strides = (stride for tensor in strided for stride in _strides(tensor))
    items = 1 if kernel is kernels.reduce else views
    _launch(kernel, stack, pixels, items, shared, *arguments, *numbers, *strides, **options)


class TritonKernels:
    """The kernels, for ``GpuBackend``."""

    # The float64 coordinates of so many points take half a gigabyte.
    points = 2**21

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        """The taps of ``[N, 17]`` or ``[B, N, 17]`` views."""
        interpolation, padding = "nearest" if sampling.nearest else "bilinear", "border" if sampling.border else "zeros"
        if sampling.inverse:
            taps = slice_taps(geometry, sampling.raster, sampling.source, interpolation, sampling.precision)
        else:
            taps = view_taps(geometry, sampling.source, sampling.raster, interpolation, padding, sampling.precision)
        index = torch.where(taps.valid, taps.index, -1).int()
        return Taps(index, taps.fraction_y.contiguous(), taps.fraction_x.contiguous(), sampling.source)

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool) -> None:
        """Every point's value, into ``[B, N, C, ., .]``; with ``copy`` the elements as they are."""
        if copy:
            integer = _INTEGERS[source.itemsize]
            source, destination = source.view(integer), destination.view(integer)
        tensors = (source, destination)
        _launch_at_taps(kernels.gather, destination, taps, tensors, tensors, copies=copy)

    def reduce(self, views: Tensor, taps: Taps, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Mean, variance and count of every slice pixel, contiguous."""
        _launch_at_taps(kernels.reduce, views, taps, (views, mean, variance, count), (views,))

    def slopes(
        self,
        views: Tensor,
        taps: Taps,
        grad_mean: Tensor,
        grad_variance: Tensor,
        mean: Tensor,
        count: Tensor,
        slopes: Tensor,
    ) -> None:
        """The gradient of ``reduce`` with respect to the unprojected views; all but views contiguous."""
        _launch_at_taps(kernels.slopes, views, taps, (views, grad_mean, grad_variance, mean, count, slopes), (views,))

    def collect(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        """The transpose of ``gather``, in one order of adding; over all views where the destination has no axis N."""
        views, pixels = transpose.start.shape[-2], transpose.start.shape[-1] - 1
        targets, terms = (1, views) if destination.dim() == 4 else (views, 1)
        shared = transpose.start.dim() == 2
        arguments = (transpose.start, transpose.pixel, transpose.weight, source, destination)
        numbers = (transpose.pixel.shape[-1], pixels, terms, targets, 0 if shared else views)
        strides = (*_strides(source), *_strides(destination))
        _launch(kernels.collect, source, pixels, targets, shared, *arguments, *numbers, *strides)

    def scatter(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        """The same in any order, added to zeros of the taps' precision."""
        tensors = (source, destination)
        _launch_at_taps(kernels.scatter, source, taps, tensors, tensors)


backend = GpuBackend(TritonKernels())
