"""Memory that calls write into again and again."""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor


def buffer(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros in large pages, where the system has them: as spuproj makes its own results, and numpy large arrays."""
    memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(*shape).zero_()
