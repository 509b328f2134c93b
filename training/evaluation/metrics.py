"""Measures of one target of one case: agreement with the truth, and how well uncertainty marks the errors.

A new measure is a field of ``Metrics`` and its value in ``measure``; the console and LaTeX tables show those that
``SHOWN`` in ``tables.py`` names.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from numpy.typing import NDArray

from spuproj.checks import choice
from spuproj.training.evaluation.calibration import binned, calibration_error, negative_log_likelihood
from spuproj.training.evaluation.error_detection import aurc, corrected_dice, detection, looked_at, soft_dice
from spuproj.training.evaluation.expected_dice import expected_dice
from spuproj.uncertainty import QuBrats, qu_brats

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

EMPTY = ("brats", "nan")
"""Conventions for empty masks. ``brats``: if both masks are empty, Dice and sensitivity are 1 and the distance is 0; if
one is, Dice and sensitivity are 0 and the distance is the diagonal of the volume. ``nan``: a measure that is undefined
for an empty mask is NaN."""

CORRECTED = (1, 5, 10)
"""Percent of the brain's voxels that are corrected in the measures ``corrected_1`` and so on."""


@dataclass(frozen=True)
class CaseMaps:
    """The maps of one target of one case, all of the same shape ``[Z, H, W]``.

    Attributes:
        truth: mask of the target.
        segmentation: mask that was predicted.
        probability: predicted probability of the target, in [0, 1].
        percent: uncertainty, in [0, 100].
        brain: mask of the voxels that the measures of uncertainty and calibration look at.
        spacing: size of a voxel along each axis, in mm.
        without_variance: number of the brain's voxels whose uncertainty is their entropy, since they have no variance.
    """

    truth: Mask
    segmentation: Mask
    probability: Values
    percent: Values
    brain: Mask
    spacing: Sequence[float]
    without_variance: int = 0


@dataclass(frozen=True)
class Metrics:
    """The measures of one target of one case; ``measure`` says what they are."""

    dice: float
    sensitivity: float
    specificity: float
    accuracy: float
    hd95: float
    score: float
    baseline: float
    auc_dice: float
    auc_ftp: float
    auc_ftn: float
    auroc: float
    average_precision: float
    aurc: float
    ece: float
    nll: float
    error_dice: float
    flagged_90: float
    precision_90: float
    corrected_1: float
    corrected_5: float
    corrected_10: float
    mean_uncertainty: float
    expected_dice: float
    without_variance: float


@dataclass(frozen=True)
class Curves:
    """The curves of one target of one case, for the plots.

    Attributes:
        qu_brats: curves of the QU-BraTS score over the threshold.
        voxels: ``[bins]``, number of brain voxels in each bin of probability.
        predicted: ``[bins]``, sum of their probabilities.
        positive: ``[bins]``, number of target voxels among them.
    """

    qu_brats: QuBrats
    voxels: Values
    predicted: Values
    positive: Values


@dataclass(frozen=True)
class ErrorUncertainty:
    """The uncertainty of correctly and of wrongly labelled voxels, for one target of one case.

    Attributes:
        dice: Dice coefficient of the segmentation; 1 where both masks are empty.
        uncertainty_correct: mean uncertainty of the brain's correctly labelled voxels, NaN without any.
        uncertainty_inside: mean uncertainty of the true positives, NaN without any. Unlike the background, these are as
            close to a border as the wrong voxels.
        uncertainty_wrong: mean uncertainty of the wrongly labelled voxels, NaN without any.
    """

    dice: float
    uncertainty_correct: float
    uncertainty_inside: float
    uncertainty_wrong: float


def measure(maps: CaseMaps, empty: str = "brats") -> tuple[Metrics, Curves]:
    """All metrics of one target of one case.

    Of the whole volume, from 0 to 1 unless said otherwise:

    - ``dice``: 2 TP / (2 TP + FP + FN) (Dice 1945); ``sensitivity``: TP / (TP + FN).
    - ``hd95``: 95th percentile of the distances between the surfaces, in mm.
    - ``score``, ``auc_dice``, ``auc_ftp``, ``auc_ftn``: the QU-BraTS score and its parts, see
      ``spuproj.uncertainty.qu_brats`` (true negatives are counted in the brain alone).
    - ``baseline``: the QU-BraTS score of an uncertainty of 0 everywhere, (Dice + 2) / 3.
    - ``corrected_1``, ``corrected_5``, ``corrected_10``: Dice after so many percent of the brain's voxels, the most
      uncertain ones, are set to the truth, see ``corrected_dice``; NaN where ``dice`` is.
    - ``expected_dice``: the Dice that the model itself expects, see ``expected_dice``.

    Of the brain, from 0 to 1 unless said otherwise:

    - ``specificity``: TN / (TN + FP), NaN where every voxel is target; ``accuracy``: the share of correct voxels.
    - ``auroc``, ``average_precision``: of the uncertainty as a detector of wrong voxels; NaN where all voxels are
      correct or all are wrong.
    - ``aurc``: area under the risk-coverage curve (Geifman and El-Yaniv 2017), see ``aurc``.
    - ``ece``: expected calibration error of the probability (Naeini et al. 2015), see ``calibration_error``.
    - ``nll``: negative log-likelihood of the probability, in nats, see ``negative_log_likelihood``.
    - ``error_dice``: Dice of the wrong voxels with the uncertainty as a weight from 0 to 1.
    - ``flagged_90``, ``precision_90``: share of the voxels that must be looked at, the most uncertain first, to find 90
      percent of the wrong ones, and the share of wrong ones among them, see ``looked_at``; NaN where all are correct.
    - ``mean_uncertainty``: from 0 to 100.
    - ``without_variance``: number of voxels whose uncertainty is their entropy, see ``CaseMaps``.

    Args:
        maps: of the target.
        empty: convention for empty masks, one of ``EMPTY``.

    Raises:
        ValueError: for an unknown convention, a brain without voxels, and where ``qu_brats`` raises it (maps of
            different shapes, uncertainty outside [0, 100]).
    """
    choice(empty, EMPTY, "empty")
    if not maps.brain.any():
        raise ValueError("brain must hold at least one voxel, got none")
    quality = qu_brats(maps.truth, maps.segmentation, maps.percent, maps.brain, scaled=True)
    wrong = (maps.truth ^ maps.segmentation)[maps.brain]
    percent = maps.percent[maps.brain]
    probability, truth = maps.probability[maps.brain], maps.truth[maps.brain]
    overlap = dice(maps.truth, maps.segmentation, empty)
    metrics = Metrics(
        dice=overlap,
        sensitivity=sensitivity(maps.truth, maps.segmentation, empty),
        specificity=_share((~maps.truth & ~maps.segmentation & maps.brain).sum(), (~maps.truth & maps.brain).sum()),
        accuracy=1 - float(wrong.mean()),
        hd95=hd95(maps, empty),
        score=quality.score,
        baseline=(dice(maps.truth, maps.segmentation) + 2) / 3,
        auc_dice=quality.auc_dice,
        auc_ftp=quality.auc_ftp,
        auc_ftn=quality.auc_ftn,
        ece=calibration_error(probability, truth),
        nll=negative_log_likelihood(probability, truth),
        **_detection(percent, wrong),
        **_correction(maps, overlap),
        mean_uncertainty=float(percent.mean()),
        expected_dice=expected_dice(maps.probability, maps.segmentation, math.prod(maps.spacing) / 1000),
        without_variance=float(maps.without_variance),
    )
    return metrics, Curves(quality, *binned(probability, truth))


