"""The numbers of a report: what was found of each target, and how well it agrees with the truth where it is known."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from spuproj.training.data.case import Case
from spuproj.training.evaluation.expected_dice import expected_dice
from spuproj.training.evaluation.metrics import CaseMaps, dice, hd95, sensitivity
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.percent import uncertainty_percent, voxels_without_variance
from spuproj.uncertainty import qu_brats

# By name of the number: its heading, and its digits behind the decimal point.
_FOUND = {
    "volume": ("Volume, ml", 2),
    "expected_dice": ("Expected Dice", 2),
    "mean": ("Mean uncertainty, %", 2),
    "maximum": ("Maximum uncertainty, %", 1),
    "interpolation": ("Interpolation, % of variance", 0),
}
_MEASURED = {
    "dice": ("Dice", 3),
    "sensitivity": ("Sensitivity", 3),
    "hd95": ("HD95, mm", 1),
    "score": ("QU-BraTS score", 3),
    "baseline": ("Score of zeros", 3),
}


def maps_of(case: Case, target: str, prediction: CasePrediction) -> CaseMaps:
    """The input of ``evaluation.metrics.measure`` for a labelled case; its uncertainty is ``uncertainty_percent``."""
    x, y, z = case.spacing
    return CaseMaps(
        truth=case.target(target),
        segmentation=prediction.segmentation,
        probability=prediction.probability.astype(float),
        percent=uncertainty_percent(prediction),
        brain=case.brain,
        spacing=(z, y, x),
        without_variance=voxels_without_variance(prediction, case.brain),
    )


def found_numbers(case: Case, prediction: CasePrediction) -> dict[str, float]:
    """Volume and uncertainty of one target.

    Returns:
        ``volume`` in ml; ``expected_dice``; the ``mean`` and ``maximum`` uncertainty over the brain, see
        ``uncertainty_percent``; and ``interpolation``, the part of the variance, in percent, that is no larger than
        what interpolation alone gives at the border of the segmentation; NaN where that was not computed.

    Raises:
        ValueError: for variances outside [0, 1/4].
    """
    percent = uncertainty_percent(prediction, case.brain)
    volume = float(prediction.segmentation.sum() * case.voxel_volume)
    expected = expected_dice(prediction.probability, prediction.segmentation, case.voxel_volume)
    return {
        "volume": volume,
        "expected_dice": expected,
        "mean": float(percent.mean()),
        "interpolation": _interpolated(case, prediction),
        "maximum": float(percent.max()),
    }


def _interpolated(case: Case, prediction: CasePrediction) -> float:
    if prediction.interpolation is None:
        return math.nan
    variance, floor = prediction.variance[case.brain], prediction.interpolation[case.brain]
    total = np.nansum(variance, dtype=np.float64)
    return 100 * float(np.nansum(np.minimum(variance, floor), dtype=np.float64) / total) if total > 0 else math.nan


def numbers_table(case: Case, predictions: Mapping[str, CasePrediction]) -> tuple[list[str], dict[str, list[str]]]:
    """The table of a report: headings, and for each target the cells of its row.

    Columns that compare with the truth exist only where the case has labels.

    Raises:
        ValueError: for variances outside [0, 1/4].
    """
    columns = _FOUND if case.labels is None else _FOUND | _MEASURED
    rows = {}
    for target, prediction in predictions.items():
        numbers = found_numbers(case, prediction)
        if case.labels is not None:
            numbers |= _measured(maps_of(case, target, prediction))
        rows[target] = [as_text(numbers[name], digits) for name, (_, digits) in columns.items()]
    return [heading for heading, _ in columns.values()], rows


def _measured(maps: CaseMaps) -> dict[str, float]:
    """The measures of ``evaluation.metrics.measure`` that take little time."""
    overlap = dice(maps.truth, maps.segmentation)
    return {
        "dice": overlap,
        "sensitivity": sensitivity(maps.truth, maps.segmentation),
        "hd95": hd95(maps),
        "score": qu_brats(maps.truth, maps.segmentation, maps.percent, maps.brain, scaled=True).score,
        "baseline": (overlap + 2) / 3,
    }


def as_text(value: float, digits: int) -> str:
    """A number with so many digits behind the decimal point; a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
