"""Conversions of arguments for compiled kernels: codes of dtypes, shapes, the bits of one element."""

import sys

import torch
from torch import Tensor

CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
"""Codes of the dtypes that kernels compute with, as in ``csrc/include/spuproj/element.hpp``."""


def shape_of(stack: Tensor) -> tuple[int, int, int]:
    """Batch, views and channels of a ``[B, N, C, ., .]`` tensor."""
    batch, views, channels = stack.shape[:3]
    return batch, views, channels


def bits_of(number: float, dtype: torch.dtype) -> int:
    """The bits of one element with this value."""
    element = torch.tensor([number], dtype=dtype, device="cpu").view(torch.uint8)
    return int.from_bytes(bytes(element.tolist()), sys.byteorder)
