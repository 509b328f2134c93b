"""Memory traffic of the GPU kernels: the lines and sectors that warps and blocks touch, reading through real taps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from spuproj import Views
from spuproj.backends.taps import Sampling, Taps, Transpose, transpose_of
from spuproj.backends.torch import taps_of

WARP = 32
SECTOR, LINE = 32, 128
"""Bytes that the caches move at least, and that one tag of a cache stands for."""


class Layout(NamedTuple):
    """How a kernel's source lies in memory: bytes of an element, and planes side by side, which one load reads."""

    size: int
    side: int = 1


@dataclass(frozen=True)
class Kernel:
    """What a kernel reads.

    Attributes:
        label: the op.
        tile: (height, width) of the pixels of a block, as ``kTile`` in ``csrc/cuda/``.
        inverse: whether slices read views.
        adjoint: whether it runs over the pixels that are read, through the transposed taps.
        layouts: of the elements that it reads.
    """

    label: str
    tile: tuple[int, int]
    inverse: bool
    adjoint: bool
    layouts: tuple[Layout, ...] = (Layout(4), Layout(2))


GATHER, REDUCE, ADJOINT = (4, 32), (16, 16), (8, 16)

KERNELS = (
    Kernel("project", GATHER, inverse=False, adjoint=False, layouts=(Layout(4), Layout(2), Layout(2, 8))),
    Kernel("unproject", GATHER, inverse=True, adjoint=False),
    Kernel("reduce", REDUCE, inverse=True, adjoint=False),
    Kernel("project backward", ADJOINT, inverse=False, adjoint=True),
    Kernel("unproject backward", ADJOINT, inverse=True, adjoint=True),
)


class Traffic(NamedTuple):
    """The traffic of loads of source elements, averaged over all views.

    Attributes:
        requests: loads of a warp for 32 elements of the stack ``[B, N, C, h, w]``; with planes side by side for 32
            elements of each.
        lines: of 128 bytes, touched by a load of a warp.
        sectors: of 32 bytes, likewise.
        idle: share of the warps whose pixels have no source.
        read: bytes of the source that are read at all, for an element of the stack; all views of ``project`` read the
            same planes.
        fetched: bytes that the blocks fetch from the second-level cache for an element of the stack, if the first-level
            cache keeps what a block reads of a plane.
        divergence: turns that a warp takes over the turns that its lanes need on average; 1 if they need the same.
    """

    requests: float
    lines: float
    sectors: float
    idle: float
    read: float
    fetched: float
    divergence: float


class _Reads(NamedTuple):
    """Every read of an element: in which view, by which thread, in which of its turns, and of which pixel."""

    view: Tensor
    thread: Tensor
    turn: Tensor
    pixel: Tensor


def traffic_of(kernel: Kernel, views: Views) -> list[Traffic]:
    """The traffic of a kernel for shared views ``[N]``, for each of its layouts; planes begin with a line."""
    slices, shown = views.size, views.view_size
    size, source = (slices, shown) if kernel.inverse else (shown, slices)
    taps = taps_of(views.geometry, Sampling(size, source, kernel.inverse, False, False, torch.float32))
    transpose = transpose_of(taps) if kernel.adjoint else None
    reads = _gather_reads(taps) if transpose is None else _adjoint_reads(transpose)
    warp, block = _places(source if kernel.adjoint else size, kernel.tile)
    warps = int(warp.max()) + 1
    in_view = reads.view * warps + warp[reads.thread]
    request = in_view * (int(reads.turn.max()) + 1) + reads.turn
    in_block = reads.view * (int(block.max()) + 1) + block[reads.thread]
    requests, elements = len(torch.unique(request)), len(views) * shown[0] * shown[1]
    idle = 1 - len(torch.unique(in_view)) / (len(views) * len(torch.unique(warp)))
    divergence = 1.0 if transpose is None else _divergence(transpose, warp, warps)
    shared = not kernel.inverse and not kernel.adjoint
    found = []
    for layout in kernel.layouts:
        width = layout.size * layout.side
        # So many that no line belongs to two requests.
        sectors = -(-(int(reads.pixel.max()) + 1) * width // LINE) * (LINE // SECTOR)
        sector = reads.pixel * width // SECTOR
        touched = torch.unique(request * sectors + sector)
        lines = len(torch.unique_consecutive(touched // (LINE // SECTOR))) / requests
        read, fetched = (
            len(torch.unique(place * sectors + sector)) * SECTOR / (elements * layout.side)
            for place in (reads.view * (not shared), in_block)
        )
        loads = requests * WARP / elements
        found.append(Traffic(loads, lines, len(touched) / requests, idle, read, fetched, divergence))
    return found


def _places(raster: tuple[int, int], tile: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The warp and the block of each pixel: threads number a tile row by row."""
    row, column = (index.flatten() for index in torch.meshgrid(*map(torch.arange, raster), indexing="ij"))
    across = -(-raster[1] // tile[1])
    block = row // tile[0] * across + column // tile[1]
    thread = row % tile[0] * tile[1] + column % tile[1]
    return block * (tile[0] * tile[1] // WARP) + thread // WARP, block


def _gather_reads(taps: Taps) -> _Reads:
    """A turn for each of a tap's four pixels. Taps that blend fewer take turns of their own, and read pixels twice."""
    view, thread = torch.nonzero(taps.valid, as_tuple=True)
    pixel, down, right = (
        part[view, thread] for part in (taps.pixel, (taps.fraction_y > 0) * taps.source[1], (taps.fraction_x > 0) * 1)
    )
    kind = 4 * (taps.index[view, thread] < 0)
    corners = [(kind, pixel), (kind + 1, pixel + right), (kind + 2, pixel + down), (kind + 3, pixel + down + right)]
    turn, reads = (torch.cat(parts) for parts in zip(*corners, strict=True))
    return _Reads(view.repeat(4), thread.repeat(4), turn, reads)


def _adjoint_reads(transpose: Transpose) -> _Reads:
    """A turn for each entry of a pixel's row of the transpose."""
    start, rows = transpose.start.long(), transpose.start.shape[-1] - 1
    entries = torch.arange(transpose.pixel.shape[-1]).expand(len(start), -1)
    kept = entries < start[:, -1:]
    row = torch.repeat_interleave(torch.arange(len(start) * rows), start.diff().flatten())
    view, thread = row // rows, row % rows
    return _Reads(view, thread, entries[kept] - start[view, thread], transpose.pixel[kept].long())


def _divergence(transpose: Transpose, warp: Tensor, warps: int) -> float:
    counts = transpose.start.long().diff()
    there = warp.expand_as(counts)
    longest = torch.zeros(len(counts), warps, dtype=counts.dtype).scatter_reduce(1, there, counts, "amax")
    lanes = torch.zeros_like(longest).scatter_add(1, there, torch.ones_like(counts))
    mean = torch.zeros_like(longest).scatter_add(1, there, counts) / lanes.clamp(min=1)
    return float(longest.sum() / mean.sum())
