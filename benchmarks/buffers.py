"""Memory that calls write into again and again."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

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
