"""How well an uncertainty finds the wrong voxels, and what it gains to correct the most uncertain ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]

RECALL = 90
"""Percent of the wrong voxels that ``looked_at`` has to find."""


def detection(percent: Values, wrong: Mask) -> tuple[float, float]:
    """Area under the ROC curve and average precision of an uncertainty as a detector of wrong voxels (torchmetrics).

    Both are from 0 to 1, and NaN where all voxels are correct or all are wrong.

    Args:
        percent: ``[voxels]``, in [0, 100].
        wrong: ``[voxels]``.
    """
    if wrong.all() or not wrong.any():
        return math.nan, math.nan
    # torchmetrics applies a sigmoid to scores outside [0, 1].
    detector, target = torch.from_numpy(percent / 100), torch.from_numpy(wrong).int()
    return float(binary_auroc(detector, target)), float(binary_average_precision(detector, target))


def aurc(uncertainty: Values, wrong: Mask) -> float:
    """Area under the risk-coverage curve (Geifman and El-Yaniv 2017), from 0 to 1, lower is better.

    The share of wrong voxels among the k most certain ones, averaged over all k. Among voxels of equal uncertainty the
    wrong ones are spread evenly, so that the area does not depend on their order.

    Args:
        uncertainty: ``[voxels]``.
        wrong: ``[voxels]``.
    """
    ends, (errors,) = _ranked(uncertainty, wrong)
    kept = np.arange(1, len(wrong) + 1)
    return float(np.mean(np.interp(kept, ends, errors) / kept))


def looked_at(uncertainty: Values, wrong: Mask) -> tuple[float, float]:
    """How many voxels must be looked at, the most uncertain first, to find ``RECALL`` percent of the wrong ones.

    Of W wrong voxels, m = ceil(0.9 W) have to be found. Voxels of equal uncertainty are looked at in random order, and
    the result is the expected number: the j-th of w wrong voxels among g equal ones is found after j (g + 1) / (w + 1)
    of them.

    Args:
        uncertainty: ``[voxels]``.
        wrong: ``[voxels]``.

    Returns:
        The number divided by that of all voxels, and the precision, m divided by the number; both from 0 to 1, and NaN
        where no voxel is wrong.
    """
    ends, (found,) = _ranked(-uncertainty, wrong)
    wanted = -(-RECALL * int(found[-1]) // 100)
    if wanted == 0:
        return math.nan, math.nan
    last = int(np.searchsorted(found, wanted))
    before, equal, errors = ends[last - 1], ends[last] - ends[last - 1], found[last] - found[last - 1]
    number = float(before + (wanted - found[last - 1]) * (equal + 1) / (errors + 1))
    return number / len(wrong), wanted / number


def corrected_dice(
    truth: Mask, segmentation: Mask, uncertainty: Values, brain: Mask, percents: Sequence[float]
) -> list[float]:
    """The Dice after the most uncertain voxels of the brain are set to the truth: what a reader of them would gain.

    Of voxels of equal uncertainty of which some are corrected, missed and false ones are corrected in proportion: the
    Dice is that of the expected numbers. The number of corrected voxels need not be whole.

    Args:
        truth: mask of the target.
        segmentation: mask that was predicted, of the same shape, like all further arrays.
        uncertainty: of any scale.
        brain: mask of the voxels that may be corrected.
        percents: of the brain's voxels that are corrected, in [0, 100].

    Returns:
        For each of ``percents`` the Dice from 0 to 1; it is 1 if both masks are empty then.
    """
    missed, spurious = (truth & ~segmentation)[brain], (segmentation & ~truth)[brain]
    ends, (found, removed) = _ranked(-uncertainty[brain], missed, spurious)
    both, total = int((truth & segmentation).sum()), int(truth.sum()) + int(segmentation.sum())

    def dice_after(number: float) -> float:
        more, less = float(np.interp(number, ends, found)), float(np.interp(number, ends, removed))
        left = total + more - less
        return 2 * (both + more) / left if left > 0 else 1.0

    return [dice_after(percent / 100 * len(missed)) for percent in percents]


def soft_dice(weight: Values, wrong: Mask) -> float:
    """Dice of the wrong voxels with a weight: 2 sum(u e) / (sum(u) + sum(e)); 1 where both are 0.

    Args:
        weight: ``[voxels]``, in [0, 1], the uncertainty u.
        wrong: ``[voxels]``, e.
    """
    total = float(weight.sum()) + float(wrong.sum())
    return 1.0 if total == 0 else 2 * float(weight[wrong].sum()) / total


def _ranked(key: Values, *marks: Mask) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """The voxels in the order of a key, the smallest first.

    Returns:
        Where the groups of equal keys end, from 0, and how many voxels of each mark there are up to each end.
    """
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    ends = np.append(0, np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) + 1)
    return ends, [np.append(0, np.cumsum(mark[order]))[ends] for mark in marks]
