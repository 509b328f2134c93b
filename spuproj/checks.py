"""Argument checks that several modules share."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def pixel_size(value: Sequence[int], argument: str, meaning: str = "height, width") -> tuple[int, int]:
    """Two positive whole numbers. Raises ValueError for anything else."""
    # Fast path for what nearly every call passes.
    if type(value) is tuple and len(value) == 2:
        height, width = value
        if type(height) is type(width) is int and height >= 1 and width >= 1:
            return value
    try:
        first, second = value
        whole = all(not isinstance(n, bool) and n == math.floor(n) and n >= 1 for n in (first, second))
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise ValueError(f"{argument} must be two positive whole numbers ({meaning}), got {value}")
    return int(first), int(second)


def number_of(value: float, argument: str) -> float:
    """A number as a float. Raises ValueError for a tensor that requires a gradient, since it would get none."""
    if getattr(value, "requires_grad", False):
        raise ValueError(f"{argument} must not require a gradient: the ops have none with respect to the geometry")
    return float(value)


def positive(value: float, argument: str) -> float:
    """A positive, finite number. Raises ValueError otherwise."""
    number = number_of(value, argument)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{argument} must be positive and finite, got {number}")
    return number


def choice(value: str, allowed: Collection[str], argument: str) -> str:
    """One of the allowed names. Raises ValueError otherwise."""
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}, got {value!r}")
    return value
