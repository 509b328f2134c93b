"""The ops as stateless functions.

``geometry`` is a float64 table, ``[N, 19]`` shared by the batch or ``[B, N, 19]`` per sample: ``Views(...).geometry``,
or ``spuproj.geometry.Geometry(...).table()``. Images and stacks are tensors of dtype float32, float64, float16 or
bfloat16 and of any strides; arithmetic is in float32 (float64 for float64). Metadata of Tensor subclasses is dropped.
``project`` and ``unproject`` with ``interpolation="nearest"`` also take label maps of integer dtypes. All functions
support reverse-mode differentiation with respect to images, stacks and the geometry.

Every function raises ValueError for a wrong rank, a size that does not fit the views, tensors on different devices, or
an unknown name, and TypeError for an unsupported dtype. Equations: ``docs/geometry.md``.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from spuproj.checks import pixel_size, positive
from spuproj.inputs import fitted, plain_number, plain_tensor
from spuproj.ops.registration import NO_GRAD


class _Op(NamedTuple):
    """An op, and its twin without a gradient."""

    op: Callable[..., Any]
    no_grad: Callable[..., Any]

    def of(self, *tensors: Tensor | None) -> Callable[..., Any]:
        """The op if a gradient may be recorded of these tensors, also when compiled code is called; else its twin."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return self.op
        enabled = torch.is_grad_enabled()
        for each in tensors:
            # Subclasses that take part in dispatch may record what their wrapper does not show.
            if each is not None and (type(each) is not Tensor or (enabled and each.requires_grad)):
                return self.op
        return self.no_grad


def _named(name: str) -> _Op:
    return _Op(getattr(torch.ops.spuproj, name).default, getattr(torch.ops.spuproj, name + NO_GRAD).default)


