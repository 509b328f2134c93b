"""Argument checks that several modules share."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]


def pixel_size(value: Sequence[int], argument: str, meaning: str = "height, width") -> tuple[int, int]:
    """Checks a pair of positive integers and returns it as a tuple. Raises ValueError for anything else.

    Sizes that ``torch.export`` and ``torch.compile`` leave open stay symbols.
    """
    # Fast path: nearly every call passes a tuple of two ints.
    if type(value) is tuple and len(value) == 2:
        height, width = value
        if type(height) is type(width) is int and height >= 1 and width >= 1:
            return value
    try:
        first, second = value
        whole = not isinstance(value, (str, bytes, set, dict)) and _is_size(first) and _is_size(second)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        whole = False
    if not whole:
        raise ValueError(f"{argument} must be two positive whole numbers ({meaning}), got {value!r:.200}")
    return _symbol_or_int(first), _symbol_or_int(second)


def _is_size(n: Any) -> bool:
    if isinstance(n, torch.SymInt):
        return True
    if isinstance(n, (bool, str, bytes)):
        return False
    if not n >= 1:
        return False
    # In compiled code an int may be a symbol, whose range further comparisons would narrow.
    return (isinstance(n, int) and torch.compiler.is_compiling()) or bool(n == math.floor(n) and n < 2**63)


def _symbol_or_int(n: int) -> int:
    return n if isinstance(n, (int, torch.SymInt)) else int(n)


def refuse_gradient(value: object, argument: str) -> None:
    """Raises ValueError for a tensor that requires a gradient where it would get none."""
    if getattr(value, "requires_grad", False):
        raise ValueError(f"{argument} must not require a gradient, since it gets none here; see spuproj.LearnableViews")


def number_of(value: float, argument: str) -> float:
    """Converts to float. Raises TypeError for what is no number, and ValueError if it requires a gradient."""
    refuse_gradient(value, argument)
    # float() takes text for the number that it names.
    if isinstance(value, (bool, str, bytes)):
        raise TypeError(f"{argument} must be a number, got {value!r}")
    try:
        return whole_float(value) if isinstance(value, int) else float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{argument} must be a number, got {value!r}") from None


def whole_float(value: int) -> float:
    """A whole number as a float, infinite if it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def positive(value: float, argument: str) -> float:
    """Converts to float. Raises ValueError unless the number is positive and finite."""
    number = number_of(value, argument)
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{argument} must be positive and finite, got {number}")
    return number


def flag(value: bool, argument: str) -> bool:
    """Returns the value. Raises TypeError unless it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{argument} must be True or False, got {value!r}")
    return bool(value)


def choice(value: str, allowed: Collection[str], argument: str) -> str:
    """Returns the value. Raises ValueError unless it is one of the allowed names."""
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def finite_weights(weights: Tensor) -> Tensor:
    """Returns the weights. Raises ValueError if any is negative or not finite; those on a GPU are not looked at."""
    low, high = (weights.is_cpu and extremes(weights)) or (0, 0)
    if not (low >= 0 and high < math.inf):
        raise ValueError(f"weights must be finite and not negative, got values from {low:g} to {high:g}")
    return weights


def extremes(values: Tensor) -> tuple[float, float] | None:
    """The smallest and the largest value, NaN if one is; None if there is none, or where no value can be read.

    That is in compiled code, in what ``torch.jit.trace`` traces, on the meta device, and under ``torch.vmap``.
    """
    if torch.compiler.is_compiling() or is_tracing() or values.is_meta or values.numel() == 0:
        return None
    low, high = values.detach().aminmax()
    try:
        return float(low), float(high)
    except RuntimeError:  # Under vmap.
        return None
