"""Everything that is timed on a problem: spuproj, its peers, and copying memory as the physical limit."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

from spuproj import Views, _cpu, backends
from spuproj.backends import cpu
from spuproj.backends.native import CODES
from spuproj.backends.taps import sampling_of
from spuproj.benchmarks.ops.cases import AS_CALLED, CALL_COST, KERNEL_SHARE, ON_GPU, Case, copied_bytes, writes_stack
from spuproj.benchmarks.ops.peers import EXACT, Peer, Sampler, as_it_is, serving
from spuproj.benchmarks.ops.truth import Problem, make_problem
from spuproj.ops.records import OPS
from spuproj.ops.run import run

# Names of contenders (the last is grid_sample on a small plane, to compare call costs), and forms of calls.
OURS, COPY, KERNEL, ONE_CALL = "spuproj", "copy", "kernel alone", "one grid_sample"
FRESH, BUFFERED, LAST = "new tensor", "out=", "channels_last out="
FIRST_CALL, WEIGHTED, BOTH_PASSES = "first call", "weights=", "both passes"
OP, OP_BUFFERED = "torch.ops.spuproj", "torch.ops.spuproj, out"
# Added to the name of a peer whose moments are elementwise operations.
ELEMENTWISE = ", elementwise moments"

_LARGE_PAGE = 2**21

Call = Callable[[], Any]
Results = Callable[[Any], tuple[Any, ...]]
Moments = Callable[[Any, Any], tuple[Any, Any, Any]]


@dataclass(frozen=True)
class Contender:
    """One call to be checked and timed.

    Attributes:
        name, form: the name (spuproj, a backend, a peer or a copy), and the way of calling if there are several.
        call: the timed function.
        results: converts what ``call`` returns to the op's results; None if it does not compute the op (a copy).
        near, threaded, on_host: see ``Peer``.
        parts: number of calls that the whole batch would need.
    """

    name: str
    form: str
    call: Call
    results: Results | None = None
    near: float = 0.0
    threaded: bool = True
    on_host: bool = False
    parts: float = 1.0


def contenders(problem: Problem) -> list[Contender]:
    """All contenders: ours, peers and copies, with everything that depends only on the points prepared."""
    case = problem.case
    ours = _on_backends(problem) if case.way == ON_GPU else [ours_as(form, problem) for form in our_forms(case)]
    if case.way == CALL_COST:
        alone = make_problem(replace(case, op="project", peers=("grid_sample",)))
        one_call = _peers_contender(serving(alone.case)[0], alone)
        return [*ours, replace(one_call, name=ONE_CALL, form="", results=None)]
    if case.way == KERNEL_SHARE:
        return [_kernel(problem, *ours), *ours, _op_alone(problem, *ours)]
    return [*ours, *_peers(problem), *_copies(problem)]


def _peers(problem: Problem) -> Iterator[Contender]:
    """The peers that take part. On a GPU, one that is not installed or cannot run there is named and left out."""
    case = problem.case
    for peer in serving(case):
        try:
            contender = _peers_contender(peer, problem)
            elementwise = _elementwise(peer, problem)
            if case.way == ON_GPU:
                contender.call()
        # Libraries raise errors of any kind, a compiler for example.
        except Exception as error:
            if case.way != ON_GPU:
                raise
            print(f"{peer.name} is left out of {case.label}: {reason_of(error)}", file=sys.stderr)
        else:
            yield contender
            yield from elementwise


def _elementwise(peer: Peer, problem: Problem) -> list[Contender]:
    """The same with other moments where it takes the library's own mean and var: these are the slower ones in torch."""
    if not _own_moments(problem):
        return []
    contender = _peers_contender(peer, problem, moments)
    return [replace(contender, name=f"{peer.name}{ELEMENTWISE}")]


