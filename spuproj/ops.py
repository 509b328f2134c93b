"""The registered ops ``torch.ops.spuproj.*``, one record each.

An op is its schema, its check, the results that it allocates, the method of a backend that fills them, and its
gradient; kernel, fake, autograd, vmap and autocast follow from the record. ``project`` and ``project_adjoint`` are
transposes of each other, and so are ``unproject`` and ``unproject_adjoint``; each differentiates into its partner.

The geometry is a float64 table (``spuproj.geometry.Geometry.table``) without gradient, ``[N, 19]`` shared by the batch
or ``[B, N, 19]`` per sample. Arithmetic is in float32, or float64 for float64. Under autocast the ops take float32, as
``torch.nn.functional.grid_sample`` does.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from spuproj.backends import backend_for
from spuproj.backends.base import Backend, KeptCall, Launch
from spuproj.backends.taps import Sampling, sampling_of
from spuproj.checks import choice
from spuproj.geometry import COLUMNS
from spuproj.result import Result

INTERPOLATIONS = ("bilinear", "nearest")
PADDINGS = ("constant", "border")
MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)
FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGRAL = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
LIBRARY = torch.library.Library("spuproj", "DEF")

Call = Any
"""The arguments of one call, by name."""


@dataclass(frozen=True, eq=False)
class Op:
    """What is to be known of an op.

    Attributes:
        schema: without the name. The first argument is a tensor, whose device serves the call.
        check: raises ValueError or TypeError, naming the argument, for what no backend could serve.
        allocate: the results of a call that has passed the check.
        run: calls the backend's kernel, which writes into the results.
        adjoint: of a linear op, the name of its transpose; else ``(setup_context, backward)`` as
            ``torch.library.register_autograd`` takes them. None has no gradient.
    """

    schema: str
    check: Callable[[Call], None]
    allocate: Callable[[Call], Sequence[Result]]
    run: Callable[..., Launch | None]
    adjoint: str | tuple[Callable[..., None], Callable[..., Any]] | None = None

    @cached_property
    def arguments(self) -> dict[str, tuple[bool, Any]]:
        """Names of the arguments, whether each is a tensor, and its default."""
        found = re.findall(r"(\w+)\S* (\w+)(?:=([^,)]+))?[,)]", self.schema.split(" -> ")[0])
        return {name: (kind == "Tensor", ast.literal_eval(given or "None")) for kind, name, given in found}

    @cached_property
    def geometry_at(self) -> int:
        """Position of the geometry among the arguments."""
        return list(self.arguments).index("geometry")

    @cached_property
    def tensors(self) -> tuple[int, ...]:
        """Positions of the other tensors."""
        is_tensor = [tensor for tensor, _ in self.arguments.values()]
        return tuple(at for at, tensor in enumerate(is_tensor) if tensor and at != self.geometry_at)

    def call(self, given: Sequence[Any]) -> Call:
        """Arguments by name; those that are left out have their defaults."""
        left_out = [default for _, default in list(self.arguments.values())[len(given) :]]
        return SimpleNamespace(**dict(zip(self.arguments, (*given, *left_out), strict=True)))


def check_apart(image: Tensor, out: Tensor) -> None:
    """Raises ValueError where a result would be written over what is read."""
    if out.untyped_storage().data_ptr() == image.untyped_storage().data_ptr() and out.numel() > 0:
        raise ValueError("out must not share its memory with image")


def _names(dtypes: Sequence[torch.dtype]) -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def _check_axes(tensor: Tensor, axes: str, argument: str) -> None:
    if tensor.dim() != axes.count(",") + 1:
        raise ValueError(f"{argument} must have the axes [{axes}], got the shape {tuple(tensor.shape)}")


def _check_source(call: Call, argument: str, axes: str, *, integral: bool) -> None:
    """Of the tensor that is sampled, with the geometry and the options that all ops share."""
    tensor: Tensor = getattr(call, argument)
    _check_axes(tensor, axes, argument)
    choice(call.interpolation, INTERPOLATIONS, "interpolation")
    if tensor.dtype not in FLOATING:
        _check_integral(tensor, argument, call.interpolation, integral=integral)
    _check_geometry(call.geometry, tensor, argument)
    if "N" in axes and tensor.shape[1] != call.geometry.shape[-2]:
        raise ValueError(f"{argument} must hold {call.geometry.shape[-2]} views on axis 1, got {tensor.shape[1]}")


def _check_integral(tensor: Tensor, argument: str, interpolation: str, *, integral: bool) -> None:
    if tensor.dtype not in INTEGRAL:
        raise TypeError(f"{argument} must be of one of the dtypes {_names(FLOATING + INTEGRAL)}, got {tensor.dtype}")
    if not (integral and interpolation == "nearest"):
        hint = f": pass {argument}.float() for a picture"
        hint += ", or interpolation='nearest' for label maps" if integral else ""
        raise TypeError(f"{argument} must be of a floating-point dtype here, got {tensor.dtype}{hint}")


def _check_geometry(geometry: Tensor, tensor: Tensor, argument: str) -> None:
    if geometry.dim() not in (2, 3) or geometry.shape[-1] != COLUMNS:
        raise ValueError(f"geometry must be of shape [N, {COLUMNS}] or [B, N, {COLUMNS}], got {tuple(geometry.shape)}")
    if geometry.dtype != torch.float64:
        raise TypeError(f"geometry must be float64, got {geometry.dtype}")
    if geometry.device != tensor.device:
        raise ValueError(
            f"geometry must be on the device of {argument}, {tensor.device}, got {geometry.device}; "
            f"move the views with views.to({str(tensor.device)!r})"
        )
    if geometry.dim() == 3 and geometry.shape[0] != tensor.shape[0]:
        raise ValueError(
            f"geometry must have one entry per sample of {argument}, {tensor.shape[0]}, got {geometry.shape[0]}"
        )


def _check_fill(fill: float, dtype: torch.dtype) -> None:
    """A fill that the dtype of labels holds exactly."""
    if dtype in FLOATING:
        return
    low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    if not (low <= fill <= high and fill == int(fill)):
        raise ValueError(f"fill must be a whole number from {low} to {high} for {dtype}, got {fill}")


def _check_image(call: Call) -> None:
    _check_source(call, "image", "B, C, H, W", integral=True)
    choice(call.padding, PADDINGS, "padding")
    if call.fill != 0:
        _check_fill(call.fill, call.image.dtype)


def _check_out_dtype(image: Tensor, out_dtype: torch.dtype | None, argument: str) -> None:
    allowed = FLOATING if image.dtype in FLOATING else (image.dtype,)
    if out_dtype is not None and out_dtype not in allowed:
        raise TypeError(f"{argument} must be one of {_names(allowed)} for a {image.dtype} image, got {out_dtype}")


def _check_project(call: Call) -> None:
    _check_image(call)
    _check_out_dtype(call.image, call.out_dtype, "out_dtype")
    if call.memory_format is not None and call.memory_format not in MEMORY_FORMATS:
        allowed = ", ".join(map(str, MEMORY_FORMATS))
        raise ValueError(f"memory_format must be one of {allowed}, got {call.memory_format}")


def _check_project_out(call: Call) -> None:
    _check_image(call)
    image, out = call.image, call.out
    _check_axes(out, "B, N, C, h, w", "out")
    wanted = (image.shape[0], call.geometry.shape[-2], image.shape[1])
    if tuple(out.shape[:3]) != wanted:
        raise ValueError(f"out must have batch, views and channels {wanted}, got the shape {tuple(out.shape)}")
    _check_out_dtype(image, out.dtype, "out's dtype")
    if out.device != image.device:
        raise ValueError(f"out must be on the device of image, {image.device}, got {out.device}")
    if not (out.is_contiguous() or out.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)):
        raise ValueError(f"out must be contiguous, or channels_last view by view, got the strides {out.stride()}")


def _check_project_adjoint(call: Call) -> None:
    _check_source(call, "stack", "B, N, C, h, w", integral=False)
    choice(call.padding, PADDINGS, "padding")


def _check_backward(call: Call) -> None:
    _check_source(call, "stack", "B, N, C, h, w", integral=False)
    stack, mean = call.stack, call.mean
    _check_axes(mean, "B, C, H, W", "mean")
    if mean.shape[:2] != (stack.shape[0], stack.shape[2]):
        raise ValueError(
            f"mean must have the batch and channels of stack, {(stack.shape[0], stack.shape[2])}, "
            f"got {tuple(mean.shape[:2])}"
        )
    for name in ("grad_mean", "grad_variance", "count"):
        tensor: Tensor = getattr(call, name)
        if tensor.shape != mean.shape:
            raise ValueError(f"{name} must have the shape of mean, {tuple(mean.shape)}, got {tuple(tensor.shape)}")
    for name in ("grad_mean", "grad_variance", "mean"):
        if getattr(call, name).dtype != stack.dtype:
            got = getattr(call, name).dtype
            raise TypeError(f"{name} must have the dtype of stack, {stack.dtype}, got {got}")
    if call.count.dtype != torch.int32:
        raise TypeError(f"count must be int32, got {call.count.dtype}")


def _allocate_project(call: Call) -> list[Result]:
    batch, channels = call.image.shape[:2]
    shape = (batch, call.geometry.shape[-2], channels, *call.view_size)
    return [Result(shape, call.out_dtype or call.image.dtype, call.memory_format == torch.channels_last)]


def _view_sampling(call: Call, views: Tensor, slices: Tensor) -> Sampling:
    """How pixels of views read a slice."""
    return sampling_of(views, slices, call.interpolation, inverse=False, padding=call.padding)


def _slice_sampling(call: Call, slices: Tensor, views: Tensor) -> Sampling:
    """How pixels of a slice read the views."""
    return sampling_of(slices, views, call.interpolation, inverse=True)


def _allocate_moments(call: Call) -> list[Result]:
    shape, dtype = (call.stack.shape[0], call.stack.shape[2], *call.size), call.stack.dtype
    return [Result(shape, dtype), Result(shape, dtype), Result(shape, torch.int32)]


def refuse_gradient(geometry: Tensor) -> None:
    """Raises ValueError for a geometry that wants a gradient, which it would wait for in vain."""
    if geometry.requires_grad:
        raise ValueError("geometry must not require a gradient: the ops have none with respect to it")


def _reduce_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    stack, geometry, _, interpolation = inputs
    mean, _, count = output
    refuse_gradient(geometry)
    ctx.mark_non_differentiable(count)
    ctx.save_for_backward(stack, geometry, mean, count)
    ctx.interpolation = interpolation


def _reduce_backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    stack, geometry, mean, count = ctx.saved_tensors
    dtype, ops = stack.dtype, torch.ops.spuproj
    if dtype in (torch.float16, torch.bfloat16):
        # A mean rounded to half precision would leave deviations that do not sum to zero.
        stack, grad_mean, grad_variance = stack.float(), grad_mean.float(), grad_variance.float()
        mean, _, _ = ops.unproject_reduce(stack, geometry, mean.shape[-2:], ctx.interpolation)
    # The mean enters only through the deviations, whose sum is zero: its own gradient vanishes.
    grad = ops.unproject_reduce_backward(grad_mean, grad_variance, stack, geometry, mean, count, ctx.interpolation)
    return grad.to(dtype), None, None, None


def _backward_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, interpolation = inputs
    refuse_gradient(inputs[3])
    ctx.save_for_backward(*tensors)
    ctx.interpolation = interpolation


def _backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of ``U^T((grad_mean + 2 grad_variance (U stack - mean)) / count)``, through the linear ops."""
    _, grad_variance, stack, geometry, mean, count = ctx.saved_tensors
    ops, interpolation = torch.ops.spuproj, ctx.interpolation
    size, view_size = mean.shape[-2:], stack.shape[-2:]
    share = ops.unproject(grad, geometry, size, interpolation) / count.clamp(min=1).unsqueeze(1)
    deviation = ops.unproject(stack, geometry, size, interpolation) - mean.unsqueeze(1)
    slope = 2 * grad_variance.unsqueeze(1) * share
    return (
        share.sum(1).to(grad.dtype),
        (2 * share * deviation).sum(1).to(grad.dtype),
        ops.unproject_adjoint(slope.to(stack.dtype), geometry, view_size, interpolation),
        None,
        -slope.sum(1).to(mean.dtype),
        None,
        None,
    )


