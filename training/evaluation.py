"""How good a segmentation is, and whether its uncertainty lies where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Score:
    """One target of one case.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|) over the volume; 1 where both are empty (Dice 1945).
        uncertainty_correct: mean uncertainty over the voxels that model and truth both call target, NaN without any;
            the background, always certain, is left out so that it flatters nothing.
        uncertainty_wrong: mean uncertainty over the voxels that only one of them calls target, NaN without any.
    """

    dice: float
    uncertainty_correct: float
    uncertainty_wrong: float


def dice(truth: NDArray[np.bool_], segmentation: NDArray[np.bool_]) -> float:
    """The Dice coefficient of two masks of one shape; 1 where both are empty."""
    total = int(truth.sum()) + int(segmentation.sum())
    return 1.0 if total == 0 else 2.0 * int((truth & segmentation).sum()) / total


def score(truth: NDArray[np.bool_], segmentation: NDArray[np.bool_], uncertainty: NDArray[np.float32]) -> Score:
    """Scores one target from three maps of one shape.

    Raises:
        ValueError: where the three maps differ in shape.
    """
    if not truth.shape == segmentation.shape == uncertainty.shape:
        raise ValueError(
            f"truth, segmentation and uncertainty must have one shape, got {truth.shape}, {segmentation.shape} "
            f"and {uncertainty.shape}"
        )
    wrong = truth ^ segmentation
    correct = truth & segmentation
    return Score(dice(truth, segmentation), _mean(uncertainty[correct]), _mean(uncertainty[wrong]))


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
