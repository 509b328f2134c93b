"""The ``cpu`` backend: the compiled kernels of ``csrc/cpu``, on ``torch.get_num_threads()`` threads.

What a call needs beside its tensors' addresses depends on shapes, strides, dtypes and the geometry's numbers alone. It
is put together at the first call and kept as a plan, so that the next one goes straight to the kernel.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spuproj.layout import empty_views

try:
    from spuproj import _cpu
    from spuproj.backends.cpu_taps import Taps, taps_of

    MISSING: str | None = None
except ImportError as error:
    MISSING = f"the compiled module spuproj._cpu does not import ({error}); reinstall with pip install spuproj"

Size = Sequence[int]

_DTYPE_CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
# Below this many elements a thread costs more than it brings.
_ELEMENTS_PER_THREAD = 32768
_INDEX_LIMIT = 2**31 - 2
# A result as large as a large page may be fresh memory: allocators return large blocks to the system.
_FRESH_BYTES = 2 * 2**20
_PLANS = 256
# Results up to this size are made like ones that the plan keeps.
_SMALL_BYTES = 2**16


def simd_level() -> str:
    """The SIMD level in use. Raises ValueError where the environment variable SPUPROJ_SIMD names no level here."""
    return _cpu.simd_level()


def simd_levels() -> list[str]:
    """The SIMD levels of this processor, lowest first."""
    return _cpu.simd_levels()


def has_variable(name: str) -> bool:
    """Whether the environment has a variable: what ``name in os.environ`` says, in a fraction of its time."""
    return _cpu.has_variable(name)


class _Plan(NamedTuple):
    """A call that waits for its tensors.

    Attributes:
        table: bytes of the geometry.
        taps: what the kernel reads beside the tensors, for as long as the cache of taps keeps it.
        kernel: takes addresses, ``kernel(source, *results, threads)``.
        empty: makes the result for a source, a tensor or a tuple of them.
        dense: whether the source's planes are contiguous.
        threads: that the work is worth.
    """

    table: bytes
    taps: weakref.ref[Taps]
    kernel: Callable[..., None]
    empty: Callable[[Tensor], Any]
    dense: bool
    threads: int

    def run(self, source: Tensor, *results: Tensor) -> None:
        """Calls the kernel."""
        source = source if self.dense else source.contiguous()
        threads = 1 if self.threads == 1 else min(torch.get_num_threads(), self.threads)
        self.kernel(source.data_ptr(), *[result.data_ptr() for result in results], threads)


_plans: dict[tuple[object, ...], _Plan] = {}


def _key(
    name: str, source: Tensor, geometry: Tensor, options: tuple[Any, ...], out: Tensor | None = None
) -> tuple[object, ...]:
    return (
        name,
        geometry.data_ptr(),
        geometry.dtype,
        geometry.shape,
        geometry.stride(),
        source.dtype,
        source.shape,
        source.stride(),
        options,
        None if out is None else (out.device, out.dtype, out.shape, out.stride()),
    )


def planned(
    name: str, source: Tensor, geometry: Tensor, options: tuple[Any, ...], out: Tensor | None = None
) -> Tensor | tuple[Tensor, ...] | None:
    """The result of an op whose call has been planned, or None.

    Args:
        name: of the op.
        source: the tensor that it reads, on the CPU.
        geometry: the table.
        options: the op's other arguments.
        out: where the result goes; a new tensor where None.
    """
    plan = _plans.get(_key(name, source, geometry, options, out))
    taps = None if plan is None else plan.taps()
    # The address may have been given to other numbers since.
    if plan is None or taps is None or not _cpu.holds(geometry.data_ptr(), plan.table):
        return None
    result = plan.empty(source) if out is None else out
    if type(result) is tuple:
        plan.run(source, *result)
    else:
        plan.run(source, result)
    return result


def _keep(
    plan: _Plan,
    name: str,
    source: Tensor,
    geometry: Tensor,
    options: tuple[Any, ...],
    result: Tensor | None = None,
    out: Tensor | None = None,
) -> None:
    if not geometry.is_contiguous():
        return
    if result is not None and result.nbytes <= _SMALL_BYTES:
        plan = plan._replace(empty=partial(_new, torch.empty_like(result)))
    if len(_plans) >= _PLANS:
        _plans.clear()
    _plans[_key(name, source, geometry, options, out)] = plan


def _plan(
    source: Tensor,
    geometry: Tensor,
    taps: Taps,
    kernel: Callable[..., None],
    empty: Callable[[Tensor], Any],
    elements: int,
) -> _Plan:
    table = geometry.detach().contiguous().numpy().tobytes()
    threads = max(1, elements // _ELEMENTS_PER_THREAD)
    return _Plan(table, weakref.ref(taps), kernel, empty, _has_dense_planes(source), threads)


def _check_index_range(size: Size, argument: str) -> None:
    if size[0] * size[1] > _INDEX_LIMIT:
        raise ValueError(f"{argument} must have at most {_INDEX_LIMIT} pixels, got {size[0]} x {size[1]}")


def _has_dense_planes(tensor: Tensor) -> bool:
    return tensor.stride(-1) == 1 and tensor.stride(-2) == tensor.shape[-1]


def _dense(tensor: Tensor) -> Tensor:
    """The tensor itself where each plane is contiguous, else a contiguous copy."""
    return tensor if _has_dense_planes(tensor) else tensor.contiguous()


def _strides(tensor: Tensor) -> _cpu.Strides:
    """Of a ``[B, N, C, ., .]`` tensor, or of a ``[B, C, ., .]`` one whose planes serve every view."""
    strides = tensor.stride()
    return _cpu.Strides(strides[0], strides[1] if tensor.dim() == 5 else 0, strides[-3], strides[-1])


def _expect_writes(tensor: Tensor) -> None:
    if tensor.nbytes >= _FRESH_BYTES:
        _cpu.expect_writes(tensor.data_ptr(), tensor.nbytes)


def _new(like: Tensor, source: Tensor) -> Tensor:
    """A new tensor like another, which is small: the fastest way to make one."""
    return torch.empty_like(like)


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


def _nothing_new(source: Tensor) -> Tensor:
    raise AssertionError("the result is given")


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
    empty = partial(_new_views, geometry.shape[-2], tuple(view_size), out_dtype, memory_format)
    views = empty(image)
    plan = _project_plan(image, geometry, views, interpolation, padding, empty)
    if plan is None:
        return views.zero_()
    plan.run(image, views)
    options = (tuple(view_size), interpolation, padding, out_dtype, memory_format)
    _keep(plan, "project", image, geometry, options, views)
    return views


def project_out(image: Tensor, geometry: Tensor, out: Tensor, interpolation: str, padding: str) -> None:
    """The same, into ``[B, N, C, h, w]``."""
    plan = _project_plan(image, geometry, out, interpolation, padding, _nothing_new)
    if plan is None:
        out.zero_()
        return
    _expect_writes(out)
    plan.run(image, out)
    _keep(plan, "project_out", image, geometry, (interpolation, padding), None, out)


def _project_plan(
    image: Tensor,
    geometry: Tensor,
    views: Tensor,
    interpolation: str,
    padding: str,
    empty: Callable[[Tensor], Any],
) -> _Plan | None:
    _check_index_range(image.shape[-2:], "image")
    if image.numel() == 0 or views.numel() == 0:
        return None
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
    common = (_cpu.Shape(*views.shape[:3]), taps.native, _strides(_dense(image)), _strides(views))
    if interpolation == "nearest" and views.dtype == image.dtype:
        kernel = partial(_cpu.copy, image.element_size(), *common)
    else:
        kernel = partial(_cpu.project, _DTYPE_CODES[image.dtype], _DTYPE_CODES[views.dtype], *common)
    return _plan(image, geometry, taps, kernel, empty, views.numel())


def _adjoint(
    name: str, source: Tensor, geometry: Tensor, shape: tuple[int, ...], taps: Taps, options: tuple[Any, ...]
) -> Tensor:
    """The transpose of project (``shape`` [B, C, H, W]) or of unproject ([B, N, C, h, w])."""
    empty = partial(_new_planes, shape)
    result = empty(source)
    kernel = partial(
        _cpu.scatter,
        _DTYPE_CODES[source.dtype],
        result.dim() == 4,
        _cpu.Shape(*source.shape[:3]),
        taps.native,
        _strides(_dense(source)),
        _strides(result),
    )
    plan = _plan(source, geometry, taps, kernel, empty, source.numel())
    plan.run(source, result)
    _keep(plan, name, source, geometry, options, result)
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
    slices = empty(views)
    common = (_cpu.Shape(*views.shape[:3]), taps.native, _strides(_dense(views)), _strides(slices))
    if nearest:
        kernel = partial(_cpu.copy, views.element_size(), *common)
    else:
        kernel = partial(_cpu.unproject, _DTYPE_CODES[views.dtype], *common)
    plan = _plan(views, geometry, taps, kernel, empty, slices.numel())
    plan.run(views, slices)
    _keep(plan, "unproject", views, geometry, (tuple(size), interpolation), slices)
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
    shape = _cpu.Shape(*views.shape[:3])
    kernel = partial(_cpu.reduce, _DTYPE_CODES[views.dtype], shape, taps.native, _strides(_dense(views)))
    plan = _plan(views, geometry, taps, kernel, empty, views.shape[1] * moments[0].numel())
    plan.run(views, *moments)
    _keep(plan, "unproject_reduce", views, geometry, (tuple(size), interpolation))
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
    grad_views = torch.empty(views.shape, dtype=views.dtype)
    _expect_writes(grad_views)
    if views.numel() == 0 or mean.numel() == 0:
        return grad_views.zero_()
    taps = _slice_taps(geometry, mean.shape[-2:], views.shape[-2:], interpolation, views.dtype, tiled=False)
    # Bound to names: the copies must live until the kernel returns.
    views, grad_mean, grad_variance = _dense(views), grad_mean.contiguous(), grad_variance.contiguous()
    mean, count = mean.contiguous(), count.contiguous()
    _cpu.reduce_backward(
        _DTYPE_CODES[views.dtype],
        _cpu.Shape(*views.shape[:3]),
        taps.native,
        _strides(views),
        views.data_ptr(),
        grad_mean.data_ptr(),
        grad_variance.data_ptr(),
        mean.data_ptr(),
        count.data_ptr(),
        grad_views.data_ptr(),
        max(1, min(torch.get_num_threads(), views.numel() // _ELEMENTS_PER_THREAD)),
    )
    return grad_views
