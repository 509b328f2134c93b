"""Caches data that depends only on a geometry and on sizes: taps, their transposes, and calls that can be repeated.

Entries are found by the geometry's table, limited in bytes, and dropped when the table is freed.
"""

import os
import warnings
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from spuproj.backends.taps import Part, Sampling
from spuproj.backends.unchanged import unchanged_since


class Rows(Protocol):
    """What is cached, for the views of a table ``[N, 19]`` or ``[B, N, 19]``."""

    def rows(self, numbers: Tensor) -> Any:
        """The same for the views of these numbers, counted through all samples; of the shape of ``numbers``."""


Value = TypeVar("Value", bound=Rows)
Make = Callable[[Tensor, Sampling], Value]

POINT_BYTES = 20
"""Most bytes of the taps of a point."""


@dataclass(eq=False)
class Kept:
    """A cached value.

    Attributes:
        value: taps or a transpose.
        made: on a GPU, the event recorded after the kernels that computed the value.
        waited: the side streams that have waited for it, and so may use it.
    """

    value: Any
    made: torch.cuda.Event | None
    waited: set[torch.cuda.Stream] = field(default_factory=set)

    def on(self, stream: torch.cuda.Stream | None) -> Any:
        """The value, safe to use on this side stream, or on the default one (None), where it was computed."""
        if stream is not None and self.made is not None and stream not in self.waited:
            # The stream waits for the value, and its memory is kept until this stream has read it.
            stream.wait_event(self.made)
            for part in _tensors(self.value):
                part.record_stream(stream)
            self.waited.add(stream)
        return self.value


class Origin(NamedTuple):
    """The table that views were chosen from: a weak reference to its entry, and their numbers in it.

    If the views of that table were chosen too, ``first`` is the table that choosing began with: it may live longer.
    """

    entry: "weakref.ref[Prepared]"
    numbers: Tensor
    first: "Origin | None" = None


@dataclass(eq=False)
class Prepared:
    """The cache entry of one geometry table.

    Attributes:
        table: weak reference to the table.
        device: where the table and the values are.
        unchanged: tells whether the table still has the values for which the entry was made.
        values: taps and transposes, by sampling and by the function that made them.
        calls: calls that can be repeated, as the backend keeps them; None before the first.
        nbytes: size of the values.
        dropped: keys of values that had to make room for others.
        pinned: whether values stay whatever their size, because a CUDA graph may read them.
        before: a pinned entry of the same table with other numbers.
        origin: for views that were chosen from those of another table.
        asked: of how many views that were chosen from these a value was asked for.
    """

    table: weakref.ref[Tensor]
    device: torch.device
    unchanged: Callable[[Tensor], bool]
    values: dict[Hashable, Kept] = field(default_factory=dict)
    calls: Any = None
    nbytes: int = 0
    dropped: set[Hashable] = field(default_factory=set)
    pinned: bool = False
    before: "Prepared | None" = None
    origin: Origin | None = None
    asked: dict[Hashable, int] = field(default_factory=dict)

    def holds(self, value: Any) -> bool:
        """Whether a value is cached, and not an equal one in its place."""
        return any(each.value is value for each in list(self.values.values()))

    def drop(self, key: Hashable) -> None:
        """Drops a value, and the calls, which hold values."""
        self.nbytes -= _nbytes(self.values.pop(key).value)
        self.calls = None
        self.dropped.add(key)


