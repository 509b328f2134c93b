"""Taps of the GPU backends, and their transposes: which pixels each point reads, and which points read each pixel.

They depend on the geometry alone. They are made once for each table and kept for as long as it lives, in a cache
bounded in bytes that drops the least recently used. A table is known by its memory and version, since reading its
numbers would make the host wait for the device.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields
from threading import Lock
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

ENTRIES = 2**31 - 1
"""Entries that the transpose of one view may have, four for each point."""

CACHE_BYTES = 512 * 2**20
"""Bound of one cache."""


@dataclass(frozen=True)
class Sampling:
    """What taps depend on beside the geometry.

    Attributes:
        raster: (height, width) of what reads: views, or with ``inverse`` slices.
        source: (height, width) of what is read.
        inverse: whether a slice reads the view.
        nearest: whether taps read one pixel instead of blending four.
        border: whether points beyond the source's rectangle read its nearest pixel.
        precision: dtype of the fractions.
    """

    raster: tuple[int, int]
    source: tuple[int, int]
    inverse: bool
    nearest: bool
    border: bool
    precision: torch.dtype

    @property
    def pixels(self) -> int:
        """Pixels of the raster."""
        return self.raster[0] * self.raster[1]


@dataclass(frozen=True)
class Taps:
    """Taps of every pixel of N or B N rasters of P pixels.

    Attributes:
        index: ``[N, P]`` or ``[B, N, P]`` int32, the source pixel; -1 has no source.
        fraction_y: likewise, of the blend with the pixel below; zero touches none.
        fraction_x: likewise, of the blend with the pixel to the right.
        source: (height, width) of the source.
    """

    index: Tensor
    fraction_y: Tensor
    fraction_x: Tensor
    source: tuple[int, int]


@dataclass(frozen=True)
class Transpose:
    """The points that read each of the Q source pixels, for N or B N views with 4 P entries each.

    Attributes:
        start: ``[..., Q + 1]`` int32; entries ``start[q]`` to ``start[q + 1]`` read pixel q.
        pixel: ``[..., 4 P]`` int32, the points in ascending order.
        weight: ``[..., 4 P]``, theirs.
    """

    start: Tensor
    pixel: Tensor
    weight: Tensor


def transpose_of(taps: Taps) -> Transpose:
    """Sorts the corners of all taps by the source pixel that they read; a stable sort gives equal bits each time.

    Raises ValueError for rasters whose entries 32 bits cannot count.
    """
    if 4 * taps.index.shape[-1] > ENTRIES:
        raise ValueError(f"a raster must have at most {ENTRIES // 4} pixels here, got {taps.index.shape[-1]}")
    y, x, width = taps.fraction_y, taps.fraction_x, taps.source[1]
    weight = torch.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x], dim=-1)
    corner = torch.stack([taps.index + step for step in (0, 1, width, width + 1)], dim=-1)
    count = taps.source[0] * width
    # A weight of zero must not carry NaN or Inf to a pixel that the tap does not touch.
    reads = (taps.index >= 0).unsqueeze(-1) & (weight > 0)
    key, order = torch.where(reads, corner, count).flatten(-2).sort(dim=-1, stable=True)
    bounds = torch.arange(count + 1, dtype=key.dtype, device=key.device).expand(*key.shape[:-1], -1).contiguous()
    return Transpose(
        start=torch.searchsorted(key, bounds, out_int32=True),
        pixel=(order // 4).int(),
        weight=weight.flatten(-2).gather(-1, order),
    )


Value = TypeVar("Value", Taps, Transpose)


@dataclass(frozen=True)
class _Entry:
    value: Any
    nbytes: int
    table: StorageWeakRef
    stream: torch.cuda.Stream | None
    made: torch.cuda.Event | None


def _tensors(value: Taps | Transpose) -> list[Tensor]:
    parts = [getattr(value, field.name) for field in fields(value)]
    return [part for part in parts if isinstance(part, Tensor)]


def _cacheable(geometry: Tensor) -> bool:
    """Whether a change of the table would be noticed, and memory may be kept.

    A captured graph reads the table anew at each replay, and its memory, like that of the run before it, is its own.
    """
    if geometry.is_inference():
        return False
    if not geometry.is_cuda:
        return True
    return not (torch.cuda.is_current_stream_capturing() or _runs_ahead_of_a_graph(geometry.device.index))


def _runs_ahead_of_a_graph(device: int) -> bool:
    """Whether compiled code (``mode="reduce-overhead"``) runs in its graph's memory before it captures the graph."""
    trees = sys.modules.get("torch._inductor.cudagraph_trees")
    if trees is None:
        return False
    try:
        manager = trees.get_manager(device, create_if_none_exists=False)
    except AssertionError:
        # A thread that compiled code has never run in.
        return False
    return manager is not None and bool(manager.in_warmup)


class GeometryCache:
    """What has been made of geometry tables, for as long as these live."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(
        self, kind: type[Value], geometry: Tensor, sampling: Sampling, make: Callable[[Tensor, Sampling], Value]
    ) -> Value:
        """``make(geometry, sampling)``, or what was made before of the same table; ready for the current stream."""
        if not _cacheable(geometry):
            return make(geometry, sampling)
        storage = StorageWeakRef(geometry.untyped_storage())
        place = (storage.cdata, geometry.storage_offset(), geometry.shape, geometry.stride(), geometry._version)
        key = (kind, place, sampling)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
        if entry is None:
            entry = _new_entry(make(geometry, sampling), geometry, storage)
            self._keep(key, entry)
        else:
            _make_ready(entry)
        value: Value = entry.value
        return value

    def _keep(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            for old in [old for old, other in self._entries.items() if other.table.expired()]:
                del self._entries[old]
            self._entries[key] = entry
            while sum(other.nbytes for other in self._entries.values()) > CACHE_BYTES:
                self._entries.popitem(last=False)


def _new_entry(value: Taps | Transpose, geometry: Tensor, storage: StorageWeakRef) -> _Entry:
    nbytes = sum(tensor.nbytes for tensor in _tensors(value))
    if not geometry.is_cuda:
        return _Entry(value, nbytes, storage, None, None)
    stream = torch.cuda.current_stream(geometry.device)
    return _Entry(value, nbytes, storage, stream, stream.record_event())


def _make_ready(entry: _Entry) -> None:
    """Lets the current stream wait for the one that made the entry, and keeps its memory until it has read it."""
    if entry.stream is None or entry.made is None:
        return
    current = torch.cuda.current_stream(entry.stream.device)
    if current != entry.stream:
        current.wait_event(entry.made)
        for tensor in _tensors(entry.value):
            tensor.record_stream(current)
