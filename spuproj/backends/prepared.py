"""Caches data that depends only on a geometry and on sizes: taps, their transposes, and calls that can be repeated.

Entries are found by the geometry's table, limited in bytes, and dropped when the table is freed.
"""

import os
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, TypeVar

import torch
from torch import Tensor

from spuproj.backends.taps import Sampling

Value = TypeVar("Value")
Make = Callable[[Tensor, Sampling], Value]


@dataclass
class Prepared:
    """The cache entry of one geometry table.

    Attributes:
        table: weak reference to the table.
        unchanged: tells whether the table still has the values for which the entry was made.
        values: taps and transposes, by sampling and by the function that made them.
        calls: calls that can be repeated, as the backend keeps them; None before the first.
        nbytes: size of the tensors in ``values``.
        made: on a GPU, the event recorded after the kernels that computed the last value.
    """

    table: weakref.ref[Tensor]
    unchanged: Callable[[Tensor], bool]
    values: dict[Hashable, Any] = field(default_factory=dict)
    calls: Any = None
    nbytes: int = 0
    made: torch.cuda.Event | None = None


class PreparedStore:
    """The cache of one backend, with an entry per geometry table.

    On a GPU, only values computed on the default stream are kept. Other streams use these, or compute their own for
    one call. A CUDA graph computes its taps at each replay, from the table's values at that time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tables: dict[int, Prepared] = {}
        # Re-entrant: a table may be freed, and its entry dropped, in a thread that already holds the lock.
        self._lock = RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._fresh_lock)

    def __len__(self) -> int:
        return len(self._tables)

    def find(self, table: Tensor) -> Prepared | None:
        """The entry of a table; None if there is none or the table's values have changed."""
        prepared = self._tables.get(id(table))
        if prepared is None or prepared.table() is not table or not prepared.unchanged(table):
            return None
        return prepared

    def get(self, table: Tensor, sampling: Sampling, make: Make[Value]) -> Value:
        """The cached ``make(table, sampling)``, safe to use on the current stream."""
        # Later writes to the table must be detectable, and memory cannot be cached while a graph is captured.
        if table.is_cuda and (table.is_inference() or torch.cuda.is_current_stream_capturing()):
            return make(table, sampling)
        prepared = self.find(table)
        key = (sampling, make)
        if prepared is None or key not in prepared.values:
            value = make(table, sampling)
            if _on_default_stream(table):
                self._keep(table, prepared, key, value)
            return value
        kept: Value = prepared.values[key]
        if prepared.made is not None and not _on_default_stream(table):
            # The current stream waits for the value, and its memory is kept until this stream has read it.
            stream = torch.cuda.current_stream(table.device)
            stream.wait_event(prepared.made)
            for part in _tensors(kept):
                part.record_stream(stream)
        return kept

    def _keep(self, table: Tensor, prepared: Prepared | None, key: Hashable, value: Any) -> None:
        """Caches a value that does not exceed the limit by itself; then drops the oldest entries beyond the limit."""
        nbytes = sum(part.nbytes for part in _tensors(value))
        if nbytes > self.limit:
            return
        with self._lock:
            if prepared is None:
                self._tables.pop(id(table), None)
                prepared = self._tables[id(table)] = Prepared(self._dropping(table), unchanged_since(table))
            prepared.values[key] = value
            prepared.nbytes += nbytes
            if table.is_cuda:
                prepared.made = torch.cuda.current_stream(table.device).record_event()
            while sum(each.nbytes for each in list(self._tables.values())) > self.limit:
                del self._tables[next(iter(self._tables))]

    def _dropping(self, table: Tensor) -> weakref.ref[Tensor]:
        """A weak reference that drops the table's entry when the table is freed."""
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
    return [part for part in vars(value).values() if isinstance(part, Tensor)]


def _on_default_stream(table: Tensor) -> bool:
    if not table.is_cuda:
        return True
    return torch.cuda.current_stream(table.device) == torch.cuda.default_stream(table.device)


def unchanged_since(table: Tensor) -> Callable[[Tensor], bool]:
    """Returns a function that tells whether a table still has its present values.

    On the CPU it compares them. On a GPU a comparison would wait for the device, so it relies on autograd, which counts
    writes to a tensor.
    """
    if table.is_cuda:
        seen = witness(table)
        return lambda _: unwritten(seen)
    numbers, dtype, device = table.detach().clone(), table.dtype, table.device
    return lambda now: (now.dtype, now.device) == (dtype, device) and torch.equal(now, numbers)


class _Witness(torch.autograd.Function):
    """Saves a tensor for backward; autograd raises on access if the tensor was written to since."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(table)
        return anchor.clone()


def witness(table: Tensor) -> Any:
    """A graph node that has saved the table, for ``unwritten``."""
    # Ops run with autograd off; the node needs it on. The detached alias shares the table's version counter.
    with torch.inference_mode(False), torch.enable_grad():
        anchor = torch.zeros((), requires_grad=True, device="cpu")
        return _Witness.apply(anchor, table.detach()).grad_fn  # type: ignore[no-untyped-call]


def unwritten(seen: Any) -> bool:
    """Whether the table of a ``witness`` has not been written to since."""
    try:
        return len(seen.saved_tensors) == 1
    except RuntimeError:
        return False
