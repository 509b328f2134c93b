"""The registered ops ``torch.ops.spuproj.*``: schemas, checks, fakes, autograd, vmap and autocast, in one place.

``project`` and ``project_adjoint`` are transposes of each other, and so are ``unproject`` and ``unproject_adjoint``;
each differentiates into its partner. The geometry is a float64 table (``spuproj.geometry.Geometry.table``) without
gradient, ``[N, 17]`` shared by the batch or ``[B, N, 17]`` per sample. Arithmetic is in float32, or float64 for
float64. Under autocast the ops take float32, as ``torch.nn.functional.grid_sample`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from spuproj import backends
from spuproj.checks import choice
from spuproj.geometry import COLUMNS
from spuproj.layout import MEMORY_FORMATS, empty_views

INTERPOLATIONS = ("bilinear", "nearest")
PADDINGS = ("zeros", "border")
FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGRAL = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
LIBRARY = torch.library.Library("spuproj", "DEF")

_SCHEMAS = {
    "project": "(Tensor image, Tensor geometry, SymInt[2] view_size, str interpolation='bilinear',"
    " str padding='zeros', ScalarType? out_dtype=None, MemoryFormat? memory_format=None) -> Tensor",
    "project_out": "(Tensor image, Tensor geometry, Tensor(a!) out, str interpolation='bilinear',"
    " str padding='zeros') -> ()",
    "project_adjoint": "(Tensor views, Tensor geometry, SymInt[2] size, str interpolation='bilinear',"
    " str padding='zeros') -> Tensor",
    "unproject": "(Tensor views, Tensor geometry, SymInt[2] size, str interpolation='bilinear') -> Tensor",
    "unproject_adjoint": "(Tensor slices, Tensor geometry, SymInt[2] view_size, str interpolation='bilinear')"
    " -> Tensor",
    "unproject_reduce": "(Tensor views, Tensor geometry, SymInt[2] size, str interpolation='bilinear')"
    " -> (Tensor mean, Tensor variance, Tensor count)",
    "unproject_reduce_backward": "(Tensor grad_mean, Tensor grad_variance, Tensor views, Tensor geometry,"
    " Tensor mean, Tensor count, str interpolation='bilinear') -> Tensor",
}


def call(name: str, source: Tensor, geometry: Tensor, *options: Any, out: Tensor | None = None) -> Any:
    """Calls a registered op; one that has been called before skips the dispatcher where that has nothing to do.

    Args:
        name: of the op.
        source: the tensor that it reads.
        geometry: the table.
        options: its other arguments.
        out: the tensor that it writes, for ``project_out``.

    Raises:
        RuntimeError: under forward-mode differentiation, for which registered ops have no rule.
    """
    if not torch.compiler.is_dynamo_compiling():
        result = backends.planned(name, (source,), geometry, options, out)
        if result is not None:
            return result
        if not torch.compiler.is_compiling() and forward_ad.unpack_dual(source).tangent is not None:
            raise RuntimeError("forward-mode differentiation does not reach spuproj's ops; use reverse mode (backward)")
    op = getattr(torch.ops.spuproj, name)
    return op(source, geometry, *options) if out is None else op(source, geometry, out, *options)


def check_apart(image: Tensor, out: Tensor) -> None:
    """Raises ValueError where a result would be written over what is read."""
    if out.untyped_storage().data_ptr() == image.untyped_storage().data_ptr() and out.numel() > 0:
        raise ValueError("out must not share its memory with image")


def _axes(tensor: Tensor, axes: str, argument: str) -> None:
    if tensor.dim() != len(axes.split(", ")):
        raise ValueError(f"{argument} must have the axes [{axes}], got the shape {tuple(tensor.shape)}")


def _check(tensor: Tensor, axes: str, argument: str, geometry: Tensor, interpolation: str, *, integral: bool) -> None:
    """Raises ValueError or TypeError, naming the argument, for what no backend could serve."""
    _axes(tensor, axes, argument)
    choice(interpolation, INTERPOLATIONS, "interpolation")
    if tensor.dtype in INTEGRAL and not (integral and interpolation == "nearest"):
        hint = "; pass interpolation='nearest' for label maps" if integral else ""
        raise TypeError(f"{argument} must be of a floating-point dtype here, got {tensor.dtype}{hint}")
    if tensor.dtype not in FLOATING + INTEGRAL:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in FLOATING + INTEGRAL)
        raise TypeError(f"{argument} must be of one of the dtypes {names}, got {tensor.dtype}")
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
    if "N" in axes and tensor.shape[1] != geometry.shape[-2]:
        raise ValueError(f"{argument} must hold {geometry.shape[-2]} views on axis 1, got {tensor.shape[1]}")


def _check_image(image: Tensor, geometry: Tensor, interpolation: str, padding: str) -> None:
    _check(image, "B, C, H, W", "image", geometry, interpolation, integral=True)
    choice(padding, PADDINGS, "padding")


def _check_views(views: Tensor, geometry: Tensor, interpolation: str, padding: str = "zeros") -> None:
    _check(views, "B, N, C, h, w", "views", geometry, interpolation, integral=False)
    choice(padding, PADDINGS, "padding")


def _check_backward(
    grads: Sequence[Tensor], views: Tensor, geometry: Tensor, mean: Tensor, count: Tensor, interpolation: str
) -> None:
    _check_views(views, geometry, interpolation)
    _axes(mean, "B, C, H, W", "mean")
    if mean.shape[:2] != (views.shape[0], views.shape[2]):
        raise ValueError(
            f"mean must have the batch and channels of views, {(views.shape[0], views.shape[2])}, "
            f"got {tuple(mean.shape[:2])}"
        )
    for name, tensor in zip(("grad_mean", "grad_variance", "count"), (*grads, count), strict=True):
        if tensor.shape != mean.shape:
            raise ValueError(f"{name} must have the shape of mean, {tuple(mean.shape)}, got {tuple(tensor.shape)}")
    for name, tensor in zip(("grad_mean", "grad_variance", "mean"), (*grads, mean), strict=True):
        if tensor.dtype != views.dtype:
            raise TypeError(f"{name} must have the dtype of views, {views.dtype}, got {tensor.dtype}")
    if count.dtype != torch.int32:
        raise TypeError(f"count must be int32, got {count.dtype}")


def _check_out_dtype(image: Tensor, out_dtype: torch.dtype | None, argument: str) -> None:
    allowed = FLOATING if image.dtype in FLOATING else (image.dtype,)
    if out_dtype is not None and out_dtype not in allowed:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise TypeError(f"{argument} must be one of {names} for a {image.dtype} image, got {out_dtype}")


def _check_out(image: Tensor, geometry: Tensor, out: Tensor) -> None:
    _axes(out, "B, N, C, h, w", "out")
    wanted = (image.shape[0], geometry.shape[-2], image.shape[1], *out.shape[-2:])
    if tuple(out.shape) != wanted:
        raise ValueError(f"out must have batch, views and channels {wanted[:3]}, got the shape {tuple(out.shape)}")
    _check_out_dtype(image, out.dtype, "out's dtype")
    if out.device != image.device:
        raise ValueError(f"out must be on the device of image, {image.device}, got {out.device}")
    if not (out.is_contiguous() or out.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)):
        raise ValueError(f"out must be contiguous, or channels_last view by view, got the strides {out.stride()}")


def _check_project(
    image: Tensor,
    geometry: Tensor,
    interpolation: str,
    padding: str,
    out_dtype: torch.dtype | None,
    memory_format: torch.memory_format | None,
) -> None:
    _check_image(image, geometry, interpolation, padding)
    _check_out_dtype(image, out_dtype, "out_dtype")
    if memory_format is not None and memory_format not in MEMORY_FORMATS:
        raise ValueError(f"memory_format must be one of {', '.join(map(str, MEMORY_FORMATS))}, got {memory_format}")


def _project(
    image: Tensor,
    geometry: Tensor,
    view_size: Sequence[int],
    interpolation: str = "bilinear",
    padding: str = "zeros",
    out_dtype: torch.dtype | None = None,
    memory_format: torch.memory_format | None = None,
) -> Tensor:
    _check_project(image, geometry, interpolation, padding, out_dtype, memory_format)
    backend = backends.serving(image.device.type)
    return backend.project(image, geometry, view_size, interpolation, padding, out_dtype, memory_format)


def _project_fake(
    image: Tensor,
    geometry: Tensor,
    view_size: Sequence[int],
    interpolation: str = "bilinear",
    padding: str = "zeros",
    out_dtype: torch.dtype | None = None,
    memory_format: torch.memory_format | None = None,
) -> Tensor:
    _check_project(image, geometry, interpolation, padding, out_dtype, memory_format)
    return empty_views(image, geometry.shape[-2], view_size, out_dtype, memory_format)


def _project_out(
    image: Tensor, geometry: Tensor, out: Tensor, interpolation: str = "bilinear", padding: str = "zeros"
) -> None:
    _check_image(image, geometry, interpolation, padding)
    _check_out(image, geometry, out)
    check_apart(image, out)
    backends.serving(image.device.type).project_out(image, geometry, out, interpolation, padding)


def _project_out_fake(
    image: Tensor, geometry: Tensor, out: Tensor, interpolation: str = "bilinear", padding: str = "zeros"
) -> None:
    _check_image(image, geometry, interpolation, padding)
    _check_out(image, geometry, out)


def _project_adjoint(
    views: Tensor, geometry: Tensor, size: Sequence[int], interpolation: str = "bilinear", padding: str = "zeros"
) -> Tensor:
    _check_views(views, geometry, interpolation, padding)
    return backends.serving(views.device.type).project_adjoint(views, geometry, size, interpolation, padding)


def _project_adjoint_fake(
    views: Tensor, geometry: Tensor, size: Sequence[int], interpolation: str = "bilinear", padding: str = "zeros"
) -> Tensor:
    _check_views(views, geometry, interpolation, padding)
    return views.new_empty(views.shape[0], views.shape[2], *size)


def _check_unproject(views: Tensor, geometry: Tensor, interpolation: str) -> None:
    _check(views, "B, N, C, h, w", "views", geometry, interpolation, integral=True)


def _unproject(views: Tensor, geometry: Tensor, size: Sequence[int], interpolation: str = "bilinear") -> Tensor:
    _check_unproject(views, geometry, interpolation)
    return backends.serving(views.device.type).unproject(views, geometry, size, interpolation)


def _unproject_fake(views: Tensor, geometry: Tensor, size: Sequence[int], interpolation: str = "bilinear") -> Tensor:
    _check_unproject(views, geometry, interpolation)
    return views.new_empty(*views.shape[:3], *size)


def _check_slices(slices: Tensor, geometry: Tensor, interpolation: str) -> None:
    _check(slices, "B, N, C, H, W", "slices", geometry, interpolation, integral=False)


def _unproject_adjoint(
    slices: Tensor, geometry: Tensor, view_size: Sequence[int], interpolation: str = "bilinear"
) -> Tensor:
    _check_slices(slices, geometry, interpolation)
    return backends.serving(slices.device.type).unproject_adjoint(slices, geometry, view_size, interpolation)


def _unproject_adjoint_fake(
    slices: Tensor, geometry: Tensor, view_size: Sequence[int], interpolation: str = "bilinear"
) -> Tensor:
    _check_slices(slices, geometry, interpolation)
    return slices.new_empty(*slices.shape[:3], *view_size)


def _unproject_reduce(
    views: Tensor, geometry: Tensor, size: Sequence[int], interpolation: str = "bilinear"
) -> tuple[Tensor, Tensor, Tensor]:
    _check_views(views, geometry, interpolation)
    return backends.serving(views.device.type).unproject_reduce(views, geometry, size, interpolation)


def _unproject_reduce_fake(
    views: Tensor, geometry: Tensor, size: Sequence[int], interpolation: str = "bilinear"
) -> tuple[Tensor, Tensor, Tensor]:
    _check_views(views, geometry, interpolation)
    shape = (views.shape[0], views.shape[2], *size)
    return views.new_empty(shape), views.new_empty(shape), views.new_empty(shape, dtype=torch.int32)


def _unproject_reduce_backward(
    grad_mean: Tensor,
    grad_variance: Tensor,
    views: Tensor,
    geometry: Tensor,
    mean: Tensor,
    count: Tensor,
    interpolation: str = "bilinear",
) -> Tensor:
    _check_backward((grad_mean, grad_variance), views, geometry, mean, count, interpolation)
    backend = backends.serving(views.device.type)
    return backend.unproject_reduce_backward(grad_mean, grad_variance, views, geometry, mean, count, interpolation)


def _unproject_reduce_backward_fake(
    grad_mean: Tensor,
    grad_variance: Tensor,
    views: Tensor,
    geometry: Tensor,
    mean: Tensor,
    count: Tensor,
    interpolation: str = "bilinear",
) -> Tensor:
    _check_backward((grad_mean, grad_variance), views, geometry, mean, count, interpolation)
    return views.new_empty(views.shape)


_KERNELS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "project": (_project, _project_fake),
    "project_out": (_project_out, _project_out_fake),
    "project_adjoint": (_project_adjoint, _project_adjoint_fake),
    "unproject": (_unproject, _unproject_fake),
    "unproject_adjoint": (_unproject_adjoint, _unproject_adjoint_fake),
    "unproject_reduce": (_unproject_reduce, _unproject_reduce_fake),
    "unproject_reduce_backward": (_unproject_reduce_backward, _unproject_reduce_backward_fake),
}


def _linear_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    source, geometry, _, *options = inputs
    ctx.save_for_backward(geometry)
    ctx.size, ctx.dtype, ctx.options = tuple(source.shape[-2:]), source.dtype, options


def _linear_backward(partner: str, shared_options: int) -> Callable[..., tuple[Tensor | None, ...]]:
    """A linear op's gradient is its transpose, applied to the gradient; the first so many options are those of both."""

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (geometry,) = ctx.saved_tensors
        grad_source = call(partner, grad.to(ctx.dtype), geometry, ctx.size, *ctx.options[:shared_options])
        return (grad_source, None, None, *(None for _ in ctx.options))

    return backward


