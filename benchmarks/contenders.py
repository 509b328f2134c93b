"""Everything that is timed on a problem: spuproj, its peers, and the copy that is the physical limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor

from spuproj import Views
from spuproj.benchmarks.array_peers import ARRAY_PEERS
from spuproj.benchmarks.buffers import buffer, interleaved_stack, planar_stack
from spuproj.benchmarks.cases import AS_CALLED, CALL_COST, KERNEL_SHARE, Case, copied_bytes, writes_stack
from spuproj.benchmarks.kernel_time import kernel_call
from spuproj.benchmarks.problems import Problem, make_problem
from spuproj.benchmarks.samplers import Peer, Sampler
from spuproj.benchmarks.tensor_peers import TENSOR_PEERS
from spuproj.benchmarks.timing import Call

OURS = "spuproj"
COPY = "copy"
FRESH = "new tensor"
BUFFERED = "out="
LAST = "channels_last out="
FIRST_CALL = "first call"
OP = "torch.ops.spuproj"
KERNEL = "kernel alone"
ONE_CALL = "one grid_sample"
"""What the cost of a call is compared with: one call on as small a plane."""

_PEERS = (*ARRAY_PEERS, *TENSOR_PEERS)

Results = Callable[[Any], tuple[Any, ...]]


@dataclass(frozen=True)
class Contender:
    """One call to be checked and timed.

    Attributes:
        name: ``OURS``, ``KERNEL``, ``COPY``, ``ONE_CALL`` or a peer's name.
        form: how it is called, where there are several ways.
        call: does the work.
        results: takes what ``call`` returns to the op's results, in the order of the reference. None where it does
            not do the op's work: for a copy and for one call.
        near: a point this close to half way between two pixels may be read from either, in pixels.
        tolerance: the largest difference from the reference that is put down to rounding, over the largest value.
        threaded: whether it uses more than one thread.
    """

    name: str
    form: str
    call: Call
    results: Results | None = None
    near: float = 0.0
    tolerance: float = 0.0
    threaded: bool = True


def serving(case: Case) -> list[Peer]:
    """The peers that take part in a case."""
    return [peer for peer in _PEERS if peer.name in case.peers and peer.serves(case)]


def contenders(problem: Problem) -> list[Contender]:
    """Ours, the peers' and the copies; whatever depends on the points alone is prepared."""
    case, ours = problem.case, our_contenders(problem)
    if case.way == CALL_COST:
        return [*ours, _one_call(case)]
    if case.way == KERNEL_SHARE:
        return [_kernel(problem, *ours), *ours]
    peers = [peer_contender(peer, problem) for peer in serving(case)]
    return [*ours, *peers, *_copies(case)]


def peer_contender(peer: Peer, problem: Problem) -> Contender:
    """A peer's call for the problem's op."""
    near = peer.coordinate_error(max(problem.case.size))
    return Contender(
        peer.name,
        peer.form,
        *_work(peer.make(problem), problem),
        near=near,
        tolerance=_tolerance(problem.case, near),
        threaded=peer.threaded,
    )


def our_forms(case: Case) -> tuple[str, ...]:
    """The ways to call ours that a case is measured in."""
    if case.op != "project" or case.way == AS_CALLED:
        return (FRESH,)
    if case.way == CALL_COST:
        return (FRESH, OP)
    if case.way == KERNEL_SHARE:
        return (BUFFERED,)
    if case.large:
        return (FRESH, BUFFERED)
    return (FRESH, BUFFERED, LAST, FIRST_CALL) if case.channels > 1 else (FRESH, BUFFERED, FIRST_CALL)


def our_contenders(problem: Problem) -> list[Contender]:
    """Ours, in all its forms."""
    return [_our_contender(problem, form) for form in our_forms(problem.case)]


def _our_contender(problem: Problem, form: str) -> Contender:
    case = problem.case
    reduces = case.forward_op == "reduce"
    work = _our_reduce(problem) if reduces else _work(_our_sampler(problem, form), problem)
    near = 1e-9 * max(case.size)
    return Contender(OURS, form, *work, near, _tolerance(case, near))


def _our_sampler(problem: Problem, form: str) -> Sampler:
    case, views = problem.case, problem.views
    op = views.project if case.forward_op == "project" else views.unproject
    options: dict[str, Any] = {} if case.interpolation == "bilinear" else {"interpolation": case.interpolation}
    if form in _BUFFERS:
        options["out"] = _BUFFERS[form](case)
    unseen = _unseen(views)
    sample = {
        OP: lambda planes: torch.ops.spuproj.project(planes, views.geometry, views.view_size),
        FIRST_CALL: lambda planes: next(unseen).project(planes, **options),
    }.get(form, lambda planes: op(planes, **options))
    return Sampler(lambda planes: planes, sample, lambda stack: stack)


_BUFFERS: dict[str, Callable[[Case], Tensor]] = {
    BUFFERED: planar_stack,
    LAST: lambda case: interleaved_stack(case).movedim(-1, 2),
}


