"""The ops as stateless functions.

``geometry`` is a float64 table, ``[N, 17]`` shared by the batch or ``[B, N, 17]`` per sample: ``Views(...).geometry``,
or ``spuproj.geometry.Geometry(...).table()``. Tensors may be float32, float64, float16 or bfloat16 (arithmetic in
float32, or float64 for float64) of any strides; label maps of integer dtypes go through ``interpolation="nearest"``
in ``project`` and ``unproject``. All functions are differentiable in their tensors by reverse mode, not in the
geometry.

Every function raises ValueError for a wrong rank, a size that does not fit the views, tensors on different devices, or
an unknown name, and TypeError for a dtype that it cannot serve. Equations: ``docs/geometry.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spuproj.checks import pixel_size
from spuproj.ops import call, check_apart

__all__ = ["project", "project_adjoint", "unproject", "unproject_adjoint", "unproject_reduce"]


def project(
    image: Tensor,
    geometry: Tensor,
    view_size: Sequence[int] | None = None,
    *,
    interpolation: str = "bilinear",
    padding: str = "zeros",
    out_dtype: torch.dtype | None = None,
    memory_format: torch.memory_format | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Projects an image onto every view.

    Args:
        image: ``[B, C, H, W]``.
        geometry: ``[N, 17]`` or ``[B, N, 17]`` table.
        view_size: (h, w) of the view raster; the image's own size (or that of ``out``) where None.
        interpolation: ``"bilinear"``, or ``"nearest"`` (label maps; half-way points go to the larger index).
        padding: what view pixels beyond the slice get: ``"zeros"``, or ``"border"`` (the nearest slice pixel). View
            pixels that show no point of the plane are zero under both.
        out_dtype: floating dtype of the result, written without a pass of its own; the image's where None.
        memory_format: ``torch.channels_last`` lays each view out as a channels-last network takes it:
            ``views.flatten(0, 1)`` is then channels-last contiguous. Contiguous where None.
        out: a ``[B, N, C, h, w]`` tensor to write into and return, contiguous or channels-last view by view; its size,
            dtype and format take the place of the arguments for them. Reusing one saves the system the clearing of
            fresh memory, which for large stacks takes longer than the projection. Not for images that require grad.

    Returns:
        ``[B, N, C, h, w]``.
    """
    if out is not None:
        return _project_into(image, geometry, view_size, interpolation, padding, out_dtype, memory_format, out)
    raster = tuple(image.shape[-2:]) if view_size is None else pixel_size(view_size, "view_size")
    views: Tensor = call("project", image, geometry, raster, interpolation, padding, out_dtype, memory_format)
    return views


def _project_into(
    image: Tensor,
    geometry: Tensor,
    view_size: Sequence[int] | None,
    interpolation: str,
    padding: str,
    out_dtype: torch.dtype | None,
    memory_format: torch.memory_format | None,
    out: Tensor,
) -> Tensor:
    if out_dtype is not None or memory_format is not None:
        raise ValueError("out_dtype and memory_format must be None where out is given: out has both")
    if view_size is not None and pixel_size(view_size, "view_size") != tuple(out.shape[-2:]):
        raise ValueError(f"out must end in view_size, {tuple(view_size)}, got {tuple(out.shape[-2:])}")
    if torch.is_grad_enabled() and (image.requires_grad or out.requires_grad):
        raise ValueError("out must be None where gradients are recorded: writing into it cannot be differentiated")
    if not torch.compiler.is_compiling():
        check_apart(image, out)
    call("project_out", image, geometry, interpolation, padding, out=out)
    if not torch.compiler.is_compiling() and not out.is_inference():
        # A backward pass that has kept the former contents must find out.
        torch.autograd.graph.increment_version(out)
    return out


def project_adjoint(
    views: Tensor, geometry: Tensor, size: Sequence[int], *, interpolation: str = "bilinear", padding: str = "zeros"
) -> Tensor:
    """The transpose of ``project``: ``[B, N, C, h, w]`` -> ``[B, C, H, W]`` with (H, W) = ``size``.

    This is what ``project`` differentiates into, not its inverse. Arguments as in ``project``; floating dtypes only.
    """
    raster = pixel_size(size, "size")
    image: Tensor = call("project_adjoint", views, geometry, raster, interpolation, padding)
    return image


def unproject(views: Tensor, geometry: Tensor, size: Sequence[int], *, interpolation: str = "bilinear") -> Tensor:
    """Brings every view back onto the slice, by the exact inverse of its geometry.

    Args:
        views: ``[B, N, C, h, w]``.
        geometry: ``[N, 17]`` or ``[B, N, 17]`` table.
        size: (H, W) of the slice.
        interpolation: ``"bilinear"`` or ``"nearest"``.

    Returns:
        ``[B, N, C, H, W]`` of the views' dtype; zero at slice pixels that a view does not show.
    """
    slices: Tensor = call("unproject", views, geometry, pixel_size(size, "size"), interpolation)
    return slices


def unproject_adjoint(
    slices: Tensor, geometry: Tensor, view_size: Sequence[int], *, interpolation: str = "bilinear"
) -> Tensor:
    """The transpose of ``unproject``: ``[B, N, C, H, W]`` -> ``[B, N, C, h, w]`` with (h, w) = ``view_size``."""
    raster = pixel_size(view_size, "view_size")
    views: Tensor = call("unproject_adjoint", slices, geometry, raster, interpolation)
    return views


def unproject_reduce(
    views: Tensor, geometry: Tensor, size: Sequence[int], *, interpolation: str = "bilinear"
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the views that show each slice pixel, without bringing the views back one by one.

    Args:
        views: ``[B, N, C, h, w]``, floating.
        geometry: ``[N, 17]`` or ``[B, N, 17]`` table.
        size: (H, W) of the slice.
        interpolation: ``"bilinear"`` or ``"nearest"``.

    Returns:
        (mean, variance, count), ``[B, C, H, W]`` each: mean and population variance in the views' dtype, count of
        valid views in int32. Where no view is valid all three are zero.
    """
    raster = pixel_size(size, "size")
    moments: tuple[Tensor, Tensor, Tensor] = call("unproject_reduce", views, geometry, raster, interpolation)
    return moments