OPS = {
    "project": Op(
        "(Tensor image, Tensor geometry, SymInt[2] view_size, str interpolation='bilinear', str padding='constant',"
        " Scalar fill=0, ScalarType? out_dtype=None, MemoryFormat? memory_format=None) -> Tensor",
        _check_project,
        _allocate_project,
        lambda backend, c, out: backend.gather(c.image, c.geometry, _view_sampling(c, out, c.image), out, c.fill),
        "project_adjoint",
    ),
    "project_out": Op(
        "(Tensor image, Tensor geometry, Tensor(a!) out, str interpolation='bilinear', str padding='constant',"
        " Scalar fill=0) -> ()",
        _check_project_out,
        lambda c: [],
        lambda backend, c: backend.gather(c.image, c.geometry, _view_sampling(c, c.out, c.image), c.out, c.fill),
    ),
    "project_adjoint": Op(
        "(Tensor stack, Tensor geometry, SymInt[2] size, str interpolation='bilinear', str padding='constant')"
        " -> Tensor",
        _check_project_adjoint,
        lambda c: [Result((c.stack.shape[0], c.stack.shape[2], *c.size), c.stack.dtype)],
        lambda backend, c, out: backend.gather_adjoint(c.stack, c.geometry, _view_sampling(c, c.stack, out), out),
        "project",
    ),
    "unproject": Op(
        "(Tensor stack, Tensor geometry, SymInt[2] size, str interpolation='bilinear') -> Tensor",
        lambda c: _check_source(c, "stack", "B, N, C, h, w", integral=True),
        lambda c: [Result((*c.stack.shape[:3], *c.size), c.stack.dtype)],
        lambda backend, c, out: backend.gather(c.stack, c.geometry, _slice_sampling(c, out, c.stack), out, 0),
        "unproject_adjoint",
    ),
    "unproject_adjoint": Op(
        "(Tensor slices, Tensor geometry, SymInt[2] view_size, str interpolation='bilinear') -> Tensor",
        lambda c: _check_source(c, "slices", "B, N, C, H, W", integral=False),
        lambda c: [Result((*c.slices.shape[:3], *c.view_size), c.slices.dtype)],
        lambda backend, c, out: backend.gather_adjoint(c.slices, c.geometry, _slice_sampling(c, c.slices, out), out),
        "unproject",
    ),
    "unproject_reduce": Op(
        "(Tensor stack, Tensor geometry, SymInt[2] size, str interpolation='bilinear')"
        " -> (Tensor mean, Tensor variance, Tensor count)",
        lambda c: _check_source(c, "stack", "B, N, C, h, w", integral=False),
        _allocate_moments,
        lambda backend, c, mean, *rest: backend.reduce(
            c.stack, c.geometry, _slice_sampling(c, mean, c.stack), mean, *rest
        ),
        (_reduce_setup, _reduce_backward),
    ),
    "unproject_reduce_backward": Op(
        "(Tensor grad_mean, Tensor grad_variance, Tensor stack, Tensor geometry, Tensor mean, Tensor count,"
        " str interpolation='bilinear') -> Tensor",
        _check_backward,
        lambda c: [Result(c.stack.shape, c.stack.dtype)],
        lambda backend, c, out: backend.reduce_backward(
            c.stack,
            c.geometry,
            _slice_sampling(c, c.mean, c.stack),
            (c.grad_mean, c.grad_variance, c.mean, c.count),
            out,
        ),
        (_backward_setup, _backward_backward),
    ),
}
"""Every op by name."""


