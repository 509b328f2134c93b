"""The ``cuda`` backend: the compiled kernels of ``csrc/cuda``, queued on torch's current stream."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from spuproj.backends.base import Moments
from spuproj.backends.gpu import GpuBackend
from spuproj.backends.native import CODES, bits_of, strides_of
from spuproj.backends.taps import Sampling, Taps, Transpose

try:
    # Not "from spuproj import _cuda": where it is missing, that error speaks of a circular import and of a path.
    import spuproj._cuda as _cuda

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


def _pays_to_interleave(source: Tensor, taps: Taps, destination: Tensor, side: int) -> bool:
    """Whether laying ``side`` planes side by side is faster: for 16 bits, where enough views read the same planes."""
    halves = source.dtype == destination.dtype and source.itemsize == 2
    shared = source.dim() == 4 and taps.index.dim() == 2
    return halves and shared and destination.shape[1] >= 4 and math.prod(source.shape[:2]) >= side


class CudaKernels:
    """The kernels of ``spuproj._cuda``, or of ``spuproj._cuda_host``, the same code built for the CPU."""

    points = 2**22

    def __init__(self, module: Any) -> None:
        self._module = module

    def _queue(self, kernel: Callable[..., None], tensor: Tensor, *arguments: Any) -> None:
        """Queues a kernel on the current stream of the tensor's device."""
        if not tensor.is_cuda:
            kernel(0, *arguments)
            return
        index = tensor.device.index
        stream = torch.cuda.current_stream(index).cuda_stream
        if index == torch.cuda.current_device():
            kernel(stream, *arguments)
            return
        # torch's own switch, which makes no context on a device that the process does not use.
        with torch.cuda.device(index):
            kernel(stream, *arguments)

    def _taps(self, taps: Taps, width: int) -> Any:
        """Taps for a kernel; ``width``: number of points of a row."""
        views, pixels = taps.index.shape[-2:]
        sizes = pixels, width, math.prod(taps.source), taps.source[1]
        return self._module.Taps(*_addresses(*taps.tensors), *sizes, 0 if taps.index.dim() == 2 else views * pixels)

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        table, shape = geometry.contiguous(), (*geometry.shape[:-1], sampling.pixels)
        index = table.new_empty(shape, dtype=torch.int32)
        y, x = (table.new_empty(shape, dtype=sampling.precision) for _ in range(2))
        taps = Taps(index, y, x, sampling.source)
        native, count = self._module.Sampling(*sampling.numbers), table.shape[:-1].numel()
        given = (table.data_ptr(), count, native, self._taps(taps, sampling.size[1]))
        self._queue(self._module.build_taps, table, *given)
        return taps

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool, fill: float) -> None:
        native = self._taps(taps, destination.shape[-1])
        given = (destination.shape[:3], native, _planes(source), _planes(destination))
        if copy:
            self._queue(self._module.copy, source, source.itemsize, *given, bits_of(fill, source.dtype))
        else:
            code, side = CODES[source.dtype], self._module.SIDE
            if _pays_to_interleave(source, taps, destination, side):
                scratch = source.new_empty((-(-math.prod(source.shape[:2]) // side) * side, math.prod(taps.source)))
                self._queue(self._module.gather_interleaved, source, code, *given, fill, scratch.data_ptr())
            else:
                self._queue(self._module.gather, source, code, CODES[destination.dtype], *given, fill)

    def reduce(self, stack: Tensor, taps: Taps, weights: Tensor | None, *results: Tensor) -> None:
        planes = (None if tensor is None else _planes(tensor) for tensor in (stack, weights, *results))
        native = self._taps(taps, results[0].shape[-1])
        self._queue(self._module.reduce, stack, CODES[stack.dtype], stack.shape[:3], native, *planes)

    def slopes(self, stack: Tensor, taps: Taps, weights: Tensor | None, moments: Moments, slopes: Tensor) -> None:
        planes = (None if tensor is None else _planes(tensor) for tensor in (stack, weights, *moments, slopes))
        native = self._taps(taps, slopes.shape[-1])
        self._queue(self._module.slopes, stack, CODES[stack.dtype], stack.shape[:3], native, *planes)

    def gather_adjoint(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        views, rows = transpose.start.shape[-2:]
        addresses = _addresses(transpose.start, transpose.pixel, transpose.weight)
        sizes = transpose.pixel.shape[-1], rows - 1, destination.shape[-1], 0 if transpose.start.dim() == 2 else views
        native = self._module.Transpose(*addresses, *sizes)
        given = (CODES[source.dtype], source.shape[:3], native, _planes(source), _planes(destination))
        self._queue(self._module.gather_adjoint, source, *given, destination.dim() == 4)

    def gather_adjoint_atomic(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        native = self._taps(taps, source.shape[-1])
        given = (CODES[source.dtype], source.shape[:3], native, _planes(source), _planes(destination))
        self._queue(self._module.gather_adjoint_atomic, source, *given)


backend = None if MISSING else GpuBackend(CudaKernels(_cuda))