def _reduce_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    views, geometry, _, interpolation = inputs
    mean, _, count = output
    ctx.mark_non_differentiable(count)
    ctx.save_for_backward(views, geometry, mean, count)
    ctx.interpolation = interpolation


def _reduce_backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    views, geometry, mean, count = ctx.saved_tensors
    dtype = views.dtype
    if dtype in (torch.float16, torch.bfloat16):
        # A mean rounded to half precision would leave deviations that do not sum to zero.
        views, grad_mean, grad_variance = views.float(), grad_mean.float(), grad_variance.float()
        mean, _, _ = torch.ops.spuproj.unproject_reduce(views, geometry, mean.shape[-2:], ctx.interpolation)
    # The mean enters only through the deviations, whose sum is zero: its own gradient vanishes.
    sources = (views, grad_mean, grad_variance, mean, count)
    grad = backends.planned("unproject_reduce_backward", sources, geometry, (ctx.interpolation,), None)
    if grad is None:
        grad = torch.ops.spuproj.unproject_reduce_backward(
            grad_mean, grad_variance, views, geometry, mean, count, ctx.interpolation
        )
    return grad.to(dtype), None, None, None


def _backward_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, interpolation = inputs
    ctx.save_for_backward(*tensors)
    ctx.interpolation = interpolation


