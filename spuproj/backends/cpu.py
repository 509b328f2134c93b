"""The ``cpu`` backend: the compiled kernels of ``csrc/cpu``, on ``torch.get_num_threads()`` threads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spuproj.backends.base import Backend, KeptCall, Moments, Result
from spuproj.backends.memory import AVAILABLE, SMALLEST, in_block
from spuproj.backends.native import CODES, bits_of, shape_of
from spuproj.backends.taps import Sampling, Taps

try:
    from spuproj import _cpu

    MISSING: str | None = None
except ImportError as error:
    MISSING = f"the compiled module spuproj._cpu does not import ({error}); reinstall with pip install spuproj"

LIMIT = 256 * 2**20
"""Largest size of the cache of taps, in bytes."""

CALLS = 64
"""Most repeatable calls that are kept for a geometry."""

# With fewer elements or taps per thread, starting another thread costs more time than it saves.
_ELEMENTS_PER_THREAD = 32768
_TAPS_PER_THREAD = 4096


def simd_level() -> str:
    """The SIMD level in use. Raises ValueError if SPUPROJ_SIMD names a level that this processor does not have."""
    return _cpu.simd_level()


def simd_levels() -> list[str]:
    """The SIMD levels of this processor, lowest first."""
    return _cpu.simd_levels()


@dataclass(frozen=True)
class CpuTaps:
    """Taps as tensors, which own the memory, and as an object for the compiled kernels; ``window`` for tiles only."""

    index: Tensor
    fraction_y: Tensor
    fraction_x: Tensor
    window: Tensor | None
    native: Any


def flat_taps(geometry: Tensor, sampling: Sampling) -> CpuTaps:
    """Taps of every pixel, view by view."""
    table = geometry.contiguous()
    taps = _empty_taps((*table.shape[:-1], sampling.pixels), sampling)
    source = math.prod(sampling.source), sampling.source[1]
    native = _cpu.Taps(*taps.addresses, sampling.pixels, *source, _sample_stride(table, sampling.pixels))
    count, double, threads = table.shape[:-1].numel(), sampling.precision == torch.float64, _tap_threads(taps.index)
    _cpu.build_taps(table.data_ptr(), count, _native_sampling(sampling), *sampling.size, double, native, threads)
    return CpuTaps(taps.index, taps.fraction_y, taps.fraction_x, None, native)


def tiled_taps(geometry: Tensor, sampling: Sampling) -> CpuTaps:
    """Taps in tiles of ``_cpu.TILE`` pixels, each with the window of the source that it reads."""
    table = geometry.contiguous()
    (height, width), tile = sampling.size, _cpu.TILE
    tiles = -(-height // tile[0]) * -(-width // tile[1])
    taps = _empty_taps((*table.shape[:-1], tiles, math.prod(tile)), sampling)
    window = torch.empty(*table.shape[:-1], tiles, 3, dtype=torch.int32, device="cpu")
    sizes = height, width, sampling.source[1], _sample_stride(table, tiles)
    native = _cpu.Tiles(*taps.addresses, window.data_ptr(), *sizes)
    count, double, threads = table.shape[:-1].numel(), sampling.precision == torch.float64, _tap_threads(taps.index)
    _cpu.build_tiles(table.data_ptr(), count, _native_sampling(sampling), double, native, threads)
    return CpuTaps(taps.index, taps.fraction_y, taps.fraction_x, window, native)


def _empty_taps(shape: tuple[int, ...], sampling: Sampling) -> Taps:
    """Uninitialised taps in one allocation, so that all parts are on large pages."""
    parts = (sampling.precision, sampling.precision, torch.int32)
    sizes = [math.prod(shape) * part.itemsize for part in parts]
    pieces = in_block(torch.empty(sum(sizes), dtype=torch.uint8, device="cpu"), keep=False).split(sizes)
    y, x, index = (piece.view(part).view(shape) for piece, part in zip(pieces, parts, strict=True))
    return Taps(index, y, x, sampling.source)


def _sample_stride(table: Tensor, per_view: int) -> int:
    """Number of taps from one sample to the next; zero if the batch shares them."""
    return 0 if table.dim() == 2 else table.shape[1] * per_view


def _native_sampling(sampling: Sampling) -> Any:
    return _cpu.Sampling(sampling.inverse, sampling.nearest, sampling.border, *sampling.source)


def _tap_threads(index: Tensor) -> int:
    return max(1, min(torch.get_num_threads(), index.numel() // _TAPS_PER_THREAD))


def _most_threads(stack: Tensor) -> int:
    return max(1, stack.numel() // _ELEMENTS_PER_THREAD)


def _dense(tensor: Tensor) -> Tensor:
    """The tensor itself if each plane is contiguous, else a contiguous copy."""
    dense = tensor.stride(-1) == 1 and tensor.stride(-2) == tensor.shape[-1]
    return tensor if dense else tensor.contiguous()


def _strides(tensor: Tensor) -> tuple[int, int, int, int]:
    """Strides of batch, view, channel and pixel; a view stride of zero for ``[B, C, ., .]``, shared by all views."""
    strides = tensor.stride()
    return strides[0], strides[1] if len(strides) == 5 else 0, strides[-3], strides[-1]


_unused = torch.empty(SMALLEST, dtype=torch.uint8, device="cpu")


def _example(result: Tensor) -> Tensor:
    """A tensor like a small result, for ``torch.empty_like``. All examples share memory, which nothing accesses."""
    return _unused[: result.nbytes].view(result.dtype).as_strided(result.shape, result.stride())


class Launch(NamedTuple):
    """A kernel with everything but its tensors' addresses.

    Attributes:
        kernel: compiled kernel with all other arguments bound.
        most_threads: useful number of threads for this amount of work.
        taps: keeps alive the taps that the kernel reads.
    """

    kernel: Any
    most_threads: int
    taps: CpuTaps

    def run(self, sources: Sequence[Tensor], dense: Sequence[Tensor], results: Sequence[Tensor]) -> "Launch | None":
        """Runs the kernel. Returns itself if the call can be repeated: None if a source had to be copied first."""
        threads = min(torch.get_num_threads(), self.most_threads)
        _cpu.run(self.kernel, [tensor.data_ptr() for tensor in (*dense, *results)], threads)
        return self if all(a is b for a, b in zip(sources, dense, strict=True)) else None


class CpuBackend(Backend):
    """The ops on CPU tensors."""

    def __init__(self) -> None:
        if not AVAILABLE:
            super().__init__(limit=LIMIT)
            return
        calls = _cpu.Calls(torch.empty_like, torch.get_num_threads)
        # The numbers of a table with gaps could not be compared in one piece.
        super().__init__(limit=LIMIT, calls_of=lambda table: calls.of_table(table) if table.is_contiguous() else None)
        self.repeat = calls.repeat  # type: ignore[method-assign]

    def empty(self, result: Result, device: torch.device) -> Tensor:
        return in_block(result.empty(device))

    def keep(self, op: object, geometry_at: int, given: tuple[Any, ...], call: KeptCall) -> None:
        prepared = self.prepared.find(given[geometry_at])
        if prepared is None or prepared.calls is None:
            return
        if not any(taps is call.launch.taps for taps in list(prepared.values.values())):
            return  # Too large to be kept: a kept call would keep them nevertheless.
        if len(prepared.calls) >= CALLS:
            prepared.calls.clear()
        results = [(each, None if each.nbytes >= SMALLEST else _example(each)) for each in call.results]
        prepared.calls.keep(op, geometry_at, call.tensors_at, given, results, *call.launch)

    def gather(
        self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor, fill: float
    ) -> "Launch | None":
        # An image is interleaved once for all views. From a stack, each tile interleaves only the window that it reads.
        copies = sampling.nearest and source.dtype == result.dtype
        tiled = source.dim() == 5 and not copies
        taps, dense = self.prepared.get(geometry, sampling, tiled_taps if tiled else flat_taps), _dense(source)
        layout = shape_of(result), taps.native, _strides(dense), _strides(result)
        if copies:
            kernel = _cpu.copy(source.element_size(), *layout, bits_of(fill, source.dtype))
        elif tiled:
            kernel = _cpu.unproject(CODES[source.dtype], *layout)
        else:
            kernel = _cpu.project(CODES[source.dtype], CODES[result.dtype], *layout, float(fill))
        return Launch(kernel, _most_threads(result), taps).run([source], [dense], [result])

    def gather_adjoint(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor) -> "Launch | None":
        taps, dense = self.prepared.get(geometry, sampling, flat_taps), _dense(source)
        layout = shape_of(source), taps.native, _strides(dense), _strides(result)
        kernel = _cpu.gather_adjoint(CODES[source.dtype], result.dim() == 4, *layout)
        return Launch(kernel, _most_threads(source), taps).run([source], [dense], [result])

    def reduce(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, mean: Tensor, variance: Tensor, count: Tensor
    ) -> "Launch | None":
        taps, dense = self.prepared.get(geometry, sampling, tiled_taps), _dense(stack)
        kernel = _cpu.reduce(CODES[stack.dtype], shape_of(stack), taps.native, _strides(dense))
        return Launch(kernel, _most_threads(stack), taps).run([stack], [dense], [mean, variance, count])

    def reduce_backward(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, moments: Moments, grad_stack: Tensor
    ) -> "Launch | None":
        taps = self.prepared.get(geometry, sampling, flat_taps)
        grad_mean, grad_variance, mean, count = moments
        sources = (grad_mean, grad_variance, stack, mean, count)
        dense = [_dense(tensor) if tensor is stack else tensor.contiguous() for tensor in sources]
        kernel = _cpu.reduce_backward(CODES[stack.dtype], shape_of(stack), taps.native, _strides(dense[2]))
        return Launch(kernel, _most_threads(stack), taps).run(sources, dense, [grad_stack])


backend = None if MISSING else CpuBackend()
