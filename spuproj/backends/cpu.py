"""The ``cpu`` backend: the compiled kernels of ``csrc/cpu``, on ``torch.get_num_threads()`` threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spuproj.backends.base import Backend, Launch, Moments
from spuproj.backends.native import CODES, bits_of, shape_of
from spuproj.backends.taps import Sampling, Taps
from spuproj.memory import SMALLEST, large_pages, new_result
from spuproj.result import Result

try:
    from spuproj import _cpu

    MISSING: str | None = None
except ImportError as error:
    MISSING = f"the compiled module spuproj._cpu does not import ({error}); reinstall with pip install spuproj"

# Below this many elements, or taps, a thread costs more than it brings.
_ELEMENTS_PER_THREAD = 32768
_TAPS_PER_THREAD = 4096


def simd_level() -> str:
    """The SIMD level in use. Raises ValueError where the environment variable SPUPROJ_SIMD names no level here."""
    return _cpu.simd_level()


def simd_levels() -> list[str]:
    """The SIMD levels of this processor, lowest first."""
    return _cpu.simd_levels()


@dataclass(frozen=True)
class CpuTaps:
    """Taps, flat or in tiles with the window of the source that each reads, and the same for the kernels."""

    index: Tensor
    fraction_y: Tensor
    fraction_x: Tensor
    window: Tensor | None
    native: Any


def flat_taps(geometry: Tensor, sampling: Sampling) -> CpuTaps:
    """Taps of every pixel, one view after the other."""
    table = geometry.contiguous()
    taps = _empty_taps((*table.shape[:-1], sampling.pixels), sampling)
    source = math.prod(sampling.source), sampling.source[1]
    native = _cpu.Taps(*taps.addresses, sampling.pixels, *source, _sample_stride(table, sampling.pixels))
    count, double, threads = table.shape[:-1].numel(), sampling.precision == torch.float64, _tap_threads(taps.index)
    _cpu.build_taps(table.data_ptr(), count, _native_sampling(sampling), *sampling.size, double, native, threads)
    return CpuTaps(taps.index, taps.fraction_y, taps.fraction_x, None, native)


def tiled_taps(geometry: Tensor, sampling: Sampling) -> CpuTaps:
    """The same in tiles of ``_cpu.TILE`` pixels."""
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
    """Memory for taps: index and fractions side by side, so that many of them fill large pages."""
    parts = (sampling.precision, sampling.precision, torch.int32)
    sizes = [math.prod(shape) * part.itemsize for part in parts]
    memory = (
        large_pages(sum(sizes)) if sum(sizes) >= SMALLEST else torch.empty(sum(sizes), dtype=torch.uint8, device="cpu")
    )
    pieces = memory.split(sizes)
    y, x, index = (piece.view(part).view(shape) for piece, part in zip(pieces, parts, strict=True))
    return Taps(index, y, x, sampling.source)


def _sample_stride(table: Tensor, per_view: int) -> int:
    """From one sample's taps to the next one's; zero where the batch shares them."""
    return 0 if table.dim() == 2 else table.shape[1] * per_view


def _native_sampling(sampling: Sampling) -> Any:
    return _cpu.Sampling(sampling.inverse, sampling.nearest, sampling.border, *sampling.source)


def _tap_threads(index: Tensor) -> int:
    return max(1, min(torch.get_num_threads(), index.numel() // _TAPS_PER_THREAD))


def _most_threads(stack: Tensor) -> int:
    return max(1, stack.numel() // _ELEMENTS_PER_THREAD)


def _dense(tensor: Tensor) -> Tensor:
    """The tensor itself where each plane is contiguous, else a contiguous copy."""
    dense = tensor.stride(-1) == 1 and tensor.stride(-2) == tensor.shape[-1]
    return tensor if dense else tensor.contiguous()


def _strides(tensor: Tensor) -> tuple[int, int, int, int]:
    """Of a ``[B, N, C, ., .]`` tensor, or of a ``[B, C, ., .]`` one whose planes serve every view."""
    strides = tensor.stride()
    return strides[0], strides[1] if len(strides) == 5 else 0, strides[-3], strides[-1]


def _run(
    launch: Launch, sources: Sequence[Tensor], results: Sequence[Tensor], dense: Sequence[Tensor]
) -> Launch | None:
    """Makes a call; what can make it again, where it read its sources themselves and no copies."""
    launch(*(tensor.data_ptr() for tensor in (*dense, *results)))
    return launch if all(a is b for a, b in zip(sources, dense, strict=True)) else None


class CpuBackend(Backend):
    """The ops on CPU tensors."""

    def __init__(self) -> None:
        super().__init__(limit=256 * 2**20)

    def empty(self, result: Result, device: torch.device) -> Tensor:
        return new_result(result, device)

    def maker(self, result: Result, like: Tensor) -> Callable[[], Tensor]:
        # Small ones are fastest made from an example.
        if result.nbytes < SMALLEST:
            return partial(torch.empty_like, torch.empty_like(like))
        return super().maker(result, like)

    def gather(
        self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor, fill: float
    ) -> Launch | None:
        # An image that all views read is interleaved once; of a stack each tile interleaves what it reads.
        copies = sampling.nearest and source.dtype == result.dtype
        tiled = source.dim() == 5 and not copies
        taps, dense = self.prepared.get(geometry, sampling, tiled_taps if tiled else flat_taps), _dense(source)
        shape, strides, to, most = shape_of(result), _strides(dense), _strides(result), _most_threads(result)
        kernel: Callable[..., None] = _cpu.copy if copies else _cpu.unproject if tiled else _cpu.project
        types: tuple[int, ...] = () if copies else (CODES[source.dtype], CODES[result.dtype])
        last: tuple[float, ...] = (float(fill),)
        if copies:
            types, last = (source.element_size(),), (bits_of(fill, source.dtype),)
        elif tiled:
            types, last = types[:1], ()

        def launch(reads: int, writes: int) -> None:
            threads = min(torch.get_num_threads(), most)
            kernel(*types, shape, taps.native, (reads, *strides), (writes, *to), *last, threads)

        return _run(launch, [source], [result], [dense])

    def gather_adjoint(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor) -> Launch | None:
        taps, dense = self.prepared.get(geometry, sampling, flat_taps), _dense(source)
        code, sum_views, shape = CODES[source.dtype], result.dim() == 4, shape_of(source)
        strides, to, most = _strides(dense), _strides(result), _most_threads(source)

        def launch(reads: int, writes: int) -> None:
            threads = min(torch.get_num_threads(), most)
            _cpu.gather_adjoint(code, sum_views, shape, taps.native, (reads, *strides), (writes, *to), threads)

        return _run(launch, [source], [result], [dense])

    def reduce(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, mean: Tensor, variance: Tensor, count: Tensor
    ) -> Launch | None:
        taps, dense = self.prepared.get(geometry, sampling, tiled_taps), _dense(stack)
        code, shape, strides, most = CODES[stack.dtype], shape_of(stack), _strides(dense), _most_threads(stack)

        def launch(source: int, mean: int, variance: int, count: int) -> None:
            threads = min(torch.get_num_threads(), most)
            _cpu.reduce(code, shape, taps.native, (source, *strides), mean, variance, count, threads)

        return _run(launch, [stack], [mean, variance, count], [dense])

    def reduce_backward(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, moments: Moments, grad_stack: Tensor
    ) -> Launch | None:
        taps = self.prepared.get(geometry, sampling, flat_taps)
        grad_mean, grad_variance, mean, count = moments
        sources = (grad_mean, grad_variance, stack, mean, count)
        dense = [_dense(tensor) if tensor is stack else tensor.contiguous() for tensor in sources]
        code, shape, strides, most = CODES[stack.dtype], shape_of(stack), _strides(dense[2]), _most_threads(stack)

        def launch(grad_mean: int, grad_variance: int, source: int, *others: int) -> None:
            given = (grad_mean, grad_variance, *others, min(torch.get_num_threads(), most))
            _cpu.reduce_backward(code, shape, taps.native, (source, *strides), *given)

        return _run(launch, sources, [grad_stack], dense)


backend = None if MISSING else CpuBackend()