def reason_of(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _peers_contender(peer: Peer, problem: Problem, take: Moments | None = None) -> Contender:
    """A peer's call for the problem's op; for a gradient on a GPU, both forward and backward pass."""
    case = problem.case
    few = problem.first(peer.samples, torch.device("cpu") if peer.on_host else problem.planes.device)
    sampler, both = peer.build(few), case.way == ON_GPU and case.backward
    work = _work(_with_moments(sampler, few, take) if case.forward_op == "reduce" else sampler, few, both)
    form, parts = f"{BOTH_PASSES}, {peer.form}" if both else peer.form, case.batch / few.case.batch
    return Contender(peer.name, form, *work, peer.near(max(case.size)), peer.threaded, peer.on_host, parts)


def our_forms(case: Case) -> tuple[str, ...]:
    """The ways of calling spuproj that are measured for a case."""
    if case.op == "reduce" and case.way == AS_CALLED:
        return (FRESH, WEIGHTED)
    if case.op != "project":
        return (FRESH,)
    if case.way:
        return {AS_CALLED: (FRESH,), CALL_COST: (FRESH, OP), KERNEL_SHARE: (BUFFERED,)}[case.way]
    return (FRESH, BUFFERED, *([] if case.large else [LAST] * (case.channels > 1) + [FIRST_CALL]))


def ours_as(form: str, problem: Problem) -> Contender:
    """spuproj's call, in one of its forms."""
    case, views, unseen = problem.case, problem.views, _unseen(problem.views)
    options: dict[str, Any] = {} if case.interpolation == "bilinear" else {"interpolation": case.interpolation}
    if form == BUFFERED:
        options["out"] = buffer(case.stack_shape, case.torch_dtype)
    if form == LAST:
        interleaved = (case.batch, case.views, *case.size, case.channels)
        options["out"] = buffer(interleaved, case.torch_dtype).movedim(-1, 2)
    if form == WEIGHTED:
        # Equal weights change no result, and take as long as any others.
        options["weights"] = torch.ones(case.views, *views.size)
    sample = {
        OP: lambda planes: torch.ops.spuproj.project(planes, views.geometry, views.view_size),
        FIRST_CALL: lambda planes: next(unseen).project(planes, **options),
    }.get(form, partial(getattr(views, case.forward_op), **options))
    return Contender(OURS, form, *_work((as_it_is, sample, as_it_is), problem), EXACT(max(case.size)))


def _unseen(views: Views) -> Iterator[Views]:
    """Endless copies of the views with slightly different radii, so that nothing is cached for them."""
    for step in count(1):
        moved = views.geometry.clone()
        moved[..., 2] *= 1 + step * 1e-14
        yield Views.from_table(moved, views.size, views.view_size)


def _kernel(problem: Problem, ours: Contender) -> Contender:
    """The compiled kernel with everything prepared. NaN in its buffer reveals pixels that it does not write."""
    image, code = problem.planes, CODES[torch.float32]
    stack: Tensor = ours.call().fill_(math.nan)
    # The cached taps of a whole call, so that both read the same memory.
    sampling = sampling_of(stack, image, "bilinear", inverse=False)
    taps = backends.load("cpu").prepared.get(problem.views.geometry, sampling, cpu.flat_taps)
    planes = image[:, None].expand_as(stack)
    source, target = ((each.stride(0), each.stride(1), each.stride(2), each.stride(4)) for each in (planes, stack))
    kernel = _cpu.project(code, code, stack.shape[:3], taps.native, source, target, 0.0)
    addresses = [image.data_ptr(), stack.data_ptr()]

    def call() -> Tensor:
        _cpu.run(kernel, addresses, 1)
        return stack

    return replace(ours, name=KERNEL, call=call)


def _op_alone(problem: Problem, ours: Contender) -> Contender:
    """The op below ``views.project``, into the same buffer."""
    image, geometry = problem.planes, problem.views.geometry
    stack: Tensor = ours.call()

    def call() -> Tensor:
        torch.ops.spuproj.project_out(image, geometry, stack)
        return stack

    return replace(ours, form=OP_BUFFERED, call=call)


def _on_backends(problem: Problem) -> list[Contender]:
    """Each backend that supports the device; for the gradient of project, also both passes as users call them."""
    device, near = problem.planes.device.type, EXACT(max(problem.case.size))
    names = [name for name, served in backends.DEVICES.items() if device in served and not backends.missing(name)]
    found = [Contender(name, "", _on_backend(name, problem), _as_tuple, near) for name in names]
    if problem.case.op == "project backward":
        work = _work((as_it_is, problem.views.project, as_it_is), problem, both=True)
        found.append(Contender(backends.choose(device)[0], BOTH_PASSES, *work, near))
    return found


def _on_backend(name: str, problem: Problem) -> Call:
    case, table, gradients, how = problem.case, problem.views.geometry, problem.gradients, problem.case.interpolation
    run_op = partial(run, backend=backends.load(name))
    if case.op == "reduce backward":
        mean, _, counts = run_op(OPS["unproject_reduce"], given=(problem.planes, table, case.size, how))
        given = (*gradients, problem.planes, table, mean, counts, how)
        return partial(run_op, OPS["unproject_reduce_backward"], given=given)
    op = "unproject_reduce" if case.op == "reduce" else case.forward_op + "_adjoint" * case.backward
    return partial(run_op, OPS[op], given=((gradients or (problem.planes,))[0], table, case.size, how))


def _as_tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def _work(sampler: Sampler, problem: Problem, both: bool = False) -> tuple[Call, Results]:
    """A call of the problem's op. A gradient's graph is built once, or at each call if both passes are timed."""
    prepare, sample, stack = sampler
    if not problem.case.backward:
        return partial(sample, prepare(problem.planes)), lambda result: _as_tuple(stack(result))
    leaf = problem.planes.detach().requires_grad_()
    gradients = problem.gradients if problem.case.forward_op == "reduce" else (prepare(problem.gradients[0]),)

    def forward() -> tuple[Tensor, ...]:
        return _as_tuple(sample(prepare(leaf)))[: len(gradients)]

    if both:
        return lambda: torch.autograd.grad(forward(), leaf, gradients), tuple
    return partial(torch.autograd.grad, forward(), leaf, gradients, retain_graph=True), tuple


def _own_moments(problem: Problem) -> bool:
    """Whether peers take their libraries' own mean and var, which know no invalid views."""
    return problem.case.op == "reduce" and problem.case.way == AS_CALLED and bool(problem.valid.all())


def _with_moments(sampler: Sampler, problem: Problem, take: Moments | None) -> Sampler:
    """The sampler, then mean, variance and count over the views: by ``take``, or as the case says."""
    prepare, sample, stack = sampler
    mask = problem.valid[:, :, None].float()
    valid = mask if isinstance(prepare(problem.planes), Tensor) else mask.numpy()
    found = take or (mean_and_var if _own_moments(problem) else moments)
    return prepare, lambda planes: found(stack(sample(planes)), valid), as_it_is


def moments(slices: Any, valid: Any) -> tuple[Any, Any, Any]:
    """Mean, population variance and count of ``[B, N, C, H, W]`` over its valid views, as a user would write them.

    ``valid`` is ``[B or 1, N, 1, H, W]``, one where a view shows a pixel; where it is zero, so are the slices.
    """
    count = valid.sum(1)
    divisor = count.clip(1, None)
    mean = slices.sum(1) / divisor
    return mean, ((slices - mean[:, None]) ** 2 * valid).sum(1) / divisor, count


def mean_and_var(slices: Any, valid: Any) -> tuple[Any, Any, Any]:
    """The moments if every view shows every pixel, by the library's own mean and var."""
    variance = slices.var(1, correction=0) if isinstance(slices, Tensor) else slices.var(1)
    return slices.mean(1), variance, valid.sum(1)


def _copies(problem: Problem) -> list[Contender]:
    """Copies of as many bytes: into a buffer (unless as called), and into a new tensor if the op makes a stack."""
    case = problem.case
    elements = [copied_bytes(case) // case.torch_dtype.itemsize]
    source, target = (buffer(elements, case.torch_dtype, problem.planes.device.type) for _ in range(2))
    if case.way == ON_GPU:
        # Like the planes: a GPU moves equal bytes at another speed.
        source.view(torch.uint8).random_(256)
    found = [] if case.way == AS_CALLED else [Contender(COPY, BUFFERED, partial(target.copy_, source))]
    return [*found, Contender(COPY, FRESH, source.clone)] if writes_stack(case) and case.way != ON_GPU else found


def buffer(shape: Sequence[int], dtype: torch.dtype, device: str = "cpu") -> Tensor:
    """Zeros; on the CPU in large pages if the system has them, like large results of spuproj and NumPy."""
    if device != "cpu" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(*shape, dtype=dtype, device=device)
    elements = math.prod(shape)
    length = -(-elements * dtype.itemsize // _LARGE_PAGE) * _LARGE_PAGE
    memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=elements).view(*shape).zero_()
