"""Everything that is timed on a GPU: each backend, its peers, and the copy that is the physical limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from spuproj import backends, functional
from spuproj.backends.base import Backend
from spuproj.benchmarks.cases import Case
from spuproj.benchmarks.layouts import LAYOUTS, grid_sampler
from spuproj.benchmarks.problems import Problem, filled, make_problem
from spuproj.benchmarks.tensor_peers import compiled_project
from spuproj.benchmarks.truth import Truth, make_truth
from spuproj.ops.records import OPS
from spuproj.ops.run import run

SAMPLES = 4
"""Samples of noise that a batch repeats, and whose results are compared with the reference."""

BOTH_PASSES = "both passes"

Results = tuple[Tensor, ...]


@dataclass(frozen=True)
class Placed:
    """A case's tensors on a device.

    Attributes:
        case: what is measured.
        truth: the right results of the first samples.
        table: the geometry.
        planes: what the op, or the op whose gradient it is, reads.
        gradients: of a backward op, the gradients of the forward op's results.
    """

    case: Case
    truth: Truth
    table: Tensor
    planes: Tensor
    gradients: Results

    @property
    def problem(self) -> Problem:
        """The same of the first samples, on the CPU."""
        return self.truth.problem


@dataclass(frozen=True)
class GpuContender:
    """One call to be checked and timed.

    Attributes:
        name: of the backend or the library.
        form: how it is called, where there are several ways.
        call: queues the work; returns the op's results, ``[B, ...]`` each.
        samples: of the batch that it works through; the time of slow ones is taken on few.
        near: how far off its points may be, in pixels. None for a copy, which has no results.
        on_host: whether it works on the CPU.
    """

    name: str
    form: str
    call: Callable[[], Results]
    samples: int
    near: float | None
    on_host: bool = False


def place(case: Case, device: str) -> Placed:
    """The tensors of a case on a device; the batch repeats a few samples of noise."""
    few = min(SAMPLES, case.batch)
    problem = make_problem(replace(case, batch=few))
    table = problem.views.geometry

    def spread(tensor: Tensor) -> Tensor:
        copies = -(-case.batch // few)
        return tensor.to(device).repeat(copies, *(1 for _ in tensor.shape[1:]))[: case.batch].contiguous()

    return Placed(
        case=case,
        truth=make_truth(problem),
        table=spread(table) if case.per_sample else table.to(device),
        planes=spread(problem.planes),
        gradients=tuple(map(spread, problem.gradients)),
    )


def contenders(placed: Placed) -> list[GpuContender]:
    """The backends that serve the device, the case's peers, and the copy."""
    case, device = placed.case, placed.planes.device.type
    kernels = [name for name in backends.DEVICES if device in backends.DEVICES[name] and backends.missing(name) is None]
    found = [_ours(placed, name) for name in kernels]
    if case.op == "project backward":
        found.append(_both_passes(placed))
    makers = {"grid_sample": _grid_sample, "torch.compile": _compiled, "cupyx": _cupy, "scipy, one CPU core": _scipy}
    for name in case.peers:
        found += makers[name](placed)
    return [*found, _copy(placed)]


def _ours(placed: Placed, name: str) -> GpuContender:
    backend, case = backends.load(name), placed.case
    call = _calls(backend, placed)[case.op]
    return GpuContender(name, "", lambda: _as_tuple(call()), case.batch, 1e-9 * max(case.size))


def _calls(backend: Backend, placed: Placed) -> dict[str, Callable[[], Any]]:
    case, table, planes, size = placed.case, placed.table, placed.planes, placed.case.size

    def on_backend(op: str, source: Tensor) -> Callable[[], Any]:
        return lambda: run(OPS[op], backend, (source, table, size, case.interpolation))

    def reduce_backward() -> Tensor:
        mean, _, count = moments
        given = (*placed.gradients, planes, table, mean, count, case.interpolation)
        return run(OPS["unproject_reduce_backward"], backend, given)

    moments = on_backend("unproject_reduce", planes)() if case.op == "reduce backward" else ()
    gradient = placed.gradients[0] if placed.gradients else planes
    return {
        "project": on_backend("project", planes),
        "project backward": on_backend("project_adjoint", gradient),
        "unproject": on_backend("unproject", planes),
        "unproject backward": on_backend("unproject_adjoint", gradient),
        "reduce": on_backend("unproject_reduce", planes),
        "reduce backward": reduce_backward,
    }


def _as_tuple(results: Any) -> Results:
    return results if isinstance(results, tuple) else (results,)


