"""The numbers of a report: what was found of each target, and how good it is where the truth is known."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.case import Case
from spuproj.training.data.nifti import lps_spacing
from spuproj.training.evaluation.metrics import Maps, dice, hd95, sensitivity
from spuproj.training.inference.multi_view import Prediction
from spuproj.training.report.figures import Truth
from spuproj.uncertainty import qu_brats, to_percent

# Headings, and digits behind the point.
_FOUND = {"volume": ("Volume, ml", 2), "mean": ("Mean uncertainty, %", 2), "maximum": ("Maximum uncertainty, %", 1)}
_MEASURED = {
    "dice": ("Dice", 3),
    "sensitivity": ("Sensitivity", 3),
    "hd95": ("HD95, mm", 1),
    "score": ("QU-BraTS score", 3),
    "baseline": ("Score of zeros", 3),
}


def found_numbers(case: Case, prediction: Prediction) -> dict[str, float]:
    """``volume`` in ml, and over the brain the ``mean`` and ``maximum`` uncertainty in percent (``variance-1``).

    Raises:
        ValueError: for variances that are not in [0, 1/4].
    """
    percent = to_percent(prediction.variance[case.brain], "variance-1")
    volume = float(prediction.segmentation.sum() * case.voxel_volume)
    return {"volume": volume, "mean": float(percent.mean()), "maximum": float(percent.max())}


def numbers_table(case: Case, predictions: Mapping[str, Prediction], truth: Truth | None) -> str:
    """One row for each target, as HTML; what compares with the truth only where there is one."""
    kinds = _FOUND if truth is None else _FOUND | _MEASURED
    headings = "".join(f'<th scope="col">{heading}</th>' for heading, _ in (("Target", 0), *kinds.values()))
    rows = []
    for target, prediction in predictions.items():
        numbers = found_numbers(case, prediction)
        if truth is not None:
            numbers |= _measured(case, prediction, truth[target])
        cells = "".join(f"<td>{as_text(numbers[name], digits)}</td>" for name, (_, digits) in kinds.items())
        rows.append(f'<tr><th scope="row">{html.escape(target)}</th>{cells}</tr>')
    head, body = f"<thead><tr>{headings}</tr></thead>", "\n".join(rows)
    return f'<section class="wide"><table><caption>By target</caption>{head}<tbody>\n{body}\n</tbody></table></section>'


def _measured(case: Case, prediction: Prediction, truth: NDArray[np.bool_]) -> dict[str, float]:
    """As ``measure`` has them, without those that take long."""
    x, y, z = lps_spacing(case.like)
    found, percent = prediction.segmentation, to_percent(prediction.variance, "variance-1")
    overlap = dice(truth, found)
    maps = Maps(truth, found, prediction.probability.astype(float), percent, case.brain, (z, y, x))
    return {
        "dice": overlap,
        "sensitivity": sensitivity(truth, found),
        "hd95": hd95(maps),
        "score": qu_brats(truth, found, percent, case.brain, scaled=True).score,
        "baseline": (overlap + 2) / 3,
    }


def as_text(value: float, digits: int) -> str:
    """A number with digits behind the point, or a dash for NaN."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
