"""Registers every op with torch from its record: kernels, fake kernel, gradient, vmap and autocast.

Each op with a gradient has a twin without one, ``<name>_no_grad``, for calls of which no gradient is recorded: what
torch does for an op with a gradient takes longer than all else of a small call.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from spuproj.backends import backend_for
from spuproj.backends.base import returned
from spuproj.backends.taps import sampling_of
from spuproj.ops.geometry_gradient import geometry_gradient
from spuproj.ops.record import Op
from spuproj.ops.records import OPS
from spuproj.ops.run import run

LIBRARY = torch.library.Library("spuproj", "DEF")

NO_GRAD = "_no_grad"


def _kernel(op: Op) -> Callable[..., Any]:
    """The op's kernel, of the backend for the device of the first tensor."""
    return lambda *given: run(op, backend_for(given[0].device), given)


def _writing_kernel(op: Op) -> Callable[..., Any]:
    """The same for an op that writes into its third argument."""
    run_op = _kernel(op)

    def kernel(*given: Any) -> Any:
        run_op(*given)
        out = given[2]
        if not out.is_inference():
            # Autograd then raises an error if the old contents were saved for a backward pass.
            torch.autograd.graph.increment_version(out)

    return kernel


def _records_gradient(given: tuple[Any, ...], tensors: tuple[int, ...]) -> bool:
    """Whether a gradient would be recorded of a call; ``tensors``: the positions of its tensors, which may be None."""
    for at in tensors:
        if at < len(given) and given[at] is not None and given[at].requires_grad:
            return torch.is_grad_enabled()
    return False


def _kernel_without_gradient(name: str, op: Op) -> Callable[..., Any]:
    """The same for the op's twin. It refuses what wants a gradient, which would be lost in silence."""
    run_op, tensors = _kernel(op), tuple(op.tensors)

    def kernel(*given: Any) -> Any:
        if _records_gradient(given, tensors):
            raise RuntimeError(f"spuproj::{name}{NO_GRAD} has no gradient; call spuproj::{name} where one is recorded")
        return run_op(*given)

    return kernel


def _fake(op: Op) -> Callable[..., Any]:
    """The op's fake kernel: checks the arguments and allocates results without computing values."""

    def fake(*given: Any) -> Any:
        call = op.call(given)
        op.check(call)
        return returned([result.empty(given[0].device) for result in op.allocate(call)])

    return fake


def _transposed(op: Op, partner: str) -> tuple[Callable[..., None], Callable[..., Any]]:
    """Autograd functions of a linear op: its gradient is the adjoint op, called with the options that both ops have.

    The geometry's gradient is that of the inner product of the op's result and the gradient it gets. The adjoint of an
    op has the same product, with the roles of source and gradient exchanged.
    """
    shared = [name for name in list(OPS[partner].arguments)[3:] if name in op.arguments]
    reads = partner.endswith("_adjoint")

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        source, call = inputs[0], op.call(inputs)
        ctx.save_for_backward(call.geometry, source if ctx.needs_input_grad[op.geometry_at] else None)
        ctx.size, ctx.dtype = tuple(source.shape[-2:]), source.dtype
        ctx.options = [getattr(call, name) for name in shared]

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        geometry, source = ctx.saved_tensors
        # In the wider dtype: a sum over views may be finite in the source's dtype where its terms are not.
        wide = torch.promote_types(grad.dtype, ctx.dtype)
        grad = grad.to(wide)
        found: list[Tensor | None] = [None] * len(op.arguments)
        if ctx.needs_input_grad[0]:
            found[0] = getattr(torch.ops.spuproj, partner)(grad, geometry, ctx.size, *ctx.options).to(ctx.dtype)
        if ctx.needs_input_grad[op.geometry_at]:
            read, grads = (source.to(wide), grad) if reads else (grad, source.to(wide))
            options = dict(zip(shared, ctx.options, strict=True))
            sampling = sampling_of(grads, read, **options, inverse=read.dim() == 5)
            found[op.geometry_at] = geometry_gradient(read, grads, geometry, sampling)
        return tuple(found)

    return setup, backward


def _to_front(tensor: Tensor, dim: int | None, batch: int) -> Tensor:
    """Moves the vmapped axis to the front; expands a tensor without one."""
    return tensor.unsqueeze(0).expand(batch, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _fold_shared(tensor: Tensor | None, dim: int | None, mapped: int, samples: int, axes: int) -> Tensor | None:
    """A tensor that the batch may share, such as the geometry, with the vmapped axis folded into that of the batch."""
    if tensor is None or (dim is None and tensor.dim() == axes):
        return tensor
    front = _to_front(tensor, dim, mapped)
    if front.dim() == axes + 1:
        front = front.unsqueeze(1).expand(-1, samples, *front.shape[1:])
    return front.flatten(0, 1)


def _vmap_rule(name: str, op: Op) -> Callable[..., tuple[Any, Any]]:
    """vmap by folding the mapped axis into the batch axis of tensors, and of geometry and weights per sample."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        folded = list(args)
        samples = _to_front(args[0], in_dims[0], info.batch_size).shape[1]
        for at, axes in op.tensors.items():
            if axes and at < len(args):
                folded[at] = _fold_shared(args[at], in_dims[at], info.batch_size, samples, axes)
            elif not axes:
                folded[at] = _to_front(args[at], in_dims[at], info.batch_size).flatten(0, 1)
        result = getattr(torch.ops.spuproj, name)(*folded)
        if isinstance(result, Tensor):
            return result.unflatten(0, (info.batch_size, samples)), 0
        return tuple(part.unflatten(0, (info.batch_size, samples)) for part in result), (0,) * len(result)

    return rule


def _define(name: str, op: Op, kernel: Callable[..., Any]) -> None:
    LIBRARY.define(name + op.schema, tags=(torch.Tag.pt2_compliant_tag,))
    for key in ("CompositeExplicitAutograd", "CPU", "CUDA"):
        LIBRARY.impl(name, kernel, key)
    torch.library.register_fake(f"spuproj::{name}", _fake(op), lib=LIBRARY)


def _register(name: str, op: Op) -> None:
    _define(name, op, _writing_kernel(op) if "out" in op.arguments else _kernel(op))
    if op.adjoint is None:
        return
    setup, backward = _transposed(op, op.adjoint) if isinstance(op.adjoint, str) else op.adjoint
    torch.library.register_autograd(f"spuproj::{name}", backward, setup_context=setup, lib=LIBRARY)
    _define(name + NO_GRAD, op, _kernel_without_gradient(name, op))
    for qualified in (f"spuproj::{name}", f"spuproj::{name}{NO_GRAD}"):
        # The rule calls the op itself: what vmap has wrapped may want a gradient that its wrapper does not show.
        torch.library.register_vmap(qualified, _vmap_rule(name, op), lib=LIBRARY)
        for device in ("cpu", "cuda"):
            torch.library.register_autocast(qualified, device, torch.float32, lib=LIBRARY)


for _name, _op in OPS.items():
    _register(_name, _op)
