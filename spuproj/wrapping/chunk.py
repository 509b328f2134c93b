"""How many images a network takes in one forward pass: a number, or an amount of memory."""

import re

import numpy as np
from torch import Tensor

Chunk = int | str
"""A number of images, or an amount of memory such as ``"64 MiB"``."""

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def checked_chunk(chunk: Chunk | None) -> Chunk | None:
    """Returns the chunk. Raises ValueError for anything but a positive whole number or amount of memory, or None."""
    whole = isinstance(chunk, (int, np.integer)) and not isinstance(chunk, bool) and chunk >= 1
    if chunk is None or whole or (isinstance(chunk, str) and _bytes(chunk) > 0):
        return chunk
    raise ValueError(f"chunk must be a positive whole number, or memory such as '64 MiB', got {chunk!r}")


def images_per_pass(chunk: Chunk, images: Tensor) -> int:
    """How many of the images ``[M, ...]`` a chunk is, at least one."""
    if not isinstance(chunk, str):
        return int(chunk)
    return max(1, int(_bytes(chunk) // (images.shape[1:].numel() * images.element_size())))


def _bytes(memory: str) -> float:
    """The bytes of ``"64 MiB"`` and the like; 0 if it is no amount of memory."""
    parts = re.fullmatch(r"(\d+(?:\.\d+)?) ?(KiB|MiB|GiB)", memory.strip())
    return float(parts[1]) * _UNITS[parts[2]] if parts else 0
