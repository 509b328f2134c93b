"""How well a model expects its own segmentation to agree with the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POSSIBLE = 0.05
"""Smaller probabilities count as 0: over a whole brain they would add up to a tumour."""

NEGLIGIBLE = 0.05
"""In ml: where nothing was found, a possible volume below this does not count."""


def expected_dice(
    probability: NDArray[np.floating], segmentation: NDArray[np.bool_], voxel_volume: float = 0.001
) -> float:
    """How well the model expects its segmentation to agree with the truth: the Dice of segmentation and probability.

    2 sum(p s) / (sum(p) + sum(s)), where s is 1 in the segmentation and probabilities below ``POSSIBLE`` count as 0.
    Where nothing was segmented it is 1 if sum(p) is less than ``NEGLIGIBLE`` ml, else 0.

    Args:
        probability: any shape, in [0, 1].
        segmentation: of the same shape.
        voxel_volume: in ml.

    Returns:
        From 0 to 1.
    """
    possible = np.where(probability < POSSIBLE, 0, probability.astype(np.float64))
    if not segmentation.any():
        return float(possible.sum() * voxel_volume < NEGLIGIBLE)
    return float(2 * possible[segmentation].sum() / (possible.sum() + segmentation.sum()))