def _unseen(views: Views) -> Iterator[Views]:
    """The views with radii that differ in their last digits, never twice the same."""
    for step in count(1):
        moved = views.geometry.clone()
        moved[..., 2] *= 1 + step * 1e-14
        yield Views.from_table(moved, views.size, views.view_size)


def _our_reduce(problem: Problem) -> tuple[Call, Results]:
    if not problem.case.backward:
        return lambda: problem.views.reduce(problem.planes), tuple
    leaf = problem.planes.clone().requires_grad_()
    mean, variance, _ = problem.views.reduce(leaf)
    return _gradient((mean, variance), leaf, problem.gradients), tuple


def _work(sampler: Sampler, problem: Problem) -> tuple[Call, Results]:
    """The call that does the problem's op with a sampler, and the op's results of what it returns."""
    case = problem.case
    if case.backward:
        return _backward(sampler, problem), tuple
    planes = sampler.prepare(problem.planes)
    if case.op == "reduce":
        valid = _valid_like(sampler.stack(sampler.sample(planes)), problem)
        take = mean_and_var if case.way == AS_CALLED and problem.valid.all() else moments
        return lambda: take(sampler.stack(sampler.sample(planes)), valid), tuple
    return lambda: sampler.sample(planes), lambda result: (sampler.stack(result),)


def _backward(sampler: Sampler, problem: Problem) -> Call:
    """The gradient through a graph that is built once, from gradients in the sampler's own layout."""
    leaf = problem.planes.clone().requires_grad_()
    result = sampler.sample(sampler.prepare(leaf))
    if problem.case.forward_op != "reduce":
        return _gradient((result,), leaf, (sampler.prepare(problem.gradients[0]),))
    slices = sampler.stack(result)
    mean, variance, _ = moments(slices, _valid_like(slices, problem))
    return _gradient((mean, variance), leaf, problem.gradients)


def _gradient(results: tuple[Tensor, ...], leaf: Tensor, gradients: tuple[Tensor, ...]) -> Call:
    return lambda: torch.autograd.grad(results, leaf, gradients, retain_graph=True)


def moments(slices: Any, valid: Any) -> tuple[Any, Any, Any]:
    """Mean, population variance and count over the valid views, as a user would write them.

    Args:
        slices: ``[B, N, C, H, W]`` array or tensor, zero where not valid.
        valid: ``[B or 1, N, 1, H, W]`` likewise, one where a view shows the pixel, else zero.

    Returns:
        mean and variance ``[B, C, H, W]``, count ``[B or 1, 1, H, W]``.
    """
    count = valid.sum(1)
    divisor = count.clip(1, None)
    mean = slices.sum(1) / divisor
    variance = ((slices - mean[:, None]) ** 2 * valid).sum(1) / divisor
    return mean, variance, count


def mean_and_var(slices: Any, valid: Any) -> tuple[Any, Any, Any]:
    """The same where every view shows every pixel, by the library's own mean and var."""
    variance = slices.var(1, correction=0) if isinstance(slices, Tensor) else slices.var(1)
    return slices.mean(1), variance, valid.sum(1)


def _valid_like(slices: Any, problem: Problem) -> Any:
    """``[B or 1, N, 1, H, W]`` ones and zeros, an array or a tensor as the slices are."""
    valid = problem.valid[:, :, None].astype("float32")
    return torch.from_numpy(valid) if isinstance(slices, Tensor) else valid


def _tolerance(case: Case, near: float) -> float:
    """Points off by ``near`` pixels, between neighbours that differ by up to twice the largest value, and rounding."""
    return 0.0 if case.interpolation == "nearest" else 16 * (near + torch.finfo(case.torch_dtype).eps)


def _one_call(case: Case) -> Contender:
    """One call of grid_sample that projects as small a plane."""
    peer = next(peer for peer in TENSOR_PEERS if peer.name == "grid_sample")
    alone = make_problem(replace(case, op="project"))
    return replace(peer_contender(peer, alone), name=ONE_CALL, form="", results=None)


def _kernel(problem: Problem, ours: Contender) -> Contender:
    """Ours without all that leads to its kernel, into the same buffer: checked first, before ours has filled it."""
    return replace(ours, name=KERNEL, call=kernel_call(problem, ours.call().fill_(float("nan"))))


def _copies(case: Case) -> list[Contender]:
    """Copying as many bytes into a buffer and, where the op writes a stack, into a new tensor.

    Calls as users make them are compared with a new tensor only.
    """
    source, target = (buffer([copied_bytes(case) // case.torch_dtype.itemsize], case.torch_dtype) for _ in range(2))
    into_buffer = Contender(COPY, BUFFERED, lambda: target.copy_(source))
    return [into_buffer] * (case.way != AS_CALLED) + [Contender(COPY, FRESH, source.clone)] * writes_stack(case)