def _detection(percent: Values, wrong: Mask) -> dict[str, float]:
    """How well the uncertainty of the brain's voxels finds the wrong ones."""
    area, average = detection(percent, wrong)
    flagged, precision = looked_at(percent, wrong)
    return {
        "auroc": area,
        "average_precision": average,
        "aurc": aurc(percent, wrong),
        "error_dice": soft_dice(percent / 100, wrong),
        "flagged_90": flagged,
        "precision_90": precision,
    }


def _correction(maps: CaseMaps, before: float) -> dict[str, float]:
    """Dice after correction, undefined where it is undefined before."""
    after = corrected_dice(maps.truth, maps.segmentation, maps.percent, maps.brain, CORRECTED)
    if math.isnan(before):
        after = [math.nan] * len(after)
    return {f"corrected_{percent}": value for percent, value in zip(CORRECTED, after, strict=True)}


def _share(part: int, whole: int) -> float:
    return float(part) / float(whole) if whole else math.nan


def dice(truth: Mask, found: Mask, empty: str = "brats") -> float:
    """The Dice coefficient of two masks of the same shape (Dice 1945), from 0 to 1.

    If both masks are empty it is 1, or NaN where ``empty`` is "nan".
    """
    total = int(truth.sum()) + int(found.sum())
    if total == 0:
        return 1.0 if empty == "brats" else math.nan
    return 2.0 * int((truth & found).sum()) / total


def sensitivity(truth: Mask, found: Mask, empty: str = "brats") -> float:
    """The share of the truth that was found, from 0 to 1.

    If the truth is empty it is 1 where nothing was found and 0 otherwise, or NaN where ``empty`` is "nan".
    """
    if not truth.any():
        return math.nan if empty == "nan" else float(not found.any())
    return _share((truth & found).sum(), truth.sum())


def hd95(maps: CaseMaps, empty: str = "brats") -> float:
    """95th percentile of the distances between the surfaces, in mm (MONAI). For empty masks see ``EMPTY``."""
    if not (maps.truth.any() and maps.segmentation.any()):
        if empty == "nan":
            return math.nan
        both = not (maps.truth.any() or maps.segmentation.any())
        return 0.0 if both else math.hypot(*(n * mm for n, mm in zip(maps.truth.shape, maps.spacing, strict=True)))
    found, truth = (torch.from_numpy(mask)[None, None].float() for mask in (maps.segmentation, maps.truth))
    with warnings.catch_warnings():
        # MONAI itself triggers this warning.
        warnings.simplefilter("ignore", FutureWarning)
        distance = compute_hausdorff_distance(
            found, truth, include_background=True, percentile=95, spacing=list(maps.spacing)
        )
    return float(distance)


def error_uncertainty(
    truth: Mask, segmentation: Mask, uncertainty: NDArray[np.float32], brain: Mask
) -> ErrorUncertainty:
    """Compares the uncertainty of correctly and wrongly labelled voxels.

    Args:
        truth: mask of the target.
        segmentation: mask that was predicted, of the same shape, like all further arrays.
        uncertainty: of any scale; NaN where there is none, which is left out of the means.
        brain: mask of the voxels that are compared.

    Raises:
        ValueError: where the arrays differ in shape.
    """
    shapes = {array.shape for array in (truth, segmentation, uncertainty, brain)}
    if len(shapes) > 1:
        raise ValueError(f"truth, segmentation, uncertainty and brain must have one shape, got {sorted(shapes)}")
    wrong = truth ^ segmentation
    return ErrorUncertainty(
        dice=dice(truth, segmentation),
        uncertainty_correct=_mean(uncertainty[brain & ~wrong]),
        uncertainty_inside=_mean(uncertainty[brain & truth & segmentation]),
        uncertainty_wrong=_mean(uncertainty[brain & wrong]),
    )


def _mean(values: NDArray[np.float32]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if known.size else math.nan
