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
from torch.autograd import forward_ad

from spuproj import ops as _ops
from spuproj.checks import pixel_size

__all__ = ["project", "project_adjoint", "unproject", "unproject_adjoint", "unproject_reduce"]

# Imported for its registrations.
_ = _ops


def _reverse_mode_only(tensor: Tensor) -> None:
    """PyTorch would drop a forward-mode tangent without a word: registered ops have no rule for it."""
    if not torch.compiler.is_compiling() and forward_ad.unpack_dual(tensor).tangent is not None:
        raise RuntimeError("forward-mode differentiation does not reach spuproj's ops; use reverse mode (backward)")


def project(
    image: Tensor,
    geometry: Tensor,
    view_size: Sequence[int] | None = None,
    *,
    interpolation: str = "bilinear",
    padding: str = "zeros",
) -> Tensor:
    """Projects an image onto every view.

    Args:
        image: ``[B, C, H, W]``.
        geometry: ``[N, 17]`` or ``[B, N, 17]`` table.
        view_size: (h, w) of the view raster; the image's own size where None.
        interpolation: ``"bilinear"``, or ``"nearest"`` (label maps; half-way points go to the larger index).
        padding: what view pixels beyond the slice get: ``"zeros"``, or ``"border"`` (the nearest slice pixel). View
            pixels that show no point of the plane are zero under both.

    Returns:
        ``[B, N, C, h, w]`` of the image's dtype.
    """
    _reverse_mode_only(image)
    raster = tuple(image.shape[-2:]) if view_size is None else pixel_size(view_size, "view_size")
    views: Tensor = torch.ops.spuproj.project(image, geometry, raster, interpolation, padding)
    return views


def project_adjoint(
    views: Tensor, geometry: Tensor, size: Sequence[int], *, interpolation: str = "bilinear", padding: str = "zeros"
) -> Tensor:
    """The transpose of ``project``: ``[B, N, C, h, w]`` -> ``[B, C, H, W]`` with (H, W) = ``size``.

    This is what ``project`` differentiates into, not its inverse. Arguments as in ``project``; floating dtypes only.
    """
    _reverse_mode_only(views)
    raster = pixel_size(size, "size")
    image: Tensor = torch.ops.spuproj.project_adjoint(views, geometry, raster, interpolation, padding)
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
    _reverse_mode_only(views)
    slices: Tensor = torch.ops.spuproj.unproject(views, geometry, pixel_size(size, "size"), interpolation)
    return slices


def unproject_adjoint(
    slices: Tensor, geometry: Tensor, view_size: Sequence[int], *, interpolation: str = "bilinear"
) -> Tensor:
    """The transpose of ``unproject``: ``[B, N, C, H, W]`` -> ``[B, N, C, h, w]`` with (h, w) = ``view_size``."""
    _reverse_mode_only(slices)
    raster = pixel_size(view_size, "view_size")
    views: Tensor = torch.ops.spuproj.unproject_adjoint(slices, geometry, raster, interpolation)
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
    _reverse_mode_only(views)
    raster = pixel_size(size, "size")
    mean, variance, count = torch.ops.spuproj.unproject_reduce(views, geometry, raster, interpolation)
    return mean, variance, count
