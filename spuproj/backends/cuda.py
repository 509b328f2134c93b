"""The ``cuda`` backend: the compiled kernels of ``csrc/cuda``, queued on torch's current stream."""

import math
from typing import Any

import torch
from torch import Tensor

from spuproj.backends.base import Moments
from spuproj.backends.gpu import GpuBackend, pixel_stride
from spuproj.backends.native import CODES, bits_of, shape_of
from spuproj.backends.taps import Sampling, Taps, Transpose

try:
    from spuproj import _cuda  # type: ignore[attr-defined]

    MISSING: str | None = None
except ImportError as error:
    MISSING = (
        f"the compiled module spuproj._cuda does not import ({error}); build spuproj from source where nvcc is found, "
        "or with --config-settings=cmake.define.SPUPROJ_CUDA=ON to learn why it is not"
    )


def _planes(tensor: Tensor) -> tuple[int, int, int, int, int]:
    """Address, and strides of batch, view, channel and pixel; a view stride of zero for ``[B, C, ., .]``."""
    batch, *view, channel = tensor.stride()[:-2]
    return tensor.data_ptr(), batch, view[0] if view else 0, channel, pixel_stride(tensor)


class CudaKernels:
    """The kernels of ``spuproj._cuda``, or of ``spuproj._cuda_host``, the same code built for the CPU."""

    points = 2**22

    def __init__(self, module: Any) -> None:
        self._module = module

    def _queue(self, tensor: Tensor) -> Any:
        if not tensor.is_cuda:
            return self._module.Queue(0, 0)
        return self._module.Queue(tensor.device.index, torch.cuda.current_stream(tensor.device).cuda_stream)

    def _taps(self, taps: Taps) -> Any:
        views, pixels = taps.index.shape[-2:]
        sizes = pixels, math.prod(taps.source), taps.source[1], 0 if taps.index.dim() == 2 else views * pixels
        return self._module.Taps(*taps.addresses, *sizes)

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        table, (height, width) = geometry.contiguous(), sampling.size
        shape = (*table.shape[:-1], height * width)
        index = table.new_empty(shape, dtype=torch.int32)
        y, x = (table.new_empty(shape, dtype=sampling.precision) for _ in range(2))
        taps = Taps(index, y, x, sampling.source)
        native = self._module.Sampling(sampling.inverse, sampling.nearest, sampling.border, *sampling.source)
        double, count = sampling.precision == torch.float64, table.shape[:-1].numel()
        queue = self._queue(table)
        self._module.build_taps(queue, table.data_ptr(), count, native, height, width, double, self._taps(taps))
        return taps

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool, fill: float) -> None:
        given = (shape_of(destination), self._taps(taps), _planes(source), _planes(destination))
        if copy:
            self._module.copy(self._queue(source), source.itemsize, *given, bits_of(fill, source.dtype))
        else:
            types = CODES[source.dtype], CODES[destination.dtype]
            self._module.gather(self._queue(source), *types, *given, fill)

    def reduce(self, stack: Tensor, taps: Taps, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        results = (tensor.data_ptr() for tensor in (mean, variance, count))
        given = (CODES[stack.dtype], shape_of(stack), self._taps(taps), _planes(stack))
        self._module.reduce(self._queue(stack), *given, *results)

    def slopes(self, stack: Tensor, taps: Taps, moments: Moments, slopes: Tensor) -> None:
        addresses = (tensor.data_ptr() for tensor in (*moments, slopes))
        given = (CODES[stack.dtype], shape_of(stack), self._taps(taps), _planes(stack))
        self._module.slopes(self._queue(stack), *given, *addresses)

    def gather_adjoint(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        views, rows = transpose.start.shape[-2:]
        addresses = (part.data_ptr() for part in (transpose.start, transpose.pixel, transpose.weight))
        sizes = transpose.pixel.shape[-1], rows - 1, 0 if transpose.start.dim() == 2 else views
        native = self._module.Transpose(*addresses, *sizes)
        given = (CODES[source.dtype], shape_of(source), native, _planes(source), _planes(destination))
        self._module.gather_adjoint(self._queue(source), *given, sum_views=destination.dim() == 4)

    def gather_adjoint_atomic(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        given = (CODES[source.dtype], shape_of(source), self._taps(taps), _planes(source), _planes(destination))
        self._module.gather_adjoint_atomic(self._queue(source), *given)


backend = None if MISSING else GpuBackend(CudaKernels(_cuda))
