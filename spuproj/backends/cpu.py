"""The ``cpu`` backend: the compiled kernels of ``csrc/cpu``, on ``torch.get_num_threads()`` threads."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spuproj.backends.base import CALLS, Backend, Moments, Result
from spuproj.backends.memory import AVAILABLE, SMALLEST, in_block
from spuproj.backends.native import CODES, bits_of, dense, strides_of, weight_planes
from spuproj.backends.prepared import POINT_BYTES, PreparedStore
from spuproj.backends.taps import Part, Sampling, in_parts

try:
    import spuproj._cpu as _cpu
    from spuproj._cpu import simd_level as simd_level
    from spuproj._cpu import simd_levels as simd_levels

    MISSING: str | None = None
except ImportError as error:
    MISSING = f"the compiled module spuproj._cpu does not import ({error}); reinstall with pip install spuproj"

LIMIT = 256 * 2**20
"""Largest size of the cache of taps, in bytes."""

POINTS = LIMIT // POINT_BYTES
"""Most taps of per-sample geometry that are computed at a time: as many as the cache holds, in float64 too."""

# With fewer elements or taps per thread, starting another thread costs more time than it saves.
_ELEMENTS_PER_THREAD = 32768
_TAPS_PER_THREAD = 4096


class CpuTaps:
    """Taps of ``[N]`` or ``[B, N]`` views, in one piece of memory, so that all of it is on large pages.

    Args:
        shape: of the views.
        sampling: of each view.
        tiled: whether taps are in tiles of ``_cpu.TILE`` pixels, each with the window of the source that it reads.
        keep: whether the memory is kept for reuse when the taps are freed.

    Attributes:
        memory: the arrays that taps consist of, one after another.
        native: the object with which the compiled kernels find them.
    """

    def __init__(self, shape: Sequence[int], sampling: Sampling, *, tiled: bool, keep: bool = False) -> None:
        self._sampling, self._tiled = sampling, tiled
        (height, width), source, (rows, columns) = sampling.size, sampling.source, _cpu.TILE
        # The batch shares [N] views: their taps are 0 apart from one sample to the next.
        views, apart = math.prod(shape), 0 if len(shape) == 1 else shape[1]
        tiles = -(-height // rows) * -(-width // columns) if tiled else 0
        taps = tiles * rows * columns if tiled else sampling.pixels
        fraction = taps * sampling.precision.itemsize
        # Fractions y and x, indices, windows, and what tells whether a line has a source.
        sizes = [views * each for each in (fraction, fraction, taps * 4, tiles * 12, -(-taps // _cpu.TAP_LINE))]
        self.memory = in_block(torch.empty(sum(sizes), dtype=torch.uint8, device="cpu"), keep=keep)
        self._by_view = [part.view(views, -1) for part in self.memory.split(sizes) if len(part) > 0]
        y, x, index, window, has_source = accumulate(sizes[:-1], initial=self.memory.data_ptr())
        if tiled:
            self.native = _cpu.Tiles(index, y, x, window, height, width, source[1], apart * tiles, has_source)
        else:
            pixels = math.prod(source)
            self.native = _cpu.FlatTaps(index, y, x, taps, width, pixels, source[1], apart * taps, has_source)

    def rows(self, numbers: Tensor) -> "CpuTaps":
        """The taps of the views of these numbers, counted through all samples."""
        # Chosen anew for each batch, so from memory that is kept.
        taps = CpuTaps(numbers.shape, self._sampling, tiled=self._tiled, keep=True)
        for ours, theirs in zip(self._by_view, taps._by_view, strict=True):
            torch.index_select(ours, 0, numbers.flatten(), out=theirs)
        return taps


def flat_taps(geometry: Tensor, sampling: Sampling) -> CpuTaps:
    """Taps of every pixel, view by view."""
    return _built(_cpu.build_taps, geometry, sampling, CpuTaps(geometry.shape[:-1], sampling, tiled=False))


def tiled_taps(geometry: Tensor, sampling: Sampling) -> CpuTaps:
    """Taps in tiles, see ``CpuTaps``."""
    return _built(_cpu.build_tiles, geometry, sampling, CpuTaps(geometry.shape[:-1], sampling, tiled=True))


def _built(build: Callable[..., None], geometry: Tensor, sampling: Sampling, taps: CpuTaps) -> CpuTaps:
    table, views = geometry.contiguous(), geometry.shape[:-1].numel()
    threads = max(1, min(torch.get_num_threads(), views * sampling.pixels // _TAPS_PER_THREAD))
    build(threads, table.data_ptr(), views, _cpu.Sampling(*sampling.numbers), taps.native)
    return taps


def _most_threads(stack: Tensor) -> int:
    return max(1, stack.numel() // _ELEMENTS_PER_THREAD)


_unused = torch.empty(SMALLEST, dtype=torch.uint8, device="cpu")


def _example(result: Tensor) -> Tensor:
    """A tensor like a small result, for ``torch.empty_like``. All examples share memory, which nothing accesses."""
    return _unused[: result.nbytes].view(result.dtype).as_strided(result.shape, result.stride())


class Launch(NamedTuple):
    """A kernel with all arguments but its tensors' addresses, the most threads that help, and the taps it reads."""

    kernel: Any
    most_threads: int
    taps: CpuTaps

    def run(self, sources: Sequence[Tensor], planes: Sequence[Tensor], results: Sequence[Tensor]) -> "Launch | None":
        """Runs the kernel. Returns itself if the call can be repeated: None if a source had to be copied first."""
        threads = min(torch.get_num_threads(), self.most_threads)
        _cpu.run(self.kernel, [tensor.data_ptr() for tensor in (*planes, *results)], threads)
        return self if all(a.data_ptr() == b.data_ptr() for a, b in zip(sources, planes, strict=True)) else None