def _backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of ``U^T((grad_mean + 2 grad_variance (U views - mean)) / count)``, through the linear ops."""
    _, grad_variance, views, geometry, mean, count = ctx.saved_tensors
    ops, interpolation = torch.ops.spuproj, ctx.interpolation
    size, view_size = mean.shape[-2:], views.shape[-2:]
    share = ops.unproject(grad, geometry, size, interpolation) / count.clamp(min=1).unsqueeze(1)
    deviation = ops.unproject(views, geometry, size, interpolation) - mean.unsqueeze(1)
    slope = 2 * grad_variance.unsqueeze(1) * share
    return (
        share.sum(1).to(grad.dtype),
        (2 * share * deviation).sum(1).to(grad.dtype),
        ops.unproject_adjoint(slope.to(views.dtype), geometry, view_size, interpolation),
        None,
        -slope.sum(1).to(mean.dtype),
        None,
        None,
    )


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


def _vmap_rule(name: str, tensors: Sequence[int], geometry_at: int) -> Callable[..., tuple[Any, Any]]:
    """Folds the vmapped axis into the batch axis of the tensors, and of the geometry where it differs by sample."""

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


# Each linear op's transpose, and how many options after the size both take.
_ADJOINTS = {
    "project": ("project_adjoint", 2),
    "project_adjoint": ("project", 2),
    "unproject": ("unproject_adjoint", 1),
    "unproject_adjoint": ("unproject", 1),
}


def _register() -> None:
    for name, (kernel, fake) in _KERNELS.items():
        qualified = f"spuproj::{name}"
        LIBRARY.define(name + _SCHEMAS[name], tags=(torch.Tag.pt2_compliant_tag,))
        LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
        torch.library.register_fake(qualified, fake, lib=LIBRARY)
        if name in _ADJOINTS:
            torch.library.register_autograd(
                qualified, _linear_backward(*_ADJOINTS[name]), setup_context=_linear_setup, lib=LIBRARY
            )
        if name == "project_out":
            continue
        tensors, geometry_at = ((0, 1, 2, 4, 5), 3) if name == "unproject_reduce_backward" else ((0,), 1)
        torch.library.register_vmap(qualified, _vmap_rule(name, tensors, geometry_at), lib=LIBRARY)
        for device in ("cpu", "cuda"):
            torch.library.register_autocast(qualified, device, torch.float32, lib=LIBRARY)
    torch.library.register_autograd(
        "spuproj::unproject_reduce", _reduce_backward, setup_context=_reduce_setup, lib=LIBRARY
    )
    torch.library.register_autograd(
        "spuproj::unproject_reduce_backward", _backward_backward, setup_context=_backward_setup, lib=LIBRARY
    )


_register()