def _both_passes(placed: Placed) -> GpuContender:
    """``project`` and its gradient, through autograd, by the backend that a user gets."""
    leaf, size = placed.planes.detach().requires_grad_(), placed.case.size

    def call() -> Results:
        return torch.autograd.grad(functional.project(leaf, placed.table, size), leaf, placed.gradients)

    name, _ = backends.choose(leaf.device.type)
    return GpuContender(name, BOTH_PASSES, call, placed.case.batch, 1e-9 * max(size))


def _grid_sample(placed: Placed) -> list[GpuContender]:
    """In both layouts; of a gradient, both passes."""
    case, problem, device = placed.case, placed.problem, placed.planes.device
    found = []
    for form, make in LAYOUTS.items():
        if case.per_sample and form == "planes as channels":
            continue
        layout = make(case)
        copies = -(-case.batch // len(problem.y)) if case.per_sample else 1
        y, x = (
            layout.spread(torch.from_numpy(filled(axis)).repeat(copies, 1, 1, 1)[: case.batch]).to(device)
            for axis in (problem.y, problem.x)
        )
        read = grid_sampler(y, x, case)
        if case.op == "project":
            planes = layout.arrange(placed.planes)
            call = _reading(read, planes, layout.restore)
        else:
            call = _differentiating(read, placed, layout.arrange, layout.arrange(placed.gradients[0]))
            form = f"{BOTH_PASSES}, {form}"
        near = 8 * max(case.size) * torch.finfo(torch.float32).eps
        found.append(GpuContender("grid_sample", form, call, case.batch, near))
    return found


def _reading(
    read: Callable[[Tensor], Tensor], planes: Tensor, restore: Callable[[Tensor], Tensor]
) -> Callable[[], Results]:
    return lambda: (restore(read(planes)),)


def _differentiating(
    read: Callable[[Tensor], Tensor], placed: Placed, arrange: Callable[[Tensor], Tensor], gradient: Tensor
) -> Callable[[], Results]:
    leaf = placed.planes.detach().requires_grad_()
    return lambda: torch.autograd.grad(read(arrange(leaf)), leaf, gradient)


def _compiled(placed: Placed) -> list[GpuContender]:
    """The coordinates are part of what is compiled, and computed at every call."""
    case, project = placed.case, compiled_project(placed.case)

    def call() -> Results:
        return (project(placed.planes, placed.table),)

    return [GpuContender("torch.compile", "", call, case.batch, 1e-9 * max(case.size))]


def _scipy(placed: Placed) -> list[GpuContender]:
    """One sample on one core of the CPU."""
    case, problem = placed.case, placed.problem
    planes, result = problem.planes[:1].numpy(), np.zeros((1, *case.stack_shape[1:]), np.float32)
    points = np.stack([filled(problem.y), filled(problem.x)], axis=2)[0]

    def call() -> Results:
        for n, c in np.ndindex(case.views, case.channels):
            ndimage.map_coordinates(planes[0, c], points[n], output=result[0, n, c], order=1, prefilter=False)
        return (torch.from_numpy(result),)

    return [GpuContender("scipy, one CPU core", "", call, 1, 1e-9 * max(case.size), on_host=True)]


def _cupy(placed: Placed) -> list[GpuContender]:
    """A few samples, one call for each plane of each view."""
    if placed.planes.device.type != "cuda" or find_spec("cupy") is None:
        return []
    import cupy
    from cupyx.scipy.ndimage import map_coordinates

    case, problem, few = placed.case, placed.problem, min(SAMPLES, placed.case.batch)
    planes, result = cupy.asarray(placed.planes[:few]), cupy.zeros((few, *case.stack_shape[1:]), cupy.float32)
    points = cupy.asarray(np.stack([filled(problem.y), filled(problem.x)], axis=2)[0])

    def call() -> Results:
        with cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
            for b, n, c in np.ndindex(few, case.views, case.channels):
                map_coordinates(planes[b, c], points[n], output=result[b, n, c], order=1, prefilter=False)
        return (torch.as_tensor(result, device="cuda"),)

    return [GpuContender("cupyx", "", call, few, 1e-9 * max(case.size))]


def _copy(placed: Placed) -> GpuContender:
    """Of as many bytes as the stack has, which the op writes or reads."""
    case = placed.case
    source = torch.ones(case.stack_shape, dtype=case.torch_dtype, device=placed.planes.device)
    target = torch.empty_like(source)
    return GpuContender("copy", "", lambda: (target.copy_(source),), case.batch, None)
