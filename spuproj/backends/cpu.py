"""The ``cpu`` backend: the compiled kernels of ``csrc/cpu``, on ``torch.get_num_threads()`` threads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spuproj.backends.dtypes import CODES
from spuproj.layout import empty_views

try:
    from spuproj import _cpu
    from spuproj.backends.cpu_plans import launch
    from spuproj.backends.cpu_plans import planned as planned
    from spuproj.backends.cpu_taps import Taps, taps_of

    MISSING: str | None = None
except ImportError as error:
    MISSING = f"the compiled module spuproj._cpu does not import ({error}); reinstall with pip install spuproj"

Size = Sequence[int]

_INDEX_LIMIT = 2**31 - 2
# A result as large as a large page may be fresh memory: allocators return large blocks to the system.
_FRESH_BYTES = 2 * 2**20


def simd_level() -> str:
    """The SIMD level in use. Raises ValueError where the environment variable SPUPROJ_SIMD names no level here."""
    return _cpu.simd_level()


def simd_levels() -> list[str]:
    """The SIMD levels of this processor, lowest first."""
    return _cpu.simd_levels()


def _check_index_range(size: Size, argument: str) -> None:
    if size[0] * size[1] > _INDEX_LIMIT:
        raise ValueError(f"{argument} must have at most {_INDEX_LIMIT} pixels, got {size[0]} x {size[1]}")


def _dense(tensor: Tensor) -> Tensor:
    """The tensor itself where each plane is contiguous, else a contiguous copy."""
    dense = tensor.stride(-1) == 1 and tensor.stride(-2) == tensor.shape[-1]
    return tensor if dense else tensor.contiguous()


def _strides(tensor: Tensor) -> _cpu.Strides:
    """Of a ``[B, N, C, ., .]`` tensor, or of a ``[B, C, ., .]`` one whose planes serve every view."""
    strides = tensor.stride()
    return _cpu.Strides(strides[0], strides[1] if tensor.dim() == 5 else 0, strides[-3], strides[-1])


def _expect_writes(tensor: Tensor) -> None:
    if tensor.nbytes >= _FRESH_BYTES:
        _cpu.expect_writes(tensor.data_ptr(), tensor.nbytes)


def _new_views(
    count: int,
    view_size: Size,
    dtype: torch.dtype | None,
    memory_format: torch.memory_format | None,
    image: Tensor,
) -> Tensor:
    views = empty_views(image, count, view_size, dtype, memory_format)
    _expect_writes(views)
    return views


def _new_planes(shape: tuple[int, ...], source: Tensor) -> Tensor:
    result = source.new_empty(shape)
    _expect_writes(result)
    return result


def _new_moments(shape: tuple[int, ...], views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    moments = views.new_empty(shape), views.new_empty(shape), views.new_empty(shape, dtype=torch.int32)
    for part in moments:
        _expect_writes(part)
    return moments


def project(
    image: Tensor,
    geometry: Tensor,
    view_size: Size,
    interpolation: str,
    padding: str,
    out_dtype: torch.dtype | None = None,
    memory_format: torch.memory_format | None = None,
) -> Tensor:
    """Views ``[B, N, C, h, w]`` of an image ``[B, C, H, W]``."""
    _check_index_range(image.shape[-2:], "image")
    empty = partial(_new_views, geometry.shape[-2], tuple(view_size), out_dtype, memory_format)
    views = empty(image)
    if image.numel() == 0 or views.numel() == 0:
        return views.zero_()
    kernel, taps, dense = _project_kernel(image, geometry, views, interpolation, padding)
    options = (tuple(view_size), interpolation, padding, out_dtype, memory_format)
    launch("project", kernel, taps, (image,), geometry, options, (views,), views.numel(), dense=(dense,), empty=empty)
    return views


def project_out(image: Tensor, geometry: Tensor, out: Tensor, interpolation: str, padding: str) -> None:
    """The same, into ``[B, N, C, h, w]``."""
    _check_index_range(image.shape[-2:], "image")
    if image.numel() == 0 or out.numel() == 0:
        out.zero_()
        return
    _expect_writes(out)
    kernel, taps, dense = _project_kernel(image, geometry, out, interpolation, padding)
    options = (interpolation, padding)
    launch("project_out", kernel, taps, (image,), geometry, options, (out,), out.numel(), dense=(dense,))


def _project_kernel(
    image: Tensor, geometry: Tensor, views: Tensor, interpolation: str, padding: str
) -> tuple[_cpu.Kernel, Taps, Tensor]:
    """The kernel, its taps, and the image as it reads it."""
    taps = taps_of(
        geometry,
        views.shape[-2:],
        image.shape[-2:],
        inverse=False,
        interpolation=interpolation,
        padding=padding,
        dtype=image.dtype,
        tiled=False,
    )
    dense = _dense(image)
    common = (_cpu.Shape(*views.shape[:3]), taps.native, _strides(dense), _strides(views))
    if interpolation == "nearest" and views.dtype == image.dtype:
        return _cpu.copy(image.element_size(), *common), taps, dense
    return _cpu.project(CODES[image.dtype], CODES[views.dtype], *common), taps, dense


def _adjoint(
    name: str, source: Tensor, geometry: Tensor, shape: tuple[int, ...], taps: Taps, options: tuple[Any, ...]
) -> Tensor:
    """The transpose of project (``shape`` [B, C, H, W]) or of unproject ([B, N, C, h, w])."""
    empty = partial(_new_planes, shape)
    result, dense = empty(source), _dense(source)
    kernel = _cpu.scatter(
        CODES[source.dtype],
        result.dim() == 4,
        _cpu.Shape(*source.shape[:3]),
        taps.native,
        _strides(dense),
        _strides(result),
    )
    launch(name, kernel, taps, (source,), geometry, options, (result,), source.numel(), dense=(dense,), empty=empty)
    return result


def project_adjoint(views: Tensor, geometry: Tensor, size: Size, interpolation: str, padding: str) -> Tensor:
    """The transpose of ``project``: ``[B, N, C, h, w]`` -> ``[B, C, H, W]``."""
    _check_index_range(size, "size")
    shape = (views.shape[0], views.shape[2], *size)
    if views.numel() == 0 or 0 in shape:
        return views.new_zeros(shape)
    taps = taps_of(
        geometry,
        views.shape[-2:],
        size,
        inverse=False,
        interpolation=interpolation,
        padding=padding,
        dtype=views.dtype,
        tiled=False,
    )
    return _adjoint("project_adjoint", views, geometry, shape, taps, (tuple(size), interpolation, padding))


def _slice_taps(
    geometry: Tensor, size: Size, view_size: Size, interpolation: str, dtype: torch.dtype, *, tiled: bool
) -> Taps:
    return taps_of(
        geometry,
        size,
        view_size,
        inverse=True,
        interpolation=interpolation,
        padding="zeros",
        dtype=dtype,
        tiled=tiled,
    )


def unproject(views: Tensor, geometry: Tensor, size: Size, interpolation: str) -> Tensor:
    """Slices ``[B, N, C, H, W]`` of views ``[B, N, C, h, w]``."""
    _check_index_range(views.shape[-2:], "views")
    shape = (*views.shape[:3], *size)
    if views.numel() == 0 or 0 in shape:
        return views.new_zeros(shape)
    nearest = interpolation == "nearest"
    taps = _slice_taps(geometry, size, views.shape[-2:], interpolation, views.dtype, tiled=not nearest)
    empty = partial(_new_planes, shape)
    slices, dense = empty(views), _dense(views)
    common = (_cpu.Shape(*views.shape[:3]), taps.native, _strides(dense), _strides(slices))
    kernel = _cpu.copy(views.element_size(), *common) if nearest else _cpu.unproject(CODES[views.dtype], *common)
    options = (tuple(size), interpolation)
    launch(
        "unproject", kernel, taps, (views,), geometry, options, (slices,), slices.numel(), dense=(dense,), empty=empty
    )
    return slices


def unproject_adjoint(slices: Tensor, geometry: Tensor, view_size: Size, interpolation: str) -> Tensor:
    """The transpose of ``unproject``: ``[B, N, C, H, W]`` -> ``[B, N, C, h, w]``."""
    _check_index_range(view_size, "view_size")
    shape = (*slices.shape[:3], *view_size)
    if slices.numel() == 0 or 0 in shape:
        return slices.new_zeros(shape)
    taps = _slice_taps(geometry, slices.shape[-2:], view_size, interpolation, slices.dtype, tiled=False)
    return _adjoint("unproject_adjoint", slices, geometry, shape, taps, (tuple(view_size), interpolation))


def unproject_reduce(views: Tensor, geometry: Tensor, size: Size, interpolation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, population variance and count ``[B, C, H, W]`` over the valid views, in one pass."""
    _check_index_range(views.shape[-2:], "views")
    empty = partial(_new_moments, (views.shape[0], views.shape[2], *size))
    moments = empty(views)
    if views.numel() == 0 or moments[0].numel() == 0:
        mean, variance, count = (part.zero_() for part in moments)
        return mean, variance, count
    taps = _slice_taps(geometry, size, views.shape[-2:], interpolation, views.dtype, tiled=True)
    dense = _dense(views)
    kernel = _cpu.reduce(CODES[views.dtype], _cpu.Shape(*views.shape[:3]), taps.native, _strides(dense))
    launch(
        "unproject_reduce",
        kernel,
        taps,
        (views,),
        geometry,
        (tuple(size), interpolation),
        moments,
        views.shape[1] * moments[0].numel(),
        dense=(dense,),
        empty=empty,
    )
    return moments


def unproject_reduce_backward(
    grad_mean: Tensor,
    grad_variance: Tensor,
    views: Tensor,
    geometry: Tensor,
    mean: Tensor,
    count: Tensor,
    interpolation: str,
) -> Tensor:
    """Gradient of ``unproject_reduce`` with respect to its views."""
    empty = partial(_new_planes, tuple(views.shape))
    grad_views = empty(views)
    if views.numel() == 0 or mean.numel() == 0:
        return grad_views.zero_()
    taps = _slice_taps(geometry, mean.shape[-2:], views.shape[-2:], interpolation, views.dtype, tiled=False)
    sources = (views, grad_mean, grad_variance, mean, count)
    dense = (_dense(views), *(tensor.contiguous() for tensor in sources[1:]))
    kernel = _cpu.reduce_backward(CODES[views.dtype], _cpu.Shape(*views.shape[:3]), taps.native, _strides(dense[0]))
    launch(
        "unproject_reduce_backward",
        kernel,
        taps,
        sources,
        geometry,
        (interpolation,),
        (grad_views,),
        views.numel(),
        dense=dense,
        empty=empty,
    )
    return grad_views
