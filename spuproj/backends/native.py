"""Conversions of arguments for kernels: codes of dtypes, strides, dense planes, weights, the bits of one element."""

import sys

import torch
from torch import Tensor

CODES = {torch.float32: 0, torch.float64: 1, torch.float16: 2, torch.bfloat16: 3}
"""Codes of the dtypes that kernels compute with, as in ``csrc/include/spuproj/element.hpp``."""


def strides_of(tensor: Tensor) -> tuple[int, int, int, int]:
    """Strides of batch, view, channel and pixel; a view stride of zero for ``[B, C, ., .]``, shared by all views."""
    batch, *view, channel, row, pixel = tensor.stride()
    return batch, view[0] if view else 0, channel, pixel if tensor.shape[-1] > 1 else row


def dense(tensor: Tensor) -> Tensor:
    """The tensor itself if each plane is contiguous, else a contiguous copy."""
    is_dense = tensor.stride(-1) == 1 and tensor.stride(-2) == tensor.shape[-1]
    return tensor if is_dense else tensor.contiguous()


def weight_planes(weights: Tensor, batch: int, precision: torch.dtype) -> Tensor:
    """Weights of a batch as dense planes ``[B, N, 1, H, W]`` of the arithmetic dtype, without a copy where possible.

    The batch stride is zero for weights that the batch shares.
    """
    return dense(weights.to(precision)).expand(batch, *weights.shape[-3:]).unsqueeze(2)


def bits_of(number: float, dtype: torch.dtype) -> int:
    """The bits of one element with this value."""
    element = torch.tensor([number], dtype=dtype, device="cpu").view(torch.uint8)
    return int.from_bytes(bytes(element.tolist()), sys.byteorder)
