"""The interface of a backend: the kernels behind the ops. ``spuproj.ops`` checks and allocates their tensors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spuproj.backends.prepared import PreparedStore
from spuproj.backends.taps import Sampling

Launch = Any
"""Data that a backend needs, in addition to the arguments, to repeat a call."""

Moments = Sequence[Tensor]
"""Inputs of the gradient of ``reduce``, ``[B, C, H, W]`` each: grad_mean, grad_variance, mean, count."""

SMALLEST_WEIGHT: float = torch.finfo(torch.float32).tiny
"""Smaller weights count as zero: the reciprocal of their sum could overflow."""

CALLS = 64
"""Most repeatable calls that are kept for a geometry."""

OUTWEIGHS = 8
"""Variances sum deviations from one view's value; a view of more than this many times its weight takes its place."""


class Result(NamedTuple):
    """Shape, dtype and layout of a result; with ``channels_last`` each view is stored channels-last."""

    shape: Sequence[int]
    dtype: torch.dtype
    channels_last: bool = False

    def empty(self, device: torch.device) -> Tensor:
        """An uninitialised tensor of this layout."""
        if not self.channels_last:
            return torch.empty(tuple(self.shape), dtype=self.dtype, device=device)
        *leading, channels, height, width = self.shape
        return torch.empty((*leading, height, width, channels), dtype=self.dtype, device=device).movedim(-1, -3)


def returned(results: Sequence[Tensor]) -> Any:
    """Results as an op returns them: None, one tensor, or a tuple."""
    return tuple(results) if len(results) > 1 else results[0] if results else None


def overlap(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors that have elements lie in the same part of memory, be it in each other's gaps."""
    return first.data_ptr() < _end(second) and second.data_ptr() < _end(first)


def _end(tensor: Tensor) -> int:
    """The address behind the last element of a tensor."""
    reach = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr() + (reach + 1) * tensor.element_size()


class Backend(ABC):
    """Four kernels, from which all ops are built.

    A geometry ``[N, 19]`` or ``[B, N, 19]`` and a sampling define which source pixels a pixel reads. Sources
    may have any strides; the caller allocates dense results; no tensor is empty. A kernel may return a ``Launch``, with
    which ``keep`` and ``repeat`` make the same call on tensors of the same shapes, strides and dtypes.

    Args:
        prepared: the cache of taps and transposes; None for a backend that caches nothing.
    """

    def __init__(self, prepared: PreparedStore | None = None) -> None:
        self.prepared = PreparedStore(0) if prepared is None else prepared

    def empty(self, result: Result, device: torch.device) -> Tensor:
        """An uninitialised tensor for a result."""
        return result.empty(device)

    def prepare(self, geometry: Tensor, samplings: Sequence[Sampling], *, backward: bool) -> None:  # noqa: B027
        """Computes ahead what calls with these samplings need, so that a CUDA graph can use it.

        Does nothing unless the backend implements it.

        Args:
            backward: whether also what their gradients need.
        """

    def repeat(self, op: object, geometry_at: int, given: tuple[Any, ...]) -> Any:
        """The results of a kept call of ``op``, made again with these arguments; NotImplemented where none fits.

        A call fits if the arguments differ only in the values of the tensors, and what it writes, the last tensor
        among them if it has no results, overlaps none that it reads. ``geometry_at`` is the position of the geometry.
        """
        return NotImplemented

    def keep(
        self, op: object, geometry_at: int, given: tuple[Any, ...], results: Sequence[Tensor], launch: Launch
    ) -> None:
        """Keeps a finished call for ``repeat``. Must be implemented if kernels return a ``Launch``."""
        raise NotImplementedError

    @abstractmethod
    def gather(
        self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor, fill: float
    ) -> Launch | None:
        """Samples the source at every point: ``[B, N, C, ., .]``, of any dtype.

        Args:
            source: ``[B, C, ., .]``, shared by all views, or a stack ``[B, N, C, ., .]``.
            geometry, sampling: see the class.
            result: dense, or with each view channels-last; if the source is a stack, of its dtype.
            fill: value of points that read no pixel; 0 if the source is a stack.
        """

    @abstractmethod
    def gather_adjoint(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor) -> Launch | None:
        """Adjoint of ``gather``: ``[B, N, C, ., .]`` -> the same shape, or ``[B, C, ., .]``, summed over the views."""

    @abstractmethod
    def reduce(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, weights: Tensor | None, results: Sequence[Tensor]
    ) -> Launch | None:
        """Mean, population variance and count over the views that show each pixel; zeros where none does.

        Args:
            stack, geometry, sampling: see the class.
            weights: ``[N, H, W]`` or ``[B, N, H, W]``, floating, any strides; with them moments are weighted, and count
                is the sum of the weights. The value of a view of weight zero is not used. On CPU tensors, raises
                ValueError for a weight that is negative or not finite.
            results: mean, variance and count; count is int32, or with weights of the arithmetic dtype.
        """

    @abstractmethod
    def reduce_backward(
        self,
        stack: Tensor,
        geometry: Tensor,
        sampling: Sampling,
        weights: Tensor | None,
        moments: Moments,
        grad_stack: Tensor,
    ) -> Launch | None:
        """Gradient of ``reduce`` with respect to its stack."""
