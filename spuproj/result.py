"""A tensor that an op makes, before there is memory for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


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
