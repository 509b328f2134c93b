"""Pixel-wise uncertainty of a probability map."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["entropy"]


def entropy(probability: Tensor) -> Tensor:
    """Predictive entropy of a binary segmentation, -p ln p - (1 - p) ln(1 - p) (Shannon 1948).

    Args:
        probability: any shape, floating, values in [0, 1]: the mean over views.

    Returns:
        The same shape and dtype, in nats, from 0 (certain) to ln 2 (p = 1/2); NaN where the probability lies outside
        [0, 1].

    Raises:
        TypeError: for a dtype that is not floating point.
    """
    if not probability.dtype.is_floating_point:
        raise TypeError(f"probability must be of a floating-point dtype, got {probability.dtype}")
    other = 1 - probability
    return -(torch.xlogy(probability, probability) + torch.xlogy(other, other))
