"""The tensor that ``project`` writes: its dtype and its memory format."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MEMORY_FORMATS = (torch.contiguous_format, torch.channels_last)
"""Formats of a stack of views ``[B, N, C, h, w]``; under ``channels_last`` each view's channels lie side by side."""


def empty_views(
    image: Tensor,
    count: int,
    view_size: Sequence[int],
    dtype: torch.dtype | None = None,
    memory_format: torch.memory_format | None = None,
) -> Tensor:
    """An uninitialised ``[B, N, C, h, w]`` stack of ``count`` views of an image ``[B, C, H, W]``, on its device."""
    batch, channels = image.shape[:2]
    if memory_format == torch.channels_last:
        return image.new_empty(batch, count, *view_size, channels, dtype=dtype).permute(0, 1, 4, 2, 3)
    return image.new_empty(batch, count, channels, *view_size, dtype=dtype)
