"""The ops as stateless functions.

``geometry`` is a float64 table, ``[N, 19]`` shared by the batch or ``[B, N, 19]`` per sample: ``Views(...).geometry``,
or ``spuproj.geometry.Geometry(...).table()``. Arguments are tensors; what a subclass of Tensor adds is dropped. They
may be float32, float64, float16 or bfloat16 (arithmetic in float32, or float64 for float64) of any strides; label maps
of integer dtypes go through ``interpolation="nearest"`` in ``project`` and ``unproject``. All functions are
differentiable in their tensors by reverse mode, not in the geometry.

Every function raises ValueError for a wrong rank, a size that does not fit the views, tensors on different devices, or
an unknown name, and TypeError for a dtype that it cannot serve. Equations: ``docs/geometry.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad

from spuproj.checks import pixel_size
from spuproj.inputs import plain_number, plain_tensor
from spuproj.ops.checks import check_apart, refuse_gradient

_OPS = torch.ops.spuproj
_PROJECT, _PROJECT_OUT, _PROJECT_ADJOINT = _OPS.project.default, _OPS.project_out.default, _OPS.project_adjoint.default
_UNPROJECT, _UNPROJECT_ADJOINT = _OPS.unproject.default, _OPS.unproject_adjoint.default
_UNPROJECT_REDUCE = _OPS.unproject_reduce.default

__all__ = ["project", "project_adjoint", "unproject", "unproject_adjoint", "unproject_reduce"]


def project(
    image: Tensor,
    geometry: Tensor,
    view_size: Sequence[int] | None = None,
    *,
    interpolation: str = "bilinear",
    padding: str = "constant",
    fill: float = 0,
    out_dtype: torch.dtype | None = None,
    memory_format: torch.memory_format | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Projects an image onto every view.

    Args:
        image: ``[B, C, H, W]``.
        geometry: ``[N, 19]`` or ``[B, N, 19]`` table.
        view_size: (h, w) of a view; the image's own size (or that of ``out``) where None.
        interpolation: ``"bilinear"``, or ``"nearest"`` (label maps; half-way points go to the larger index).
        padding: what view pixels beyond the slice get: ``"constant"``, the number ``fill``, or ``"border"``, the
            nearest slice pixel. View pixels that show no point of the plane get ``fill`` under both.
        fill: any number; for label maps one that their dtype holds.
        out_dtype: floating dtype of the result, written without a pass of its own; the image's where None.
        memory_format: ``torch.channels_last`` lays each view out as a channels-last network takes it:
            ``stack.flatten(0, 1)`` is then channels-last contiguous. Contiguous where None.
        out: a ``[B, N, C, h, w]`` tensor to write into and return, contiguous or channels-last view by view; its size,
            dtype and format take the place of the arguments for them. Not for images that require grad.

    Returns:
        ``[B, N, C, h, w]``.

    Example:
        >>> geometry = Views.rigid((8, 8), degrees=[0, 90]).geometry
        >>> image = torch.arange(64.0).view(1, 1, 8, 8)
        >>> torch.equal(project(image, geometry)[0, 1], image[0].rot90(1, (-2, -1)))
        True
    """
    image, geometry = _source(image, "image"), _table(geometry)
    fill = fill if type(fill) is int else plain_number(fill, "fill")
    if out is None:
        size = tuple(image.shape[-2:]) if view_size is None else pixel_size(view_size, "view_size")
        options = (interpolation, padding, fill, out_dtype, memory_format)
        stack: Tensor = _PROJECT(image, geometry, size, *options)
        return stack
    if out_dtype is not None or memory_format is not None:
        raise ValueError("out_dtype and memory_format must be None where out is given: out has both")
    out = plain_tensor(out, "out")
    if view_size is not None and pixel_size(view_size, "view_size") != tuple(out.shape[-2:]):
        raise ValueError(f"out must end in view_size, {tuple(view_size)}, got {tuple(out.shape[-2:])}")
    _project_into(out, image, geometry, interpolation, padding, fill)
    return out