def run(op: Op, device_type: str | None, *given: Any) -> Any:
    """Makes a call on the backend that serves a device type, or that of the first tensor."""
    backend = backend_for(device_type or given[0].device.type)
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
        return _returned(results)
    launch = op.run(backend, call, *results)
    if launch is not None:
        backend.keep(op, op.geometry_at, given, KeptCall(op.tensors, results, launch))
    return _returned(results)


def _fake(op: Op) -> Callable[..., Any]:
    """The results without their values."""

    def fake(*given: Any) -> Any:
        call = op.call(given)
        op.check(call)
        return _returned([result.empty(given[0].device) for result in op.allocate(call)])

    return fake


def _returned(results: list[Tensor]) -> Any:
    return tuple(results) if len(results) > 1 else results[0] if results else None


def _transposed(op: Op, partner: str) -> tuple[Callable[..., None], Callable[..., Any]]:
    """A linear op's gradient is its transpose, applied to the gradient with the options that both take."""
    shared = [name for name in list(OPS[partner].arguments)[3:] if name in op.arguments]

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        source, call = inputs[0], op.call(inputs)
        refuse_gradient(call.geometry)
        ctx.save_for_backward(call.geometry)
        ctx.size, ctx.dtype = tuple(source.shape[-2:]), source.dtype
        ctx.options = [getattr(call, name) for name in shared]

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (geometry,) = ctx.saved_tensors
        transpose = getattr(torch.ops.spuproj, partner)
        return transpose(grad.to(ctx.dtype), geometry, ctx.size, *ctx.options), *[None] * (len(op.arguments) - 1)

    return setup, backward


