"""Runs an op: repeats an earlier call if only tensor values differ, else checks, allocates and calls the backend."""

from typing import Any

from spuproj.backends.base import Backend, returned
from spuproj.inputs import fitted
from spuproj.ops.record import Op


def run(op: Op, backend: Backend, given: tuple[Any, ...]) -> Any:
    """The results of one call of an op on a backend."""
    repeated = backend.repeat(op, op.geometry_at, given)
    if repeated is not NotImplemented:
        return repeated
    call, source = op.call(given), given[0]
    op.check(call)
    results = [backend.empty(result, source.device) for result in op.allocate(call)]
    written = results or [call.out]
    if source.numel() == 0 or written[0].numel() == 0:
        for tensor in written:
            tensor.fill_(fitted(getattr(call, "fill", 0), tensor.dtype))
        return returned(results)
    launch = op.run(backend, call, *results)
    if launch is not None:
        backend.keep(op, op.geometry_at, given, results, launch)
    return returned(results)
