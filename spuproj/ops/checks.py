"""Checks of the ops' arguments before a backend runs: axes, dtypes, devices and options."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spuproj.backends.base import overlap
from spuproj.checks import choice
from spuproj.geometry.table import COLUMNS
from spuproj.inputs import require_dense
from spuproj.ops.record import Call

INTERPOLATIONS = ("bilinear", "nearest")
PADDINGS = ("constant", "border")
MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)
FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGRAL = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


def check_apart(out: Tensor, image: Tensor, geometry: Tensor) -> None:
    """Raises ValueError where ``out`` lies in the memory that is read while it is written."""
    for name, tensor in (("image", image), ("geometry", geometry)):
        if overlap(out, tensor):
            raise ValueError(f"out must not share its memory with {name}")


def _names(dtypes: Sequence[torch.dtype]) -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def count_dtype(call: Call) -> torch.dtype:
    """The dtype of the views' count, or of the sum of their weights."""
    if call.weights is None:
        return torch.int32
    return torch.float64 if call.stack.dtype == torch.float64 else torch.float32


def _check_axes(tensor: Tensor, axes: str, argument: str) -> None:
    if tensor.dim() != axes.count(",") + 1:
        raise ValueError(f"{argument} must have the axes [{axes}], got the shape {tuple(tensor.shape)}")


def check_source(call: Call, argument: str, axes: str, *, integral: bool) -> None:
    """Checks the sampled tensor, the geometry and the interpolation."""
    tensor: Tensor = getattr(call, argument)
    require_dense(tensor, argument)
    require_dense(call.geometry, "geometry")
    _check_axes(tensor, axes, argument)
    choice(call.interpolation, INTERPOLATIONS, "interpolation")
    if tensor.dtype not in FLOATING + INTEGRAL:
        raise TypeError(
            f"{argument} must be of one of the dtypes {_names(FLOATING + INTEGRAL)}, got {tensor.dtype}; pass "
            f"{argument}.float() for a picture"
        )
    if tensor.dtype not in FLOATING and not (integral and call.interpolation == "nearest"):
        hint = f": pass {argument}.float() for a picture"
        hint += ", or interpolation='nearest' for label maps" if integral else ""
        raise TypeError(f"{argument} must be of a floating-point dtype here, got {tensor.dtype}{hint}")
    _check_geometry(call.geometry, tensor, argument)
    if "N" in axes and tensor.shape[1] != call.geometry.shape[-2]:
        raise ValueError(f"{argument} must hold {call.geometry.shape[-2]} views on axis 1, got {tensor.shape[1]}")


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


def check_weights(call: Call, slice_size: Sequence[int]) -> None:
    """Checks the weights of a stack's views, if there are any; their values are the kernels' concern."""
    weights, stack = call.weights, call.stack
    if weights is None:
        return
    require_dense(weights, "weights")
    shared = (stack.shape[1], *slice_size)
    if tuple(weights.shape) not in (shared, (stack.shape[0], *shared)):
        raise ValueError(
            f"weights must be of the shape [N, H, W], {shared}, or [B, N, H, W], {(stack.shape[0], *shared)}: a weight "
            f"for each view and slice pixel; got {tuple(weights.shape)}"
        )
    if weights.dtype not in FLOATING:
        raise TypeError(f"weights must be of one of the dtypes {_names(FLOATING)}, got {weights.dtype}")
    if weights.device != stack.device:
        raise ValueError(f"weights must be on the device of stack, {stack.device}, got {weights.device}")


def check_reduce(call: Call) -> None:
    check_source(call, "stack", "B, N, C, h, w", integral=False)
    check_weights(call, call.size)


def check_image(call: Call) -> None:
    check_source(call, "image", "B, C, H, W", integral=True)
    choice(call.padding, PADDINGS, "padding")
    fill, dtype = call.fill, call.image.dtype
    if fill == 0 or dtype in FLOATING:
        return
    low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    if not (low <= fill <= high and fill == int(fill)):
        raise ValueError(f"fill must be a whole number from {low} to {high} for {dtype}, got {fill}")


def _check_out_dtype(image: Tensor, out_dtype: torch.dtype | None, argument: str) -> None:
    allowed = FLOATING if image.dtype in FLOATING else (image.dtype,)
    if out_dtype is not None and out_dtype not in allowed:
        raise TypeError(f"{argument} must be one of {_names(allowed)} for a {image.dtype} image, got {out_dtype}")


def check_project(call: Call) -> None:
    check_image(call)
    _check_out_dtype(call.image, call.out_dtype, "out_dtype")
    if call.memory_format is not None and call.memory_format not in MEMORY_FORMATS:
        allowed = ", ".join(map(str, MEMORY_FORMATS))
        raise ValueError(f"memory_format must be one of {allowed}, got {call.memory_format}")


def check_project_out(call: Call) -> None:
    check_image(call)
    image, out = call.image, call.out
    _check_axes(out, "B, N, C, h, w", "out")
    wanted = (image.shape[0], call.geometry.shape[-2], image.shape[1])
    if tuple(out.shape[:3]) != wanted:
        raise ValueError(f"out must have batch, views and channels {wanted}, got the shape {tuple(out.shape)}")
    _check_out_dtype(image, out.dtype, "out's dtype")
    if out.device != image.device:
        raise ValueError(f"out must be on the device of image, {image.device}, got {out.device}")
    if not (out.is_contiguous() or out.movedim(-3, -1).is_contiguous()):
        raise ValueError(f"out must be contiguous, or channels_last view by view, got the strides {out.stride()}")


def check_project_adjoint(call: Call) -> None:
    check_source(call, "stack", "B, N, C, h, w", integral=False)
    choice(call.padding, PADDINGS, "padding")


def check_backward(call: Call) -> None:
    check_source(call, "stack", "B, N, C, h, w", integral=False)
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
    check_weights(call, mean.shape[-2:])
    if call.count.dtype != (wanted := count_dtype(call)):
        raise TypeError(f"count must be {_names([wanted])}, got {call.count.dtype}")
