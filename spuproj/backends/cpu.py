"""The ``cpu`` backend: the compiled kernels of ``csrc/cpu``, on ``torch.get_num_threads()`` threads.

The taps of a geometry (which pixels each point reads, and their weights) are computed once and kept, keyed by the
geometry's own numbers, in a cache bounded in bytes that drops the least recently used.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

try:
    from spuproj import _cpu

    MISSING: str | None = None
except ImportError as error:
    MISSING = f"the compiled module spuproj._cpu does not import ({error}); reinstall with pip install spuproj"

Size = Sequence[int]

CACHE_BYTES = 256 * 2**20
"""Bound of the taps cache."""

_DTYPE_CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
# Below this many output elements a thread costs more than it brings.
_ELEMENTS_PER_THREAD = 32768
_INDEX_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class _Taps:
    index: Tensor
    fraction_y: Tensor
    fraction_x: Tensor

    @property
    def nbytes(self) -> int:
        return self.index.nbytes + self.fraction_y.nbytes + self.fraction_x.nbytes


_cache: OrderedDict[tuple[object, ...], _Taps] = OrderedDict()
_cache_lock = Lock()
_cached_bytes = 0


def _fresh_lock() -> None:
    global _cache_lock
    _cache_lock = Lock()


# A forked child must not wait for a lock that a thread of its parent held.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


def simd_level() -> str:
    """The SIMD level in use. Raises ValueError where the environment variable SPUPROJ_SIMD names no level here."""
    return _cpu.simd_level()


def simd_levels() -> list[str]:
    """The SIMD levels of this processor, lowest first."""
    return _cpu.simd_levels()


def _threads(elements: int) -> int:
    return max(1, min(torch.get_num_threads(), elements // _ELEMENTS_PER_THREAD))


def _check_index_range(size: Size, argument: str) -> None:
    if size[0] * size[1] > _INDEX_LIMIT:
        raise ValueError(f"{argument} must have at most {_INDEX_LIMIT} pixels, got {size[0]} x {size[1]}")


def _sampling(source: Size, *, inverse: bool, interpolation: str, padding: str) -> _cpu.Sampling:
    return _cpu.Sampling(
        inverse=inverse,
        nearest=interpolation == "nearest",
        border=padding == "border",
        source_height=source[0],
        source_width=source[1],
    )


def _build(table: Tensor, raster: Size, sampling: _cpu.Sampling, dtype: torch.dtype) -> _Taps:
    count, pixels = table.numel() // table.shape[-1], raster[0] * raster[1]
    taps = _Taps(
        index=torch.empty(count, pixels, dtype=torch.int32),
        fraction_y=torch.empty(count, pixels, dtype=dtype),
        fraction_x=torch.empty(count, pixels, dtype=dtype),
    )
    _cpu.build_taps(
        table.data_ptr(),
        count,
        sampling,
        raster[0],
        raster[1],
        dtype == torch.float64,
        _native(taps, pixels, (1, 1), shared=True),
        _threads(8 * taps.index.numel()),
    )
    return taps


def _taps(
    geometry: Tensor, raster: Size, source: Size, *, inverse: bool, interpolation: str, padding: str, dtype: torch.dtype
) -> _Taps:
    """The taps of every pixel of ``raster`` (views, or with ``inverse`` slices) into ``source``."""
    table = geometry.detach().contiguous()
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    key = (table.numpy().tobytes(), *raster, *source, inverse, interpolation, padding, precision)
    with _cache_lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key]
    sampling = _sampling(source, inverse=inverse, interpolation=interpolation, padding=padding)
    taps = _build(table, raster, sampling, precision)
    _keep(key, taps)
    return taps


def _keep(key: tuple[object, ...], taps: _Taps) -> None:
    global _cached_bytes
    if taps.nbytes > CACHE_BYTES:
        return
    with _cache_lock:
        if key not in _cache:
            _cache[key] = taps
            _cached_bytes += taps.nbytes
        while _cached_bytes > CACHE_BYTES:
            _cached_bytes -= _cache.popitem(last=False)[1].nbytes


def _native(taps: _Taps, pixels: int, source: Size, *, shared: bool, views: int = 1) -> _cpu.Taps:
    return _cpu.Taps(
        index=taps.index.data_ptr(),
        fraction_y=taps.fraction_y.data_ptr(),
        fraction_x=taps.fraction_x.data_ptr(),
        pixels=pixels,
        source_pixels=source[0] * source[1],
        source_width=source[1],
        sample_stride=0 if shared else views * pixels,
    )


def _dense_planes(tensor: Tensor) -> Tensor:
    """The tensor itself where each plane is contiguous, else a contiguous copy."""
    dense = tensor.stride(-1) == 1 and tensor.stride(-2) == tensor.shape[-1]
    return tensor if dense else tensor.contiguous()


def _planes(tensor: Tensor) -> _cpu.Planes:
    """A ``[B, N, C, ., .]`` tensor, or a ``[B, C, ., .]`` one whose planes serve every view."""
    strides = tensor.stride()
    view_stride = strides[1] if tensor.dim() == 5 else 0
    return _cpu.Planes(tensor.data_ptr(), strides[0], view_stride, strides[-3])


def _gather(source: Tensor, result: Tensor, geometry: Tensor, taps: _Taps, interpolation: str) -> Tensor:
    batch, views, channels = result.shape[:3]
    source = _dense_planes(source)
    shape = _cpu.Shape(batch, views, channels)
    native = _native(
        taps, result.shape[-2] * result.shape[-1], source.shape[-2:], shared=geometry.dim() == 2, views=views
    )
    threads = _threads(result.numel())
    if interpolation == "nearest":
        _cpu.copy(source.element_size(), shape, native, _planes(source), _planes(result), threads)
    else:
        _cpu.gather(_DTYPE_CODES[source.dtype], shape, native, _planes(source), _planes(result), threads)
    return result


def _scatter(source: Tensor, result: Tensor, geometry: Tensor, taps: _Taps) -> Tensor:
    batch, views, channels = source.shape[:3]
    source = _dense_planes(source)
    native = _native(
        taps, source.shape[-2] * source.shape[-1], result.shape[-2:], shared=geometry.dim() == 2, views=views
    )
    _cpu.scatter(
        _DTYPE_CODES[source.dtype],
        _cpu.Shape(batch, views, channels),
        native,
        _planes(source),
        _planes(result),
        result.dim() == 4,
        _threads(source.numel()),
    )
    return result


def project(image: Tensor, geometry: Tensor, view_size: Size, interpolation: str, padding: str) -> Tensor:
    """Views ``[B, N, C, h, w]`` of an image ``[B, C, H, W]``."""
    _check_index_range(image.shape[-2:], "image")
    views = image.new_empty(image.shape[0], geometry.shape[-2], image.shape[1], *view_size)
    if image.numel() == 0 or views.numel() == 0:
        return views.zero_()
    taps = _taps(
        geometry,
        view_size,
        image.shape[-2:],
        inverse=False,
        interpolation=interpolation,
        padding=padding,
        dtype=image.dtype,
    )
    return _gather(image, views, geometry, taps, interpolation)


def project_adjoint(views: Tensor, geometry: Tensor, size: Size, interpolation: str, padding: str) -> Tensor:
    """The transpose of ``project``: ``[B, N, C, h, w]`` -> ``[B, C, H, W]``."""
    _check_index_range(size, "size")
    image = views.new_empty(views.shape[0], views.shape[2], *size)
    if image.numel() == 0 or views.numel() == 0:
        return image.zero_()
    taps = _taps(
        geometry,
        views.shape[-2:],
        size,
        inverse=False,
        interpolation=interpolation,
        padding=padding,
        dtype=views.dtype,
    )
    return _scatter(views, image, geometry, taps)


def _slice_taps(geometry: Tensor, size: Size, view_size: Size, interpolation: str, dtype: torch.dtype) -> _Taps:
    return _taps(geometry, size, view_size, inverse=True, interpolation=interpolation, padding="zeros", dtype=dtype)


def unproject(views: Tensor, geometry: Tensor, size: Size, interpolation: str) -> Tensor:
    """Slices ``[B, N, C, H, W]`` of views ``[B, N, C, h, w]``."""
    _check_index_range(views.shape[-2:], "views")
    slices = views.new_empty(*views.shape[:3], *size)
    if slices.numel() == 0 or views.numel() == 0:
        return slices.zero_()
    taps = _slice_taps(geometry, size, views.shape[-2:], interpolation, views.dtype)
    return _gather(views, slices, geometry, taps, interpolation)


def unproject_adjoint(slices: Tensor, geometry: Tensor, view_size: Size, interpolation: str) -> Tensor:
    """The transpose of ``unproject``: ``[B, N, C, H, W]`` -> ``[B, N, C, h, w]``."""
    _check_index_range(view_size, "view_size")
    views = slices.new_empty(*slices.shape[:3], *view_size)
    if slices.numel() == 0 or views.numel() == 0:
        return views.zero_()
    taps = _slice_taps(geometry, slices.shape[-2:], view_size, interpolation, slices.dtype)
    return _scatter(slices, views, geometry, taps)


def unproject_reduce(views: Tensor, geometry: Tensor, size: Size, interpolation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, population variance and count ``[B, C, H, W]`` over the valid views, in one pass."""
    _check_index_range(views.shape[-2:], "views")
    batch, count, channels = views.shape[:3]
    mean = views.new_empty(batch, channels, *size)
    variance, valid = torch.empty_like(mean), torch.empty_like(mean, dtype=torch.int32)
    if views.numel() == 0 or mean.numel() == 0:
        return mean.zero_(), variance.zero_(), valid.zero_()
    taps = _slice_taps(geometry, size, views.shape[-2:], interpolation, views.dtype)
    dense = _dense_planes(views)
    native = _native(taps, size[0] * size[1], views.shape[-2:], shared=geometry.dim() == 2, views=count)
    _cpu.reduce(
        _DTYPE_CODES[views.dtype],
        _cpu.Shape(batch, count, channels),
        native,
        _planes(dense),
        mean.data_ptr(),
        variance.data_ptr(),
        valid.data_ptr(),
        _threads(mean.numel() * count),
    )
    return mean, variance, valid


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
    grad_views = torch.empty(views.shape, dtype=views.dtype)
    if views.numel() == 0 or mean.numel() == 0:
        return grad_views.zero_()
    size = mean.shape[-2:]
    taps = _slice_taps(geometry, size, views.shape[-2:], interpolation, views.dtype)
    dense = _dense_planes(views)
    native = _native(taps, size[0] * size[1], views.shape[-2:], shared=geometry.dim() == 2, views=views.shape[1])
    # Bound to names: the copies must live until the kernel returns.
    grad_mean, grad_variance = grad_mean.contiguous(), grad_variance.contiguous()
    mean, count = mean.contiguous(), count.contiguous()
    _cpu.reduce_backward(
        _DTYPE_CODES[views.dtype],
        _cpu.Shape(views.shape[0], views.shape[1], views.shape[2]),
        native,
        _planes(dense),
        grad_mean.data_ptr(),
        grad_variance.data_ptr(),
        mean.data_ptr(),
        count.data_ptr(),
        grad_views.data_ptr(),
        _threads(views.numel()),
    )
    return grad_views
