"""How good a segmentation is, and whether its uncertainty lies where it is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spuproj.training.evaluation.metrics import dice


@dataclass(frozen=True)
class Score:
    """One target of one case.

    Attributes:
        dice: 2 |A and B| / (|A| + |B|) over the volume; 1 where both are empty (Dice 1945).
        uncertainty_correct: mean uncertainty over the brain's correctly labelled voxels, NaN without any.
        uncertainty_inside: the same over those that model and truth both call target: unlike the background, they are
            as near to a border as the wrong ones.
        uncertainty_wrong: mean uncertainty over the wrongly labelled voxels, NaN without any.
    """

    dice: float
    uncertainty_correct: float
    uncertainty_inside: float
    uncertainty_wrong: float


def score(
    truth: NDArray[np.bool_],
    segmentation: NDArray[np.bool_],
    uncertainty: NDArray[np.float32],
    brain: NDArray[np.bool_],
) -> Score:
    """Scores one target from maps of one shape.

    Raises:
        ValueError: where the maps differ in shape.
    """
    shapes = {array.shape for array in (truth, segmentation, uncertainty, brain)}
    if len(shapes) > 1:
        raise ValueError(f"truth, segmentation, uncertainty and brain must have one shape, got {sorted(shapes)}")
    wrong = truth ^ segmentation
    return Score(
        dice=dice(truth, segmentation),
        uncertainty_correct=_mean(uncertainty[brain & ~wrong]),
        uncertainty_inside=_mean(uncertainty[truth & segmentation]),
        uncertainty_wrong=_mean(uncertainty[wrong]),
    )


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else float("nan")