def _to_front(tensor: Tensor, dim: int | None, batch: int) -> Tensor:
    """The vmapped axis first, made where the tensor has none."""
    return tensor.unsqueeze(0).expand(batch, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _fold_geometry(geometry: Tensor, dim: int | None, mapped: int, samples: int) -> Tensor:
    """The table for a batch into which the vmapped axis is folded."""
    if dim is None and geometry.dim() == 2:
        return geometry
    tables = _to_front(geometry, dim, mapped)
    if tables.dim() == 3:
        tables = tables.unsqueeze(1).expand(-1, samples, -1, -1)
    return tables.flatten(0, 1)


def _vmap_rule(name: str, op: Op) -> Callable[..., tuple[Any, Any]]:
    """Folds the vmapped axis into the batch axis of the tensors, and of the geometry where it differs by sample."""
    tensors, geometry_at = op.tensors, op.geometry_at

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        folded = list(args)
        samples = 0
        for at in tensors:
            front = _to_front(args[at], in_dims[at], info.batch_size)
            samples, folded[at] = front.shape[1], front.flatten(0, 1)
        folded[geometry_at] = _fold_geometry(args[geometry_at], in_dims[geometry_at], info.batch_size, samples)
        result = getattr(torch.ops.spuproj, name)(*folded)
        if isinstance(result, Tensor):
            return result.unflatten(0, (info.batch_size, samples)), 0
        return tuple(part.unflatten(0, (info.batch_size, samples)) for part in result), (0,) * len(result)

    return rule


def _register(name: str, op: Op) -> None:
    qualified = f"spuproj::{name}"
    LIBRARY.define(name + op.schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, partial(run, op, None), "CompositeExplicitAutograd")
    for key in ("CPU", "CUDA"):
        LIBRARY.impl(name, partial(run, op, key.lower()), key)
    torch.library.register_fake(qualified, _fake(op), lib=LIBRARY)
    if op.adjoint is None:
        return
    setup, backward = _transposed(op, op.adjoint) if isinstance(op.adjoint, str) else op.adjoint
    torch.library.register_autograd(qualified, backward, setup_context=setup, lib=LIBRARY)
    torch.library.register_vmap(qualified, _vmap_rule(name, op), lib=LIBRARY)
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(qualified, device, torch.float32, lib=LIBRARY)


for _name, _op in OPS.items():
    _register(_name, _op)
