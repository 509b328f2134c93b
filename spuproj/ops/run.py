"""How an op runs: as a call like one before, or checked, allocated and handed to its backend."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spuproj.backends.base import Backend, KeptCall
from spuproj.ops.record import Op


def run(op: Op, backend: Backend, given: tuple[Any, ...]) -> Any:
    """Makes a call of an op on a backend."""
    results = backend.again(op, op.geometry_at, given)
    return _run_first(op, backend, given) if results is NotImplemented else results


def _run_first(op: Op, backend: Backend, given: tuple[Any, ...]) -> Any:
    """Checks a call, makes it, and lets the backend keep it for calls like it."""
    call, source = op.call(given), given[0]
    op.check(call)
    results = [backend.empty(result, source.device) for result in op.allocate(call)]
    written = results or [call.out]
    if source.numel() == 0 or written[0].numel() == 0:
        for tensor in written:
            tensor.fill_(getattr(call, "fill", 0))
        return returned(results)
    launch = op.run(backend, call, *results)
    if launch is not None:
        backend.keep(op, op.geometry_at, given, KeptCall(op.tensors, results, launch))
    return returned(results)


def returned(results: list[Tensor]) -> Any:
    """What an op returns: nothing, its only result, or all of them."""
    return tuple(results) if len(results) > 1 else results[0] if results else None
