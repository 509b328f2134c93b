"""What has been prepared for a geometry: its taps, their transposes, and calls that can be made again.

It is found by the geometry's table, bounded in bytes, and dropped with the table.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields
from threading import RLock
from typing import Any, TypeVar

import torch
from torch import Tensor

from spuproj.backends.taps import Sampling

Value = TypeVar("Value")
Make = Callable[[Tensor, Sampling], Value]


@dataclass
class Prepared:
    """What there is for one table.

    Attributes:
        table: the table, as long as it lives.
        unchanged: whether the table still holds the numbers that all this was made of.
        values: taps and transposes, by how they sample and what made them.
        calls: what can be called again.
        nbytes: of the values' tensors.
        made: on a GPU, when the last value was queued.
    """

    table: weakref.ref[Tensor]
    unchanged: Callable[[Tensor], bool]
    values: dict[Hashable, Any] = field(default_factory=dict)
    calls: Any = None
    nbytes: int = 0
    made: torch.cuda.Event | None = None


class PreparedStore:
    """What a backend has prepared, for all tables.

    On a GPU values are made to be kept on the default stream alone: other streams use what is there, or make their own
    for one call; a graph that is captured makes its own, from the table that it finds at each replay.
    """

    def __init__(self, limit: int, calls_of: Callable[[Tensor], Any] = lambda table: None) -> None:
        self.limit, self._calls_of = limit, calls_of
        self._tables: dict[int, Prepared] = {}
        # A table may die, and be dropped, wherever Python frees memory: also while its thread holds the lock.
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._fresh_lock)

    def __len__(self) -> int:
        return len(self._tables)

    def find(self, table: Tensor) -> Prepared | None:
        """What there is for a table; None where there is nothing, or the table has changed."""
        prepared = self._tables.get(id(table))
        if prepared is None or prepared.table() is not table or not prepared.unchanged(table):
            return None
        return prepared

    def get(self, table: Tensor, sampling: Sampling, make: Make[Value]) -> Value:
        """``make(table, sampling)``, or what it made before; ready for the current stream."""
        if not _keepable(table):
            return make(table, sampling)
        prepared = self.find(table)
        key = (sampling, make)
        if prepared is None or key not in prepared.values:
            value = make(table, sampling)
            if _on_default_stream(table):
                self._keep(table, prepared, key, value)
            return value
        kept: Value = prepared.values[key]
        _make_ready(prepared, kept, table)
        return kept

    def _keep(self, table: Tensor, prepared: Prepared | None, key: Hashable, value: Any) -> None:
        """Keeps a value that is within the limit by itself, and drops the tables that were prepared longest ago."""
        nbytes = sum(part.nbytes for part in _tensors(value))
        if nbytes > self.limit:
            return
        with self._lock:
            if prepared is None:
                self._tables.pop(id(table), None)
                prepared = Prepared(self._dropping(table), unchanged_since(table), calls=self._calls_of(table))
                self._tables[id(table)] = prepared
            prepared.values[key] = value
            prepared.nbytes += nbytes
            if table.is_cuda:
                prepared.made = torch.cuda.current_stream(table.device).record_event()
            while sum(each.nbytes for each in list(self._tables.values())) > self.limit:
                del self._tables[next(iter(self._tables))]

    def _dropping(self, table: Tensor) -> weakref.ref[Tensor]:
        """A reference to a table with which its entry is dropped."""
        key, store = id(table), weakref.ref(self)

        def drop(dead: weakref.ref[Tensor]) -> None:
            alive = store()
            if alive is not None:
                with alive._lock:
                    if key in alive._tables and alive._tables[key].table is dead:
                        del alive._tables[key]

        return weakref.ref(table, drop)

    def _fresh_lock(self) -> None:
        self._lock = RLock()


def _tensors(value: Any) -> list[Tensor]:
    parts = [getattr(value, each.name) for each in fields(value)]
    return [part for part in parts if isinstance(part, Tensor)]


def _keepable(table: Tensor) -> bool:
    """Whether a change of the table would be noticed, and memory may be kept."""
    return not table.is_cuda or not (table.is_inference() or torch.cuda.is_current_stream_capturing())


def _on_default_stream(table: Tensor) -> bool:
    if not table.is_cuda:
        return True
    return torch.cuda.current_stream(table.device) == torch.cuda.default_stream(table.device)


def _make_ready(prepared: Prepared, value: Any, table: Tensor) -> None:
    """Lets the current stream wait for the default one, which made the value, and keeps its memory until it is read."""
    if prepared.made is None or _on_default_stream(table):
        return
    stream = torch.cuda.current_stream(table.device)
    stream.wait_event(prepared.made)
    for part in _tensors(value):
        part.record_stream(stream)


def unchanged_since(table: Tensor) -> Callable[[Tensor], bool]:
    """What tells later whether a table holds the numbers that it holds now.

    On the CPU the numbers are compared. On a GPU, where that would make the host wait, autograd tells whether the table
    has been written to.
    """
    if table.is_cuda:
        seen = witness(table)
        return lambda _: unwritten(seen)
    numbers, dtype, device = table.detach().clone(), table.dtype, table.device
    return lambda now: (now.dtype, now.device) == (dtype, device) and torch.equal(now, numbers)


class _Witness(torch.autograd.Function):
    """Saves a tensor; autograd refuses to give it back once it has been written to."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(table)
        return anchor.clone()


def witness(table: Tensor) -> Any:
    """What ``unwritten`` tells a table's later changes by."""
    # Within an op autograd is off; here it is needed, so that the alias shares the table's record of writes.
    with torch.inference_mode(False), torch.enable_grad():
        anchor = torch.zeros((), requires_grad=True, device="cpu")
        return _Witness.apply(anchor, table.detach()).grad_fn  # type: ignore[no-untyped-call]


def unwritten(seen: Any) -> bool:
    """Whether the table of a ``witness`` has not been written to."""
    try:
        return len(seen.saved_tensors) == 1
    except RuntimeError:
        return False
