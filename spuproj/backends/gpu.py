"""The ops of the GPU backends, from a few kernels that each backend has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from spuproj.backends.gpu_taps import GeometryCache, Sampling, Taps, Transpose, transpose_of
from spuproj.layout import empty_views

Size = Sequence[int]

PLANE_BYTES = 2**32 - 1
"""Bytes that one plane may span."""

PLANE_PIXELS = 2**31 - 1
"""Pixels that one plane that is read may have."""

# Gradients of unprojected views that are held at a time, in bytes.
_SLOPE_BYTES = 256 * 2**20


class Kernels(Protocol):
    """The kernels of one backend. Tensors are ``[B, N, C, ., .]``, or ``[B, C, ., .]`` where all views share them.

    The pixels of a plane lie at one stride; other strides are any. Work is queued on the current stream.

    Attributes:
        points: taps that may be made at a time where each sample has its own.
    """

    points: int

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        """The taps of ``[N, 17]`` or ``[B, N, 17]`` views."""

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool) -> None:
        """Every point's value, into ``[B, N, C, ., .]``; with ``copy`` the elements as they are."""

    def reduce(self, views: Tensor, taps: Taps, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Mean, variance and count of every slice pixel, contiguous."""

    def slopes(
        self,
        views: Tensor,
        taps: Taps,
        grad_mean: Tensor,
        grad_variance: Tensor,
        mean: Tensor,
        count: Tensor,
        slopes: Tensor,
    ) -> None:
        """The gradient of ``reduce`` with respect to the unprojected views; all but views contiguous."""

    def collect(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        """The transpose of ``gather``, in one order of adding; over all views where the destination has no axis N."""

    def scatter(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        """The same in any order, added to zeros of the taps' precision."""


def pixel_stride(plane: Tensor) -> int:
    """The stride of all pixels of ``[..., H, W]`` planes, if they have one."""
    return plane.stride(-1) if plane.shape[-1] > 1 else plane.stride(-2)


def _uniform(tensor: Tensor, argument: str) -> Tensor:
    """The tensor itself where all pixels of a plane lie at one stride within reach, else a contiguous copy."""
    height, width = tensor.shape[-2:]
    if height * width > PLANE_PIXELS or height * width * tensor.itemsize > PLANE_BYTES:
        raise ValueError(
            f"{argument} must have planes of less than 4 GiB and 2^31 pixels, got {height} x {width} of {tensor.dtype}"
        )
    stride = pixel_stride(tensor)
    regular = height == 1 or tensor.stride(-2) == width * stride
    return tensor if regular and height * width * stride * tensor.itemsize <= PLANE_BYTES else tensor.contiguous()


def _sampling(
    reads: Tensor, source: Tensor, interpolation: str, dtype: torch.dtype, *, inverse: bool, padding: str
) -> Sampling:
    """Of the raster of one tensor in that of another."""
    return Sampling(
        raster=(reads.shape[-2], reads.shape[-1]),
        source=(source.shape[-2], source.shape[-1]),
        inverse=inverse,
        nearest=interpolation == "nearest",
        border=padding == "border",
        precision=torch.float64 if dtype == torch.float64 else torch.float32,
    )


def _inverse(slices: Tensor, views: Tensor, interpolation: str) -> Sampling:
    return _sampling(slices, views, interpolation, views.dtype, inverse=True, padding="zeros")


@dataclass(frozen=True)
class _Part:
    """Samples that are worked through at a time, their geometry, and whether what it makes is worth keeping."""

    samples: slice
    geometry: Tensor
    keep: bool


class GpuBackend:
    """A backend's ops. Results are equal bits from run to run, but for those of ``Kernels.scatter``."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.cache = GeometryCache()

    def project(
        self,
        image: Tensor,
        geometry: Tensor,
        view_size: Size,
        interpolation: str,
        padding: str,
        out_dtype: torch.dtype | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Tensor:
        """Views ``[B, N, C, h, w]`` of an image ``[B, C, H, W]``."""
        views = empty_views(image, geometry.shape[-2], view_size, out_dtype, memory_format)
        self.project_out(image, geometry, views, interpolation, padding)
        return views

    def project_out(self, image: Tensor, geometry: Tensor, out: Tensor, interpolation: str, padding: str) -> None:
        """The same, into ``[B, N, C, h, w]``."""
        sampling = _sampling(out, image, interpolation, image.dtype, inverse=False, padding=padding)
        self._gather(_uniform(image, "image"), geometry, sampling, out)

    def project_adjoint(self, views: Tensor, geometry: Tensor, size: Size, interpolation: str, padding: str) -> Tensor:
        """The transpose of ``project``: ``[B, N, C, h, w]`` -> ``[B, C, H, W]``."""
        image = views.new_empty(views.shape[0], views.shape[2], *size)
        sampling = _sampling(views, image, interpolation, views.dtype, inverse=False, padding=padding)
        self._adjoint(_uniform(views, "views"), geometry, sampling, image)
        return image

    def unproject(self, views: Tensor, geometry: Tensor, size: Size, interpolation: str) -> Tensor:
        """Slices ``[B, N, C, H, W]`` of views ``[B, N, C, h, w]``."""
        slices = views.new_empty(*views.shape[:3], *size)
        self._gather(_uniform(views, "views"), geometry, _inverse(slices, views, interpolation), slices)
        return slices

    def unproject_adjoint(self, slices: Tensor, geometry: Tensor, view_size: Size, interpolation: str) -> Tensor:
        """The transpose of ``unproject``: ``[B, N, C, H, W]`` -> ``[B, N, C, h, w]``."""
        views = slices.new_empty(*slices.shape[:3], *view_size)
        self._adjoint(_uniform(slices, "slices"), geometry, _inverse(slices, views, interpolation), views)
        return views

    def unproject_reduce(
        self, views: Tensor, geometry: Tensor, size: Size, interpolation: str
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, population variance and count ``[B, C, H, W]`` over the valid views, in one pass."""
        shape = (views.shape[0], views.shape[2], *size)
        mean, variance = views.new_empty(shape), views.new_empty(shape)
        count = views.new_empty(shape, dtype=torch.int32)
        if views.numel() == 0 or mean.numel() == 0:
            return mean.zero_(), variance.zero_(), count.zero_()
        sampling, source = _inverse(mean, views, interpolation), _uniform(views, "views")
        for part in self._parts(geometry, len(views), sampling):
            taps = self._taps(part, sampling)
            results = (tensor[part.samples] for tensor in (mean, variance, count))
            self.kernels.reduce(source[part.samples], taps, *results)
        return mean, variance, count

    def unproject_reduce_backward(
        self,
        grad_mean: Tensor,
        grad_variance: Tensor,
        views: Tensor,
        geometry: Tensor,
        mean: Tensor,
        count: Tensor,
        interpolation: str,
    ) -> Tensor:
        """Gradient of ``unproject_reduce`` with respect to its views."""
        sampling, source = _inverse(mean, views, interpolation), _uniform(views, "views")
        gradient = torch.empty(views.shape, dtype=sampling.precision, device=views.device)
        if views.numel() == 0 or mean.numel() == 0:
            return gradient.zero_().to(views.dtype)
        grad_mean, grad_variance = grad_mean.contiguous(), grad_variance.contiguous()
        mean, count = mean.contiguous(), count.contiguous()
        shape = (*views.shape[1:3], *mean.shape[-2:])
        most = max(1, _SLOPE_BYTES // (sampling.precision.itemsize * math.prod(shape)))
        for part in self._parts(geometry, len(views), sampling, most):
            stack = source[part.samples]
            slopes = gradient.new_empty(len(stack), *shape)
            given = grad_mean[part.samples], grad_variance[part.samples], mean[part.samples], count[part.samples]
            self.kernels.slopes(stack, self._taps(part, sampling), *given, slopes)
            self._adjoint_of_part(slopes, part, sampling, gradient[part.samples])
        return gradient.to(views.dtype)

    def _parts(self, geometry: Tensor, batch: int, sampling: Sampling, most: int | None = None) -> Iterator[_Part]:
        """The batch in parts of at most so many samples, and of so few that taps of their own fit in memory."""
        samples, shared = batch if most is None else most, geometry.dim() == 2
        if not shared:
            samples = min(samples, max(1, self.kernels.points // (geometry.shape[1] * sampling.pixels)))
        for first in range(0, batch, samples):
            part = slice(first, first + samples)
            yield _Part(part, geometry if shared else geometry[part], shared or samples >= batch)

    def _taps(self, part: _Part, sampling: Sampling) -> Taps:
        make = self.kernels.taps
        return self.cache.get(Taps, part.geometry, sampling, make) if part.keep else make(part.geometry, sampling)

    def _transpose(self, part: _Part, sampling: Sampling) -> Transpose:
        def make(geometry: Tensor, sampling: Sampling) -> Transpose:
            return transpose_of(self._taps(part, sampling))

        return self.cache.get(Transpose, part.geometry, sampling, make) if part.keep else make(part.geometry, sampling)

    def _gather(self, source: Tensor, geometry: Tensor, sampling: Sampling, destination: Tensor) -> None:
        if source.numel() == 0 or destination.numel() == 0:
            destination.zero_()
            return
        copy = sampling.nearest and source.dtype == destination.dtype
        for part in self._parts(geometry, len(source), sampling):
            taps = self._taps(part, sampling)
            self.kernels.gather(source[part.samples], taps, destination[part.samples], copy=copy)

    def _adjoint(self, source: Tensor, geometry: Tensor, sampling: Sampling, destination: Tensor) -> None:
        if source.numel() == 0 or destination.numel() == 0:
            destination.zero_()
            return
        for part in self._parts(geometry, len(source), sampling):
            self._adjoint_of_part(source[part.samples], part, sampling, destination[part.samples])

    def _adjoint_of_part(self, source: Tensor, part: _Part, sampling: Sampling, destination: Tensor) -> None:
        """Collects where a transpose is worth making, or the order of adding must be one; else scatters."""
        if part.geometry.dim() == 2 or torch.are_deterministic_algorithms_enabled():
            self.kernels.collect(source, self._transpose(part, sampling), destination)
        elif destination.dtype == sampling.precision:
            self.kernels.scatter(source, self._taps(part, sampling), destination.zero_())
        else:
            sums = torch.zeros_like(destination, dtype=sampling.precision)
            self.kernels.scatter(source, self._taps(part, sampling), sums)
            destination.copy_(sums)