class CpuBackend(Backend):
    """The ops on CPU tensors."""

    def __init__(self) -> None:
        super().__init__(PreparedStore(LIMIT))
        if AVAILABLE:
            self._calls = _cpu.Calls(torch.empty_like, torch.get_num_threads)
            self.repeat = self._calls.repeat  # type: ignore[method-assign]

    def empty(self, result: Result, device: torch.device) -> Tensor:
        return in_block(result.empty(device))

    def keep(
        self, op: object, geometry_at: int, given: tuple[Any, ...], results: Sequence[Tensor], launch: Launch
    ) -> None:
        table = given[geometry_at]
        # The numbers of a table with gaps could not be compared in one piece.
        prepared = self.prepared.find(table) if AVAILABLE and table.is_contiguous() else None
        # Taps too large to be kept would be kept by the call nevertheless.
        if prepared is None or not prepared.holds(launch.taps):
            return
        # Another thread may drop the calls at any time.
        calls = prepared.calls
        if calls is None:
            calls = prepared.calls = self._calls.of_table(table)
        if len(calls) >= CALLS:
            calls.clear()
        examples = [(each, None if each.nbytes >= SMALLEST else _example(each)) for each in results]
        calls.keep(op, geometry_at, given, examples, *launch)

    def gather(
        self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor, fill: float
    ) -> Launch | None:
        # An image is interleaved once for all views. From a stack, each tile interleaves only the window that it reads.
        copies = sampling.nearest and source.dtype == result.dtype
        tiled = source.dim() == 5 and not copies

        def run(part: Part) -> Launch | None:
            taps, read, made = self._taps(part, sampling, tiled=tiled), part.of(source), part.of(result)
            planes = dense(read)
            layout = made.shape[:3], taps.native, strides_of(planes), strides_of(made)
            if copies:
                kernel = _cpu.copy(read.element_size(), *layout, bits_of(fill, read.dtype))
            elif tiled:
                kernel = _cpu.unproject(CODES[read.dtype], *layout)
            else:
                kernel = _cpu.project(CODES[read.dtype], CODES[made.dtype], *layout, float(fill))
            return Launch(kernel, _most_threads(made), taps).run([read], [planes], [made])

        return in_parts(run, geometry, len(source), sampling, POINTS)

    def gather_adjoint(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor) -> Launch | None:
        def run(part: Part) -> Launch | None:
            taps, read, made = self._taps(part, sampling, tiled=False), part.of(source), part.of(result)
            planes = dense(read)
            layout = read.shape[:3], taps.native, strides_of(planes), strides_of(made)
            kernel = _cpu.gather_adjoint(CODES[read.dtype], made.dim() == 4, *layout)
            return Launch(kernel, _most_threads(read), taps).run([read], [planes], [made])

        return in_parts(run, geometry, len(source), sampling, POINTS)

    def reduce(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, weights: Tensor | None, results: Sequence[Tensor]
    ) -> Launch | None:
        each = _of_batch(weights, len(stack))

        def run(part: Part) -> Launch | None:
            taps, read, made = self._taps(part, sampling, tiled=True), part.of(stack), list(map(part.of, results))
            given = [part.of(weights) for weights in each]
            planes = [dense(read), *(weight_planes(weights, len(read), sampling.precision) for weights in given)]
            layouts = strides_of(planes[0]), strides_of(planes[1]) if given else None, *map(strides_of, made)
            kernel = _cpu.reduce(CODES[read.dtype], read.shape[:3], taps.native, *layouts)
            return Launch(kernel, _most_threads(read), taps).run([read, *given], planes, made)

        return in_parts(run, geometry, len(stack), sampling, POINTS)

    def reduce_backward(
        self,
        stack: Tensor,
        geometry: Tensor,
        sampling: Sampling,
        weights: Tensor | None,
        moments: Moments,
        grad_stack: Tensor,
    ) -> Launch | None:
        each = _of_batch(weights, len(stack))

        def run(part: Part) -> Launch | None:
            taps, read, made = self._taps(part, sampling, tiled=False), part.of(stack), part.of(grad_stack)
            grad_mean, grad_variance, mean, count = map(part.of, moments)
            given = [part.of(weights) for weights in each]
            sources = [grad_mean, grad_variance, read, mean, count]
            planes = [dense(tensor) if tensor is read else tensor.contiguous() for tensor in sources]
            shares = [weight_planes(weights, len(read), sampling.precision) for weights in given]
            layouts = *map(strides_of, planes), strides_of(shares[0]) if shares else None, strides_of(made)
            kernel = _cpu.reduce_backward(CODES[read.dtype], read.shape[:3], taps.native, *layouts)
            return Launch(kernel, _most_threads(read), taps).run([*sources, *given], [*planes, *shares], [made])

        return in_parts(run, geometry, len(stack), sampling, POINTS)

    def _taps(self, part: Part, sampling: Sampling, *, tiled: bool) -> CpuTaps:
        return self.prepared.of(part, sampling, tiled_taps if tiled else flat_taps)


def _of_batch(weights: Tensor | None, batch: int) -> list[Tensor]:
    """The weights of each sample, ``[B, N, H, W]``, without a copy; an empty list if there are none."""
    return [] if weights is None else [weights.expand(batch, *weights.shape[-3:])]


backend = None if MISSING else CpuBackend()
