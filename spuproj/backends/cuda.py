"""The ``cuda`` backend: the compiled kernels of ``csrc/cuda``, queued on torch's current stream."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from spuproj.backends.base import Moments
from spuproj.backends.gpu import GpuBackend
from spuproj.backends.native import CODES, bits_of, strides_of
from spuproj.backends.taps import Sampling, Taps, Transpose

try:
    from spuproj import _cuda  # type: ignore[attr-defined]

    MISSING: str | None = None
except ImportError as error:
    MISSING = (
        f"the compiled module spuproj._cuda does not import ({error}); build spuproj from source where nvcc is found, "
        "or with --config-settings=cmake.define.SPUPROJ_CUDA=ON to learn why it is not"
    )


@cache
def problem(index: int | None) -> str | None:
    """Why the kernels cannot run on a GPU (None: the current one), as the CUDA runtime says; None if they can."""
    with torch.cuda.device(index):
        return _cuda.problem() or None


def _planes(tensor: Tensor) -> tuple[int, int, int, int, int]:
    """Address and strides."""
    return tensor.data_ptr(), *strides_of(tensor)


def _addresses(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


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
        return self._module.Taps(*_addresses(*taps.tensors), *sizes)

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        table, shape = geometry.contiguous(), (*geometry.shape[:-1], sampling.pixels)
        index = table.new_empty(shape, dtype=torch.int32)
        y, x = (table.new_empty(shape, dtype=sampling.precision) for _ in range(2))
        taps = Taps(index, y, x, sampling.source)
        native, count = self._module.Sampling(*sampling.numbers), table.shape[:-1].numel()
        self._module.build_taps(self._queue(table), table.data_ptr(), count, native, self._taps(taps))
        return taps

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool, fill: float) -> None:
        given = (destination.shape[:3], self._taps(taps), _planes(source), _planes(destination))
        if copy:
            self._module.copy(self._queue(source), source.itemsize, *given, bits_of(fill, source.dtype))
        else:
            types = CODES[source.dtype], CODES[destination.dtype]
            self._module.gather(self._queue(source), *types, *given, fill)

    def reduce(self, stack: Tensor, taps: Taps, weights: Tensor | None, results: Sequence[Tensor]) -> None:
        planes = (None if tensor is None else _planes(tensor) for tensor in (stack, weights, *results))
        self._module.reduce(self._queue(stack), CODES[stack.dtype], stack.shape[:3], self._taps(taps), *planes)

    def slopes(self, stack: Tensor, taps: Taps, weights: Tensor | None, moments: Moments, slopes: Tensor) -> None:
        planes = (None if tensor is None else _planes(tensor) for tensor in (stack, weights, *moments, slopes))
        self._module.slopes(self._queue(stack), CODES[stack.dtype], stack.shape[:3], self._taps(taps), *planes)

    def gather_adjoint(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        views, rows = transpose.start.shape[-2:]
        addresses = _addresses(transpose.start, transpose.pixel, transpose.weight)
        sizes = transpose.pixel.shape[-1], rows - 1, 0 if transpose.start.dim() == 2 else views
        native = self._module.Transpose(*addresses, *sizes)
        given = (CODES[source.dtype], source.shape[:3], native, _planes(source), _planes(destination))
        self._module.gather_adjoint(self._queue(source), *given, destination.dim() == 4)

    def gather_adjoint_atomic(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        given = (CODES[source.dtype], source.shape[:3], self._taps(taps), _planes(source), _planes(destination))
        self._module.gather_adjoint_atomic(self._queue(source), *given)


backend = None if MISSING else GpuBackend(CudaKernels(_cuda))