_PROJECT = _named("project")
_PROJECT_OUT: Callable[..., None] = torch.ops.spuproj.project_out.default
_PROJECT_ADJOINT = _named("project_adjoint")
_UNPROJECT = _named("unproject")
_UNPROJECT_ADJOINT = _named("unproject_adjoint")
_UNPROJECT_REDUCE = _named("unproject_reduce")

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

    A value between two pixels is NaN where one of them is, and may be NaN where both are infinite or beyond half of the
    largest number of their dtype.

    Args:
        image: ``[B, C, H, W]``.
        geometry: ``[N, 19]`` or ``[B, N, 19]`` table.
        view_size: (h, w) of a view, in pixels; if None, the size of ``out`` or else of the image.
        interpolation: ``"bilinear"``, or ``"nearest"`` (label maps; half-way points go to the larger index).
        padding: value of view pixels outside the slice: ``"constant"`` gives ``fill``, ``"border"`` the nearest slice
            pixel. View pixels that show no point of the plane get ``fill`` in both cases.
        fill: any number; for label maps, one that their dtype can represent. It has no gradient.
        out_dtype: floating dtype of the result, without a separate conversion; the image's dtype if None.
        memory_format: ``torch.channels_last`` stores each view channels-last, so that ``stack.flatten(0, 1)`` is
            channels-last contiguous, as a network needs it. Contiguous if None.
        out: a ``[B, N, C, h, w]`` tensor to write into and return, contiguous, or with each view channels-last. It
            determines size, dtype and memory format. Not allowed for images that require grad.

    Returns:
        ``[B, N, C, h, w]``.

    Raises:
        ValueError, TypeError: see the module; also for ``out`` together with ``out_dtype``, ``memory_format`` or a
            different ``view_size``, and for ``out`` where a gradient is recorded.
        RuntimeError: for forward-mode differentiation.

    Examples:
        >>> geometry = Views.rigid((8, 8), degrees=[0, 90]).geometry
        >>> image = torch.arange(64.0).view(1, 1, 8, 8)
        >>> torch.equal(project(image, geometry)[0, 1], image[0].rot90(1, (-2, -1)))
        True
    """
    image, geometry = _checked(image, "image"), _checked(geometry, "geometry")
    fill = plain_number(fill, "fill")
    _check_kinds(out_dtype, memory_format)
    _check_names(interpolation, padding)
    if out is None:
        size = tuple(image.shape[-2:]) if view_size is None else pixel_size(view_size, "view_size")
        op = _PROJECT.of(image, geometry)
        stack: Tensor = op(image, geometry, size, interpolation, padding, fill, out_dtype, memory_format)
        return stack
    if out_dtype is not None or memory_format is not None:
        raise ValueError("out_dtype and memory_format must be None where out is given: out has both")
    out = plain_tensor(out, "out")
    if view_size is not None and pixel_size(view_size, "view_size") != out.shape[-2:]:
        raise ValueError(f"out must end in view_size, {tuple(view_size)}, got {tuple(out.shape[-2:])}")
    if torch.is_grad_enabled() and (image.requires_grad or geometry.requires_grad or out.requires_grad):
        raise ValueError("out must be None where gradients are recorded: writing into it cannot be differentiated")
    _PROJECT_OUT(image, geometry, out, interpolation, padding, fill)
    return out


def _check_kinds(out_dtype: object, memory_format: object) -> None:
    """Raises TypeError for numbers: torch would take them for its own codes of dtypes and memory formats."""
    if out_dtype is not None and not isinstance(out_dtype, torch.dtype):
        raise TypeError(f"out_dtype must be a torch.dtype or None, got {out_dtype!r}")
    if memory_format is not None and not isinstance(memory_format, torch.memory_format):
        raise TypeError(f"memory_format must be a torch.memory_format or None, got {memory_format!r}")


def _check_names(interpolation: object, padding: object = "constant") -> None:
    """Raises TypeError for what is no name; the ops know which names there are."""
    for argument, value in (("interpolation", interpolation), ("padding", padding)):
        if not isinstance(value, str):
            raise TypeError(f"{argument} must be a name, got {value!r}")


def _checked(value: Tensor, argument: str) -> Tensor:
    """An argument as a plain tensor. Raises RuntimeError for forward-mode dual tensors, which the ops do not take."""
    tensor = value if type(value) is Tensor else plain_tensor(value, argument)
    if forward_ad.unpack_dual(tensor).tangent is not None:
        raise RuntimeError("forward-mode differentiation does not reach spuproj's ops; use reverse mode (backward)")
    return tensor


def project_adjoint(
    stack: Tensor, geometry: Tensor, size: Sequence[int], *, interpolation: str = "bilinear", padding: str = "constant"
) -> Tensor:
    """The adjoint (transpose) of ``project``, which is its gradient and not its inverse.

    Args:
        stack: ``[B, N, C, h, w]``, floating.
        geometry: ``[N, 19]`` or ``[B, N, 19]`` table.
        size: (H, W) of the slice, in pixels.
        interpolation, padding: see ``project``.

    Returns:
        ``[B, C, H, W]`` of the stack's dtype: the sum over the views.
    """
    stack, geometry = _checked(stack, "stack"), _checked(geometry, "geometry")
    _check_names(interpolation, padding)
    result: Tensor = _PROJECT_ADJOINT.of(stack, geometry)(
        stack, geometry, pixel_size(size, "size"), interpolation, padding
    )
    return result


def unproject(stack: Tensor, geometry: Tensor, size: Sequence[int], *, interpolation: str = "bilinear") -> Tensor:
    """Maps every view back onto the slice, by the exact inverse of its geometry.

    Args:
        stack: ``[B, N, C, h, w]``.
        geometry: ``[N, 19]`` or ``[B, N, 19]`` table.
        size: (H, W) of the slice.
        interpolation: ``"bilinear"`` or ``"nearest"``.

    Returns:
        ``[B, N, C, H, W]`` of the stack's dtype; zero at slice pixels that the view does not show.
    """
    stack, geometry = _checked(stack, "stack"), _checked(geometry, "geometry")
    _check_names(interpolation)
    result: Tensor = _UNPROJECT.of(stack, geometry)(stack, geometry, pixel_size(size, "size"), interpolation)
    return result


def unproject_adjoint(
    slices: Tensor, geometry: Tensor, view_size: Sequence[int], *, interpolation: str = "bilinear"
) -> Tensor:
    """The adjoint (transpose) of ``unproject``, which is its gradient.

    Args:
        slices: ``[B, N, C, H, W]``, floating.
        geometry: ``[N, 19]`` or ``[B, N, 19]`` table.
        view_size: (h, w) of a view, in pixels.
        interpolation: ``"bilinear"`` or ``"nearest"``.

    Returns:
        ``[B, N, C, h, w]`` of the slices' dtype.
    """
    slices, geometry = _checked(slices, "slices"), _checked(geometry, "geometry")
    _check_names(interpolation)
    result: Tensor = _UNPROJECT_ADJOINT.of(slices, geometry)(
        slices, geometry, pixel_size(view_size, "view_size"), interpolation
    )
    return result


def unproject_reduce(
    stack: Tensor,
    geometry: Tensor,
    size: Sequence[int],
    *,
    weights: Tensor | None = None,
    min_count: float = 1,
    fill: float = 0.0,
    interpolation: str = "bilinear",
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over the views that show each slice pixel, without storing the unprojected views.

    Args:
        stack: ``[B, N, C, h, w]``, floating.
        geometry: ``[N, 19]`` or ``[B, N, 19]`` table.
        size: (H, W) of the slice.
        weights: ``[N, H, W]`` or, per sample, ``[B, N, H, W]``: the weight of every view at every slice pixel, finite
            and not negative, of any floating dtype, such as ``views.border_weights(8)``; 1 if None. The results are NaN
            or infinite where the sum of the weights, or of weighted values, exceeds the arithmetic. A view of weight
            zero (below 1.2e-38) does not show the pixel, and its value there is not used, even if it is NaN. Weights
            have no gradient.
        min_count: where ``count`` is smaller, the variance is ``fill``; positive. With 2, a pixel that one view alone
            shows has no variance, since one value cannot disagree with itself. Up to 1 it asks for any view at all,
            however small its weight.
        fill: the variance where there is none, and the mean where no view shows the pixel; any number or NaN.
        interpolation: ``"bilinear"`` or ``"nearest"``.

    Returns:
        (mean, variance, count), ``[B, C, H, W]`` each: mean and population variance in the stack's dtype; the number of
        views that show the pixel in int32, or with weights their sum in float32 (float64 for a float64 stack).

    Raises:
        ValueError, TypeError: see the module; also for weights of another shape, negative or not finite (checked on the
            CPU alone, since a check on a GPU would wait for the device) or that require a gradient, and for a
            ``min_count`` that is not positive and finite.
    """
    stack, geometry = _checked(stack, "stack"), _checked(geometry, "geometry")
    weights = None if weights is None else _checked(weights, "weights")
    _check_names(interpolation)
    least, fill = positive(min_count, "min_count"), plain_number(fill, "fill")
    op = _UNPROJECT_REDUCE.of(stack, geometry, weights)
    moments: tuple[Tensor, Tensor, Tensor] = op(stack, geometry, pixel_size(size, "size"), interpolation, weights)
    if least <= 1 and fill == 0:
        return moments
    # Nothing distinguishes the channels, nor the samples if they share geometry and weights. Not so in compiled code: a
    # part of the batch axis would make torch assume something about a batch size that it leaves open.
    shared = geometry.dim() == 2 and (weights is None or weights.dim() == 3) and not torch.compiler.is_compiling()
    count = moments[2][:1, :1] if shared else moments[2][:, :1]
    return _filled(*moments, count, fill, least)


def _filled(
    mean: Tensor, variance: Tensor, count: Tensor, seen: Tensor, fill: float, min_count: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The moments with ``fill`` where there are none; ``seen`` broadcasts to ``count``."""
    unseen, fill = seen == 0, fitted(fill, mean.dtype)
    if fill != 0:
        mean = mean.masked_fill(unseen, fill)
    return mean, variance.masked_fill_(unseen if min_count <= 1 else seen < min_count, fill), count
