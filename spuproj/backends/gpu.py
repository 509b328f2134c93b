"""The ops of the GPU backends, from a few kernels that each backend has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from spuproj.backends.base import Backend, Moments
from spuproj.backends.taps import Sampling, Taps, Transpose, transpose_of

PLANE_BYTES = 2**32 - 1
"""Bytes that one plane may span."""

SLOPE_BYTES = 256 * 2**20
"""Gradients of unprojected views that are held at a time, in bytes."""


class Kernels(Protocol):
    """The kernels of one backend. Tensors are ``[B, N, C, ., .]``, or ``[B, C, ., .]`` where all views share them.

    The pixels of a plane lie at one stride; other strides are any. Work is queued on the current stream.

    Attributes:
        points: taps that may be made at a time where each sample has its own.
    """

    points: int

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        """The taps of ``[N, 19]`` or ``[B, N, 19]`` views."""

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool, fill: float) -> None:
        """Every point's value, into ``[B, N, C, ., .]``; with ``copy`` the elements as they are."""

    def reduce(self, stack: Tensor, taps: Taps, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Mean, variance and count of every slice pixel, contiguous."""

    def slopes(self, stack: Tensor, taps: Taps, moments: Moments, slopes: Tensor) -> None:
        """The gradient of ``reduce`` with respect to the unprojected views; all but the stack contiguous."""

    def gather_adjoint(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        """The transpose of ``gather``, in one order of adding; over all views where the destination has no axis N."""

    def gather_adjoint_atomic(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        """The same in any order, added to zeros of the taps' precision."""


def pixel_stride(plane: Tensor) -> int:
    """The stride of all pixels of ``[..., H, W]`` planes, if they have one."""
    return plane.stride(-1) if plane.shape[-1] > 1 else plane.stride(-2)


def _uniform(tensor: Tensor) -> Tensor:
    """The tensor itself where all pixels of a plane lie at one stride within reach, else a contiguous copy."""
    height, width = tensor.shape[-2:]
    if height * width * tensor.itemsize > PLANE_BYTES:
        raise ValueError(
            f"a plane that is read must be of less than 4 GiB here, got {height} x {width} of {tensor.dtype}"
        )
    stride = pixel_stride(tensor)
    regular = height == 1 or tensor.stride(-2) == width * stride
    return tensor if regular and height * width * stride * tensor.itemsize <= PLANE_BYTES else tensor.contiguous()


@dataclass(frozen=True)
class _Part:
    """Samples that are worked through at a time, their geometry, and whether what it makes is worth keeping."""

    samples: slice
    geometry: Tensor
    keep: bool


class GpuBackend(Backend):
    """A backend's ops. Results are equal bits from run to run, but for those of ``Kernels.gather_adjoint_atomic``."""

    def __init__(self, kernels: Kernels) -> None:
        super().__init__(limit=512 * 2**20)
        self.kernels = kernels

    def gather(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor, fill: float) -> None:
        source, copy = _uniform(source), sampling.nearest and source.dtype == result.dtype
        for part in self._parts(geometry, len(source), sampling):
            taps = self._taps(part, sampling)
            self.kernels.gather(source[part.samples], taps, result[part.samples], copy=copy, fill=fill)

    def gather_adjoint(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor) -> None:
        source = _uniform(source)
        for part in self._parts(geometry, len(source), sampling):
            self._adjoint_of_part(source[part.samples], part, sampling, result[part.samples])

    def reduce(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, mean: Tensor, variance: Tensor, count: Tensor
    ) -> None:
        stack = _uniform(stack)
        for part in self._parts(geometry, len(stack), sampling):
            results = (tensor[part.samples] for tensor in (mean, variance, count))
            self.kernels.reduce(stack[part.samples], self._taps(part, sampling), *results)

    def reduce_backward(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, moments: Moments, grad_stack: Tensor
    ) -> None:
        stack, dense = _uniform(stack), [tensor.contiguous() for tensor in moments]
        shape = (*stack.shape[1:3], *moments[0].shape[-2:])
        most = max(1, SLOPE_BYTES // (sampling.precision.itemsize * math.prod(shape)))
        for part in self._parts(geometry, len(stack), sampling, most):
            views = stack[part.samples]
            slopes = torch.empty((len(views), *shape), dtype=sampling.precision, device=stack.device)
            grad_mean, grad_variance, mean, count = (tensor[part.samples] for tensor in dense)
            given = (grad_mean, grad_variance, mean, count)
            self.kernels.slopes(views, self._taps(part, sampling), given, slopes)
            gradient = torch.empty_like(views, dtype=sampling.precision, memory_format=torch.contiguous_format)
            self._adjoint_of_part(slopes, part, sampling, gradient)
            grad_stack[part.samples].copy_(gradient)

    def _parts(self, geometry: Tensor, batch: int, sampling: Sampling, most: int | None = None) -> Iterator[_Part]:
        """The batch in parts of at most so many samples, and of so few that taps of their own fit in memory."""
        samples, shared = batch if most is None else most, geometry.dim() == 2
        if not shared:
            samples = min(samples, max(1, self.kernels.points // (geometry.shape[1] * sampling.pixels)))
        for first in range(0, batch, samples):
            part, whole = slice(first, first + samples), shared or samples >= batch
            yield _Part(part, geometry if whole else geometry[part], whole)

    def _taps(self, part: _Part, sampling: Sampling) -> Taps:
        make = self._new_taps
        return self.prepared.get(part.geometry, sampling, make) if part.keep else make(part.geometry, sampling)

    def _new_taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        return self.kernels.taps(geometry, sampling)

    def _transpose(self, part: _Part, sampling: Sampling) -> Transpose:
        if not part.keep:
            return transpose_of(self._new_taps(part.geometry, sampling))
        return self.prepared.get(part.geometry, sampling, self._new_transpose)

    def _new_transpose(self, geometry: Tensor, sampling: Sampling) -> Transpose:
        return transpose_of(self.prepared.get(geometry, sampling, self._new_taps))

    def _adjoint_of_part(self, source: Tensor, part: _Part, sampling: Sampling, destination: Tensor) -> None:
        """Through a transpose where that is worth making or the order of adding must be one, else with atomics."""
        if part.geometry.dim() == 2 or torch.are_deterministic_algorithms_enabled():
            self.kernels.gather_adjoint(source, self._transpose(part, sampling), destination)
        elif destination.dtype == sampling.precision:
            self.kernels.gather_adjoint_atomic(source, self._taps(part, sampling), destination.zero_())
        else:
            sums = torch.zeros_like(destination, dtype=sampling.precision)
            self.kernels.gather_adjoint_atomic(source, self._taps(part, sampling), sums)
            destination.copy_(sums)
