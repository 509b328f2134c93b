"""Argument checks that several modules share."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pixel_size(value: Sequence[int], argument: str) -> tuple[int, int]:
    """A raster's (height, width). Raises ValueError unless it is two positive whole numbers."""
    pair = tuple(value)
    if len(pair) != 2 or any(isinstance(n, bool) or int(n) != n or n < 1 for n in pair):
        raise ValueError(f"{argument} must be two positive whole numbers (height, width), got {pair}")
    return int(pair[0]), int(pair[1])


def positive(value: float, argument: str) -> float:
    """A positive, finite number. Raises ValueError otherwise."""
    number = float(value)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{argument} must be positive and finite, got {number}")
    return number


def choice(value: str, allowed: Sequence[str], argument: str) -> str:
    """One of the allowed names. Raises ValueError otherwise."""
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}, got {value!r}")
    return value