def _source(value: Tensor, argument: str) -> Tensor:
    """The source as a plain tensor. Raises RuntimeError for a forward-mode dual tensor: the ops have no such rule."""
    tensor = value if type(value) is Tensor else plain_tensor(value, argument)
    if not torch.compiler.is_compiling() and forward_ad.unpack_dual(tensor).tangent is not None:
        raise RuntimeError("forward-mode differentiation does not reach spuproj's ops; use reverse mode (backward)")
    return tensor


def _table(value: Tensor) -> Tensor:
    """The geometry table as a plain tensor."""
    return value if type(value) is Tensor else plain_tensor(value, "geometry")


def _project_into(out: Tensor, image: Tensor, geometry: Tensor, interpolation: str, padding: str, fill: float) -> None:
    if torch.is_grad_enabled() and (image.requires_grad or out.requires_grad):
        raise ValueError("out must be None where gradients are recorded: writing into it cannot be differentiated")
    if torch.is_grad_enabled():
        refuse_gradient(geometry)
    eager = not torch.compiler.is_compiling()
    if eager:
        check_apart(image, out)
    _PROJECT_OUT(image, geometry, out, interpolation, padding, fill)
    if eager and not out.is_inference():
        # So that autograd notices if the old contents were saved for a backward pass.
        torch.autograd.graph.increment_version(out)


def project_adjoint(
    stack: Tensor, geometry: Tensor, size: Sequence[int], *, interpolation: str = "bilinear", padding: str = "constant"
) -> Tensor:
    """The transpose of ``project``: ``[B, N, C, h, w]`` -> ``[B, C, H, W]`` with (H, W) = ``size``.

    This is what ``project`` differentiates into, not its inverse. Arguments as in ``project``; floating dtypes only.
    """
    stack, geometry, wanted = _source(stack, "stack"), _table(geometry), pixel_size(size, "size")
    image: Tensor = _PROJECT_ADJOINT(stack, geometry, wanted, interpolation, padding)
    return image


def unproject(stack: Tensor, geometry: Tensor, size: Sequence[int], *, interpolation: str = "bilinear") -> Tensor:
    """Brings every view back onto the slice, by the exact inverse of its geometry.

    Args:
        stack: ``[B, N, C, h, w]``.
        geometry: ``[N, 19]`` or ``[B, N, 19]`` table.
        size: (H, W) of the slice.
        interpolation: ``"bilinear"`` or ``"nearest"``.

    Returns:
        ``[B, N, C, H, W]`` of the stack's dtype; zero at slice pixels that a view does not show.
    """
    stack, geometry, wanted = _source(stack, "stack"), _table(geometry), pixel_size(size, "size")
    slices: Tensor = _UNPROJECT(stack, geometry, wanted, interpolation)
    return slices


def unproject_adjoint(
    slices: Tensor, geometry: Tensor, view_size: Sequence[int], *, interpolation: str = "bilinear"
) -> Tensor:
    """The transpose of ``unproject``: ``[B, N, C, H, W]`` -> ``[B, N, C, h, w]`` with (h, w) = ``view_size``."""
    slices, geometry, wanted = _source(slices, "slices"), _table(geometry), pixel_size(view_size, "view_size")
    stack: Tensor = _UNPROJECT_ADJOINT(slices, geometry, wanted, interpolation)
    return stack


def unproject_reduce(
    stack: Tensor, geometry: Tensor, size: Sequence[int], *, interpolation: str = "bilinear"
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the views that show each slice pixel, without bringing the views back one by one.

    Args:
        stack: ``[B, N, C, h, w]``, floating.
        geometry: ``[N, 19]`` or ``[B, N, 19]`` table.
        size: (H, W) of the slice.
        interpolation: ``"bilinear"`` or ``"nearest"``.

    Returns:
        (mean, variance, count), ``[B, C, H, W]`` each: mean and population variance in the stack's dtype, count of
        valid views in int32. Where no view is valid all three are zero.
    """
    stack, geometry, wanted = _source(stack, "stack"), _table(geometry), pixel_size(size, "size")
    moments: tuple[Tensor, Tensor, Tensor] = _UNPROJECT_REDUCE(stack, geometry, wanted, interpolation)
    return moments
