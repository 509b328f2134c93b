"""The taps of the ``cpu`` backend: which pixels each point reads, and how they are blended.

They depend on the geometry alone. They are computed once for each and kept, keyed by the geometry's own numbers, in a
cache bounded in bytes that drops the least recently used.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from spuproj import _cpu

Size = Sequence[int]

CACHE_BYTES = 256 * 2**20
"""Bound of the cache."""

# Below this many taps a thread costs more than it brings.
_TAPS_PER_THREAD = 4096


@dataclass(frozen=True)
class Taps:
    """Taps of every pixel of N or B N rasters: flat, or in tiles with a window each.

    Attributes:
        native: the same for the kernels, which read the tensors' memory.
    """

    index: Tensor
    fraction_y: Tensor
    fraction_x: Tensor
    window: Tensor | None
    native: Any

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        tensors = (self.index, self.fraction_y, self.fraction_x, self.window)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


_cache: OrderedDict[tuple[object, ...], Taps] = OrderedDict()
_lock = Lock()
_cached_bytes = 0


def _fresh_lock() -> None:
    global _lock
    _lock = Lock()


# A forked child must not wait for a lock that a thread of its parent held.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


def taps_of(
    geometry: Tensor,
    raster: Size,
    source: Size,
    *,
    inverse: bool,
    interpolation: str,
    padding: str,
    dtype: torch.dtype,
    tiled: bool,
) -> Taps:
    """The taps of every pixel of ``raster`` (views, or with ``inverse`` slices) into ``source``."""
    table = geometry.detach().contiguous()
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    key = (table.numpy().tobytes(), table.shape, *raster, *source, inverse, interpolation, padding, precision, tiled)
    with _lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    sampling = _cpu.Sampling(inverse, interpolation == "nearest", padding == "border", source[0], source[1])
    build = _build_tiled if tiled else _build_flat
    taps = build(table, raster, source, sampling, precision)
    _keep(key, taps)
    return taps


def _keep(key: tuple[object, ...], taps: Taps) -> None:
    global _cached_bytes
    if taps.nbytes > CACHE_BYTES:
        return
    with _lock:
        if key not in _cache:
            _cache[key] = taps
            _cached_bytes += taps.nbytes
        while _cached_bytes > CACHE_BYTES:
            _cached_bytes -= _cache.popitem(last=False)[1].nbytes


def _threads(taps: int) -> int:
    return max(1, min(torch.get_num_threads(), taps // _TAPS_PER_THREAD))


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Indices and both fractions, side by side, so that they fill large pages of memory."""
    parts = (dtype, dtype, torch.int32)
    sizes = [math.prod(shape) * part.itemsize for part in parts]
    memory = torch.empty(sum(sizes), dtype=torch.uint8)
    _cpu.expect_writes(memory.data_ptr(), memory.nbytes)
    y, x, index = (piece.view(part).view(shape) for piece, part in zip(memory.split(sizes), parts, strict=True))
    return index, y, x


def _sample_step(table: Tensor, per_view: int) -> int:
    """From one sample's taps to the next one's; zero where the batch shares them."""
    return 0 if table.dim() == 2 else table.shape[1] * per_view


def _build_flat(table: Tensor, raster: Size, source: Size, sampling: _cpu.Sampling, dtype: torch.dtype) -> Taps:
    count, pixels = table.numel() // table.shape[-1], raster[0] * raster[1]
    index, y, x = _empty((count, pixels), dtype)
    native = _cpu.Taps(
        index=index.data_ptr(),
        fraction_y=y.data_ptr(),
        fraction_x=x.data_ptr(),
        pixels=pixels,
        source_pixels=source[0] * source[1],
        source_width=source[1],
        sample_stride=_sample_step(table, pixels),
    )
    double = dtype == torch.float64
    _cpu.build_taps(table.data_ptr(), count, sampling, raster[0], raster[1], double, native, _threads(index.numel()))
    return Taps(index, y, x, None, native)


def _build_tiled(table: Tensor, raster: Size, source: Size, sampling: _cpu.Sampling, dtype: torch.dtype) -> Taps:
    count, (height, width) = table.numel() // table.shape[-1], _cpu.TILE
    tiles = -(-raster[0] // height) * -(-raster[1] // width)
    index, y, x = _empty((count, tiles, height * width), dtype)
    window = torch.empty(count, tiles, 3, dtype=torch.int32)
    native = _cpu.Tiles(
        index=index.data_ptr(),
        fraction_y=y.data_ptr(),
        fraction_x=x.data_ptr(),
        window=window.data_ptr(),
        height=raster[0],
        width=raster[1],
        source_width=source[1],
        sample_stride=_sample_step(table, tiles),
    )
    threads = _threads(index.numel())
    _cpu.build_tiles(table.data_ptr(), count, sampling, dtype == torch.float64, native, threads)
    return Taps(index, y, x, window, native)
