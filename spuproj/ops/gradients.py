"""Gradients of ``unproject_reduce``, and of its gradient."""

from typing import Any

import torch
from torch import Tensor

from spuproj.backends.base import SMALLEST_WEIGHT
from spuproj.backends.taps import sampling_of
from spuproj.checks import refuse_gradient
from spuproj.ops.geometry_gradient import geometry_gradient


def reduce_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    stack, geometry, _, interpolation, weights = inputs
    mean, _, count = output
    refuse_gradient(weights, "weights")
    ctx.mark_non_differentiable(count)
    ctx.save_for_backward(stack, geometry, mean, count, weights)
    ctx.interpolation = interpolation


def reduce_backward(ctx: Any, grad_mean: Tensor, grad_variance: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    stack, geometry, mean, count, weights = ctx.saved_tensors
    dtype, ops, how = stack.dtype, torch.ops.spuproj, ctx.interpolation
    if dtype in (torch.float16, torch.bfloat16):
        # With a mean rounded to half precision the deviations would not sum to zero.
        stack, grad_mean, grad_variance = stack.float(), grad_mean.float(), grad_variance.float()
        mean, _, _ = ops.unproject_reduce(stack, geometry, mean.shape[-2:], how, weights)
    # The mean only enters through deviations, which sum to zero, so it contributes no gradient of its own.
    given = (grad_mean, grad_variance, stack, geometry, mean, count, how, weights)
    if not ctx.needs_input_grad[1]:
        return ops.unproject_reduce_backward(*given).to(dtype), None, None, None, None
    grads = _slice_gradient(*given)
    grad_stack = ops.unproject_adjoint(grads, geometry, stack.shape[-2:], how) if ctx.needs_input_grad[0] else None
    grad_geometry = geometry_gradient(stack, grads, geometry, sampling_of(grads, stack, how, inverse=True))
    return None if grad_stack is None else grad_stack.to(dtype), grad_geometry, None, None, None


def _slice_gradient(
    grad_mean: Tensor,
    grad_variance: Tensor,
    stack: Tensor,
    geometry: Tensor,
    mean: Tensor,
    count: Tensor,
    interpolation: str,
    weights: Tensor | None,
) -> Tensor:
    """Gradient ``[B, N, C, H, W]`` with respect to the unprojected views."""
    slices = torch.ops.spuproj.unproject(stack, geometry, mean.shape[-2:], interpolation)
    slope = grad_mean.unsqueeze(1) + 2 * grad_variance.unsqueeze(1) * (slices - mean.unsqueeze(1))
    share = torch.where(count > 0, count, 1).reciprocal().unsqueeze(1)
    if weights is not None:
        each = weights.to(share.dtype).unsqueeze(-3)
        share = torch.where(each >= SMALLEST_WEIGHT, each * share, 0)
    return torch.where(share > 0, share * slope, 0)


def reduce_backward_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, interpolation, weights = inputs
    refuse_gradient(inputs[3], "geometry")
    refuse_gradient(weights, "weights")
    ctx.save_for_backward(*tensors, weights)
    ctx.interpolation = interpolation


def reduce_backward_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of ``U^T(weights (grad_mean + 2 grad_variance (U stack - mean)) / count)``, through the linear ops."""
    _, grad_variance, stack, geometry, mean, count, weights = ctx.saved_tensors
    ops, interpolation = torch.ops.spuproj, ctx.interpolation
    size, view_size = mean.shape[-2:], stack.shape[-2:]
    share = ops.unproject(grad, geometry, size, interpolation) / torch.where(count > 0, count, 1).unsqueeze(1)
    deviation = ops.unproject(stack, geometry, size, interpolation) - mean.unsqueeze(1)
    if weights is not None:
        each = weights.to(count.dtype).unsqueeze(-3)
        used = each >= SMALLEST_WEIGHT
        share, deviation = torch.where(used, each * share, 0), torch.where(used, deviation, 0)
    slope = 2 * grad_variance.unsqueeze(1) * share
    return (
        share.sum(1).to(grad.dtype),
        (2 * share * deviation).sum(1).to(grad.dtype),
        ops.unproject_adjoint(slope.to(stack.dtype), geometry, view_size, interpolation),
        None,
        -slope.sum(1).to(mean.dtype),
        None,
        None,
        None,
    )
