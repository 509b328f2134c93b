"""What a backend is: the kernels behind the ops, on tensors that ``spuproj.ops`` has checked and allocated."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spuproj.backends.prepared import PreparedStore
from spuproj.backends.taps import Sampling

Launch = Any
"""What a backend needs beside a call's arguments to make it again."""

Moments = tuple[Tensor, Tensor, Tensor, Tensor]
"""What the gradient of ``reduce`` is made of, ``[B, C, H, W]`` each: grad_mean, grad_variance, mean, count."""


class Result(NamedTuple):
    """Shape, dtype and layout of a result.

    Attributes:
        shape: of any rank.
        dtype: of its elements.
        channels_last: whether the axis before the last two lies innermost in memory, view by view.
    """

    shape: Sequence[int]
    dtype: torch.dtype
    channels_last: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def empty(self, device: torch.device) -> Tensor:
        """The tensor, uninitialised."""
        return self.of(lambda shape: torch.empty(shape, dtype=self.dtype, device=device))

    def of(self, make: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
        """The tensor, from what makes contiguous ones."""
        if not self.channels_last:
            return make(tuple(self.shape))
        *leading, channels, height, width = self.shape
        return make((*leading, height, width, channels)).movedim(-1, -3)


@dataclass(frozen=True)
class KeptCall:
    """What there is to keep of a call.

    Attributes:
        tensors_at: positions of the arguments that the kernel reads.
        results: that it has written.
        launch: what the backend's kernel returned.
    """

    tensors_at: Sequence[int]
    results: Sequence[Tensor]
    launch: Launch


class Backend(ABC):
    """Four kernels, from which all ops follow. They write into dense memory that they are given; no tensor is empty.

    A geometry ``[N, 19]`` or ``[B, N, 19]`` and a sampling say which pixels read which. What is read may have any
    strides. Each kernel may return what makes the same call again, on tensors of the same shapes, strides and dtypes.

    Args:
        limit: bytes of what is prepared for geometries and kept.
    """

    def __init__(self, limit: int = 0, calls_of: Callable[[Tensor], Any] = lambda table: None) -> None:
        self.prepared = PreparedStore(limit, calls_of)

    def empty(self, result: Result, device: torch.device) -> Tensor:
        """Memory for a result."""
        return result.empty(device)

    def again(self, op: object, geometry_at: int, given: tuple[Any, ...]) -> Any:
        """The op's results, from a call like one that was kept; NotImplemented where there is none.

        Args:
            op: any object that stands for the op.
            geometry_at: the position of the geometry among the arguments.
            given: the arguments.
        """
        return NotImplemented

    def keep(self, op: object, geometry_at: int, given: tuple[Any, ...], call: KeptCall) -> None:
        """Keeps a call for ``again``. Backends whose kernels return a ``Launch`` have it."""
        raise NotImplementedError

    @abstractmethod
    def gather(
        self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor, fill: float
    ) -> Launch | None:
        """Every point's value, ``[B, N, C, ., .]``, of any dtype: blended, or taken as it is where that can be.

        Args:
            source: ``[B, C, ., .]``, which all views read, or ``[B, N, C, ., .]``.
            geometry, sampling: see the class.
            result: to be written; dense, or channels-last view by view. Of a stack it has the dtype.
            fill: what points without a source get; 0 where the source is a stack.
        """

    @abstractmethod
    def gather_adjoint(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor) -> Launch | None:
        """The transpose: ``[B, N, C, ., .]`` to ``[B, N, C, ., .]``, or to its sum over the views, ``[B, C, ., .]``."""

    @abstractmethod
    def reduce(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, mean: Tensor, variance: Tensor, count: Tensor
    ) -> Launch | None:
        """Mean, population variance and count over the views that show a pixel; zeros where none does."""

    @abstractmethod
    def reduce_backward(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, moments: Moments, grad_stack: Tensor
    ) -> Launch | None:
        """Gradient of ``reduce`` with respect to its stack."""
