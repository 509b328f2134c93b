"""Code shared by the GPU backends: the four kernels of ``Backend``, built from six device kernels."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from spuproj.backends.base import Backend, Moments
from spuproj.backends.native import strides_of, weight_planes
from spuproj.backends.taps import Sampling, Taps, Transpose, transpose_of

PLANE_BYTES = 2**32 - 1
"""Largest extent of one plane in memory, in bytes: kernels use 32-bit offsets within a plane."""

SLOPE_BYTES = 256 * 2**20
"""Memory for the gradients of unprojected views in ``reduce_backward``, in bytes; the batch is split to fit."""


class Kernels(Protocol):
    """The device kernels of one backend. Tensors are ``[B, N, C, ., .]``, or ``[B, C, ., .]`` if shared by all views.

    Neighbouring pixels of a plane are a constant stride apart, also across rows; other strides are arbitrary. Kernels
    run on the current stream.

    Attributes:
        points: largest number of taps computed at a time for per-sample geometry.
    """

    points: int

    def taps(self, geometry: Tensor, sampling: Sampling) -> Taps:
        """The taps of ``[N, 19]`` or ``[B, N, 19]`` views."""

    def gather(self, source: Tensor, taps: Taps, destination: Tensor, *, copy: bool, fill: float) -> None:
        """Samples the source into ``[B, N, C, ., .]``; with ``copy``, moves elements without arithmetic (nearest)."""

    def reduce(self, stack: Tensor, taps: Taps, weights: Tensor | None, results: Sequence[Tensor]) -> None:
        """Mean, variance and count of every slice pixel; results are contiguous, weights as of ``weight_planes``."""

    def slopes(self, stack: Tensor, taps: Taps, weights: Tensor | None, moments: Moments, slopes: Tensor) -> None:
        """Gradient of ``reduce`` with respect to the unprojected views; moments and slopes are contiguous."""

    def gather_adjoint(self, source: Tensor, transpose: Transpose, destination: Tensor) -> None:
        """Adjoint of ``gather``, in a fixed order, so deterministic; summed over the views if the result has no N."""

    def gather_adjoint_atomic(self, source: Tensor, taps: Taps, destination: Tensor) -> None:
        """Adjoint of ``gather`` with atomic adds, in any order, into a zeroed tensor of the taps' precision."""


def _uniform(tensor: Tensor) -> Tensor:
    """The tensor if its pixels have a constant stride and planes fit 32-bit offsets, else a contiguous copy."""
    height, width = tensor.shape[-2:]
    if height * width * tensor.itemsize > PLANE_BYTES:
        raise ValueError(
            f"a plane that is read must be of less than 4 GiB here, got {height} x {width} of {tensor.dtype}"
        )
    stride = strides_of(tensor)[-1]
    regular = height == 1 or tensor.stride(-2) == width * stride
    return tensor if regular and height * width * stride * tensor.itemsize <= PLANE_BYTES else tensor.contiguous()


class _Part(NamedTuple):
    """Part of a batch: its samples, their geometry, and whether to cache the taps."""

    samples: slice
    geometry: Tensor
    keep: bool


class GpuBackend(Backend):
    """A GPU backend. Results are bit-identical from run to run, except where ``gather_adjoint_atomic`` is used."""

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
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, weights: Tensor | None, results: Sequence[Tensor]
    ) -> None:
        stack = _uniform(stack)
        each = None if weights is None else weight_planes(weights, len(stack), sampling.precision)
        for part in self._parts(geometry, len(stack), sampling):
            given = None if each is None else each[part.samples]
            self.kernels.reduce(
                stack[part.samples], self._taps(part, sampling), given, [result[part.samples] for result in results]
            )

    def reduce_backward(
        self,
        stack: Tensor,
        geometry: Tensor,
        sampling: Sampling,
        weights: Tensor | None,
        moments: Moments,
        grad_stack: Tensor,
    ) -> None:
        stack, dense = _uniform(stack), [tensor.contiguous() for tensor in moments]
        each = None if weights is None else weight_planes(weights, len(stack), sampling.precision)
        shape = (*stack.shape[1:3], *moments[0].shape[-2:])
        most = max(1, SLOPE_BYTES // (sampling.precision.itemsize * math.prod(shape)))
        for part in self._parts(geometry, len(stack), sampling, most):
            views = stack[part.samples]
            slopes = torch.empty((len(views), *shape), dtype=sampling.precision, device=stack.device)
            given = [tensor[part.samples] for tensor in dense]
            used = None if each is None else each[part.samples]
            self.kernels.slopes(views, self._taps(part, sampling), used, given, slopes)
            gradient = torch.empty_like(views, dtype=sampling.precision, memory_format=torch.contiguous_format)
            self._adjoint_of_part(slopes, part, sampling, gradient)
            grad_stack[part.samples].copy_(gradient)

    def _parts(self, geometry: Tensor, batch: int, sampling: Sampling, most: int | None = None) -> Iterator[_Part]:
        """Splits the batch into parts of at most ``most`` samples whose per-sample taps fit in memory."""
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
        """Adjoint: with a sorted transpose for shared geometry or in deterministic mode, else with atomic adds."""
        if part.geometry.dim() == 2 or torch.are_deterministic_algorithms_enabled():
            self.kernels.gather_adjoint(source, self._transpose(part, sampling), destination)
        elif destination.dtype == sampling.precision:
            self.kernels.gather_adjoint_atomic(source, self._taps(part, sampling), destination.zero_())
        else:
            sums = torch.zeros_like(destination, dtype=sampling.precision)
            self.kernels.gather_adjoint_atomic(source, self._taps(part, sampling), sums)
            destination.copy_(sums)
