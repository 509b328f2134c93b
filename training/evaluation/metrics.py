"""Metrics of one target of one case: segmentation, calibration and uncertainty."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from spuproj.checks import choice
from spuproj.uncertainty import QuBrats, qu_brats

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

EMPTY = ("brats", "nan")
"""Conventions for empty masks. ``brats``: both empty is a Dice and sensitivity of 1 and a distance of 0; one empty is a
Dice of 0 and the volume's diagonal. ``nan``: what an empty mask leaves undefined is NaN."""

BINS = 15
"""Equal bins of probability for calibration."""


@dataclass(frozen=True)
class Maps:
    """Input of the metrics, for one target of one case: arrays of one shape.

    Attributes:
        truth: ground truth mask.
        segmentation: predicted mask.
        probability: in [0, 1].
        percent: uncertainty in [0, 100].
        brain: mask of the voxels that count.
        spacing: size of a voxel along each axis, in mm.
    """

    truth: Mask
    segmentation: Mask
    probability: Values
    percent: Values
    brain: Mask
    spacing: Sequence[float]


@dataclass(frozen=True)
class Metrics:
    """All metrics of one target of one case; see ``measure``."""

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
    error_dice: float
    mean_uncertainty: float


@dataclass(frozen=True)
class Curves:
    """Data for the plots of one target of one case.

    Attributes:
        qu_brats: the score's curves.
        voxels: ``[BINS]``, voxels of the brain in each bin of probability.
        predicted: ``[BINS]``, sum of their probabilities.
        positive: ``[BINS]``, number of target voxels among them.
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


def measure(maps: Maps, empty: str = "brats") -> tuple[Metrics, Curves]:
    """All metrics of one target of one case.

    Dice, sensitivity and HD95 are of the whole volume, all others of the brain. ``score`` and its areas are those of
    QU-BraTS; ``baseline`` is the score of an uncertainty of zero everywhere, (Dice + 2) / 3. ``auroc`` and
    ``average_precision`` are those of the uncertainty as a detector of wrong voxels (NaN where all are right or all
    wrong). ``aurc`` is the area under the risk-coverage curve (Geifman and El-Yaniv 2017), ``ece`` the expected
    calibration error of the probability (Naeini et al. 2015), and ``error_dice`` the soft Dice of the uncertainty, in
    [0, 1], with the wrong voxels.

    Args:
        maps: of the target.
        empty: a convention in ``EMPTY``.

    Raises:
        ValueError: for an unknown convention, maps of different shapes, or no brain; and as ``qu_brats`` does.
    """
    choice(empty, EMPTY, "empty")
    if not maps.brain.any():
        raise ValueError("brain must hold at least one voxel, got none")
    quality = qu_brats(maps.truth, maps.segmentation, maps.percent, maps.brain, scaled=True)
    wrong = (maps.truth ^ maps.segmentation)[maps.brain]
    percent = maps.percent[maps.brain]
    voxels, predicted, positive = _bins(maps.probability[maps.brain], maps.truth[maps.brain])
    overlap = dice(maps.truth, maps.segmentation)
    metrics = Metrics(
        dice=dice(maps.truth, maps.segmentation, empty),
        sensitivity=sensitivity(maps.truth, maps.segmentation, empty),
        specificity=_share((~maps.truth & ~maps.segmentation & maps.brain).sum(), (~maps.truth & maps.brain).sum()),
        accuracy=1 - float(wrong.mean()),
        hd95=hd95(maps, empty),
        score=quality.score,
        baseline=(overlap + 2) / 3,
        auc_dice=quality.auc_dice,
        auc_ftp=quality.auc_ftp,
        auc_ftn=quality.auc_ftn,
        **_detection(percent, wrong),
        aurc=aurc(percent, wrong),
        ece=float(np.abs(predicted - positive).sum() / voxels.sum()),
        error_dice=_soft_dice(percent / 100, wrong),
        mean_uncertainty=float(percent.mean()),
    )
    return metrics, Curves(quality, voxels, predicted, positive)


def _share(part: int, whole: int) -> float:
    return float(part) / float(whole) if whole else math.nan


def dice(truth: Mask, found: Mask, empty: str = "brats") -> float:
    """Dice coefficient of two masks of one shape (Dice 1945). Where both are empty: 1, or NaN by convention."""
    total = int(truth.sum()) + int(found.sum())
    if total == 0:
        return 1.0 if empty == "brats" else math.nan
    return 2.0 * int((truth & found).sum()) / total


def sensitivity(truth: Mask, found: Mask, empty: str = "brats") -> float:
    """True positive rate. Where the truth is empty: 1 for an empty prediction, else 0; or NaN by convention."""
    if not truth.any():
        return math.nan if empty == "nan" else float(not found.any())
    return _share((truth & found).sum(), truth.sum())


def hd95(maps: Maps, empty: str = "brats") -> float:
    """95th percentile of the Hausdorff distance in mm (MONAI); for empty masks see ``EMPTY``."""
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


def _detection(percent: Values, wrong: Mask) -> dict[str, float]:
    if wrong.all() or not wrong.any():
        return {"auroc": math.nan, "average_precision": math.nan}
    # torchmetrics applies a sigmoid to values outside [0, 1].
    detector, target = torch.from_numpy(percent / 100), torch.from_numpy(wrong).int()
    return {
        "auroc": float(binary_auroc(detector, target)),
        "average_precision": float(binary_average_precision(detector, target)),
    }


def aurc(uncertainty: Values, wrong: Mask) -> float:
    """Area under the risk-coverage curve: error rate among the k most certain voxels, averaged over k.

    Wrong voxels are spread evenly among voxels of equal uncertainty.
    """
    order = np.argsort(uncertainty, kind="stable")
    ordered = uncertainty[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1
    errors = np.cumsum(wrong[order])[ends - 1]
    kept = np.arange(1, len(ordered) + 1)
    return float(np.mean(np.interp(kept, np.append(0, ends), np.append(0, errors)) / kept))


def _soft_dice(weight: Values, wrong: Mask) -> float:
    total = float(weight.sum()) + float(wrong.sum())
    return 1.0 if total == 0 else 2 * float(weight[wrong].sum()) / total


def _bins(probability: Values, truth: Mask) -> tuple[Values, Values, Values]:
    """Voxels, sum of probabilities and positive voxels of each bin."""
    index = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    sums = (np.bincount(index, weights=weights, minlength=BINS) for weights in (None, probability, truth))
    voxels, predicted, positive = (values.astype(np.float64) for values in sums)
    return voxels, predicted, positive


def error_uncertainty(
    truth: Mask, segmentation: Mask, uncertainty: NDArray[np.float32], brain: Mask
) -> ErrorUncertainty:
    """Compares the uncertainty of right and wrong voxels; arrays of one shape.

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
        uncertainty_inside=_mean(uncertainty[truth & segmentation]),
        uncertainty_wrong=_mean(uncertainty[wrong]),
    )


def _mean(values: NDArray[np.float32]) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else math.nan
