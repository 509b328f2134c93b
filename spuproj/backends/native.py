"""Conversions of arguments for compiled kernels: codes of dtypes, strides, the bits of one element."""

import sys

import torch
from torch import Tensor

CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
"""Codes of the dtypes that kernels compute with, as in ``csrc/include/spuproj/element.hpp``."""


def strides_of(tensor: Tensor) -> tuple[int, int, int, int]:
    """Strides of batch, view, channel and pixel; a view stride of zero for ``[B, C, ., .]``, shared by all views."""
    batch, *view, channel, row, pixel = tensor.stride()
    return batch, view[0] if view else 0, channel, pixel if tensor.shape[-1] > 1 else row


def bits_of(number: float, dtype: torch.dtype) -> int:
    """The bits of one element with this value."""
    element = torch.tensor([number], dtype=dtype, device="cpu").view(torch.uint8)
    return int.from_bytes(bytes(element.tolist()), sys.byteorder)