class PreparedStore:
    """The cache of one backend, with an entry per geometry table.

    On a GPU, only values computed on the default stream are kept. Other streams use these, or compute their own for
    one call. A CUDA graph uses values that were pinned before it was captured; others it computes at each replay, from
    the table's values at that time.

    Args:
        limit: largest size of the values on a device, in bytes; a function of the device where they differ.
        warns: whether a warning tells, once, that values are computed again and again because they do not fit.
    """

    def __init__(self, limit: int | Callable[[torch.device], int], *, warns: bool = False) -> None:
        self.limit = limit
        self._warns = warns
        self._tables: dict[int, Prepared] = {}
        # Re-entrant: a table may be freed, and its entry dropped, in a thread that already holds the lock.
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._fresh_lock)
        _stores.add(self)

    def __len__(self) -> int:
        return len(self._tables)

    def find(self, table: Tensor) -> Prepared | None:
        """The entry of a table; None if there is none. An entry is dropped if the table's values have changed."""
        prepared = self._tables.get(id(table))
        if prepared is None or prepared.table() is not table:
            return None
        if prepared.unchanged(table):
            return prepared
        if not prepared.pinned:
            self._drop(id(table), prepared)
        return None

    def get(self, table: Tensor, sampling: Sampling, make: Make[Value]) -> Value:
        """The cached ``make(table, sampling)``, safe to use on the current stream."""
        key, stream, prepared = (sampling, make), side_stream(table), self.find(table)
        capturing = _capturing(stream)
        # Another thread may drop the value at any time.
        kept = None if prepared is None else prepared.values.get(key)
        if prepared is None or kept is None or (capturing and not prepared.pinned):
            value = self._chosen(prepared, None, sampling, make)
            value = make(table, sampling) if value is None else value
            # Later writes to the table must be detectable.
            if stream is None and not (table.is_cuda and table.is_inference()):
                self._keep(table, key, value)
            return value
        found: Value = kept.on(None if capturing else stream)
        return found

    def of(self, part: Part, sampling: Sampling, make: Make[Value]) -> Value:
        """The same for part of a batch. That of some samples, each with its own views, is not kept."""
        if part.keep:
            return self.get(part.geometry, sampling, make)
        value = self._chosen(self.find(part.geometry), part.samples, sampling, make)
        return make(part.geometry[part.samples], sampling) if value is None else value

    def choose(self, table: Tensor, numbers: Tensor, chosen: Tensor) -> None:
        """Notes that the views ``chosen`` are those of ``table`` with these numbers, counted through all samples."""
        if self.limit != 0:
            with self._lock:
                entry = self.find(table) or self._new_entry(table)
                first = entry.origin and (entry.origin.first or entry.origin)
                first = first and Origin(first.entry, first.numbers.flatten()[numbers])
                self._new_entry(chosen).origin = Origin(weakref.ref(entry), numbers, first)

    def pin(self, table: Tensor) -> None:
        """Keeps what is prepared for a table, now and later, whatever its size, until the table is freed."""
        with self._lock:
            (self.find(table) or self._new_entry(table)).pinned = True

    def clear(self) -> None:
        """Drops everything."""
        with self._lock:
            self._tables.clear()

    def _chosen(
        self, prepared: Prepared | None, samples: slice | None, sampling: Sampling, make: Make[Value]
    ) -> Value | None:
        """The value of views that were chosen from others, taken from the others' value; None where this does not pay.

        It pays if the others' value exists, or if as many views have been asked for as there are others.
        """
        origin = None if prepared is None else prepared.origin
        if origin is not None and origin.entry() is None:
            origin = origin.first
        entry = None if origin is None else origin.entry()
        table = None if entry is None else entry.table()
        if origin is None or entry is None or table is None or self.find(table) is not entry:
            return None
        if _capturing(side_stream(table)) and not entry.pinned:
            return None
        numbers = origin.numbers if samples is None else origin.numbers[samples]
        key, views = (sampling, make), table.shape[:-1].numel()
        entry.asked[key] = entry.asked.get(key, 0) + numbers.numel()
        fits = views * sampling.pixels * POINT_BYTES <= self._limit(table.device)
        pays = fits and key not in entry.dropped and entry.asked[key] >= views
        return self.get(table, sampling, make).rows(numbers) if pays or key in entry.values else None

    def _limit(self, device: torch.device) -> int:
        return self.limit if isinstance(self.limit, int) else self.limit(device)

    def _keep(self, table: Tensor, key: Hashable, value: Any) -> None:
        """Caches a value that does not exceed the limit by itself; then drops the oldest values beyond the limit."""
        limit = self._limit(table.device)
        with self._lock:
            prepared = self.find(table)
            if _nbytes(value) > limit and not (prepared and prepared.pinned):
                self._warn(table.device, limit)
                return
            prepared = prepared or self._new_entry(table)
            if key in prepared.values:
                return  # Another thread was faster.
            if key in prepared.dropped:
                self._warn(table.device, limit)
            if not prepared.values:
                self._tables[id(table)] = self._tables.pop(id(table))  # It is the newest again.
            made = torch.cuda.current_stream(table.device).record_event() if table.is_cuda else None
            prepared.values[key] = Kept(value, made)
            prepared.nbytes += _nbytes(value)
            self._make_room(prepared, key, limit)

    def _new_entry(self, table: Tensor) -> Prepared:
        old = self._tables.pop(id(table), None)
        entry = Prepared(self._dropping(table), table.device, unchanged_since(table))
        if old is not None and old.pinned and old.table() is table:
            entry.before = old
        self._tables[id(table)] = entry
        return entry

    def _drop(self, at: int, entry: Prepared) -> None:
        """Drops an entry, unless it is gone already."""
        with self._lock:
            if self._tables.get(at) is entry:
                self._tables.pop(at, None)

    def _make_room(self, newest: Prepared, key: Hashable, limit: int) -> None:
        """Drops entries of tables that have changed, and then the oldest values, until the others fit the limit."""
        # Any allocation may start the garbage collector, which drops entries of freed tables from the dict itself.
        all_tables = self._tables.copy()
        there = [(at, each) for at, each in all_tables.items() if each.nbytes and each.device == newest.device]
        size = sum(each.nbytes for _, each in there)
        if size <= limit:
            return
        for at, entry in there:
            table = entry.table()
            if not entry.pinned and (table is None or not entry.unchanged(table)):
                self._drop(at, entry)
                size -= entry.nbytes
        for at, entry in there:
            for old in [] if entry.pinned or at not in self._tables else list(entry.values):
                if size <= limit:
                    return
                if entry is not newest or old != key:
                    size -= _nbytes(entry.values[old].value)
                    entry.drop(old)

    def _warn(self, device: torch.device, limit: int) -> None:
        if self._warns:
            self._warns = False
            warnings.warn(
                f"the views in use need more memory for their taps than the {limit / 2**20:.0f} MiB that are kept on "
                f"{device}, so taps are computed again and again, which is slow; use fewer or smaller views, or fewer "
                "Views at a time",
                stacklevel=2,
            )

    def _dropping(self, table: Tensor) -> weakref.ref[Tensor]:
        """A weak reference that drops the table's entry when the table is freed."""
        key, store = id(table), weakref.ref(self)

        def drop(dead: weakref.ref[Tensor]) -> None:
            alive = store()
            entry = None if alive is None else alive._tables.get(key)
            if alive is not None and entry is not None and entry.table is dead:
                alive._drop(key, entry)

        return weakref.ref(table, drop)

    def _fresh_lock(self) -> None:
        self._lock = RLock()


_stores: weakref.WeakSet[PreparedStore] = weakref.WeakSet()


def clear_all() -> None:
    """Drops everything that any backend has prepared."""
    for store in list(_stores):
        store.clear()


def _tensors(value: Any) -> list[Tensor]:
    return [part for part in vars(value).values() if isinstance(part, Tensor)]


def _nbytes(value: Any) -> int:
    return sum(part.nbytes for part in _tensors(value))


def side_stream(tensor: Tensor) -> torch.cuda.Stream | None:
    """The current stream of a tensor's device; None on the CPU, and for the default stream."""
    if not tensor.is_cuda:
        return None
    stream = torch.cuda.current_stream(tensor.device)
    return stream if stream.cuda_stream else None


def _capturing(stream: torch.cuda.Stream | None) -> bool:
    """Whether a CUDA graph is being captured, for which there must be a side stream."""
    return stream is not None and torch.cuda.is_current_stream_capturing()
