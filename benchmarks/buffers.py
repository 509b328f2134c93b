"""Memory that calls write into again and again."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

from spuproj.benchmarks.cases import Case

_LARGE_PAGE = 2**21


def buffer(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros in large pages, where the system has them: as spuproj makes its own results, and numpy large arrays."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(*shape, dtype=dtype)
    elements = math.prod(shape)
    length = -(-elements * dtype.itemsize // _LARGE_PAGE) * _LARGE_PAGE
    memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=elements).view(*shape).zero_()


def planar_stack(case: Case) -> Tensor:
    """``[B, N, C, H, W]``"""
    return buffer(case.stack_shape, case.torch_dtype)


def interleaved_stack(case: Case) -> Tensor:
    """``[B, N, H, W, C]``"""
    return buffer((case.batch, case.views, *case.size, case.channels), case.torch_dtype)
