"""How well probabilities agree with what is observed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_calibration_error

BINS = 15
"""Number of bins of equal width between 0 and 1."""

LEAST = 2.0**-24
"""Least probability of the truth in the likelihood: a probability of 1 in float32 may stand for 1 minus so much."""


def calibration_error(probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Expected calibration error (Naeini et al. 2015), from 0 to 1, by torchmetrics.

    The mean over voxels of the gap between mean probability and share of target, in ``BINS`` bins of equal width. A
    bin holds its lower edge; the last one holds 1 too.

    Args:
        probability: ``[voxels]``, in [0, 1].
        truth: ``[voxels]``.
    """
    # torchmetrics has a further bin for 1 alone; a number just below 1 is in the last one. Its checks of the inputs
    # take longer than the error itself.
    below = torch.from_numpy(np.minimum(probability, np.nextafter(1, 0)))
    target = torch.from_numpy(truth).int()
    return float(binary_calibration_error(below, target, n_bins=BINS, norm="l1", validate_args=False))


def negative_log_likelihood(probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Mean over voxels of -ln p where the truth is target, and of -ln(1 - p) elsewhere, in nats, from 0.

    It is lowest where the probabilities are right (a proper scoring rule, Gneiting and Raftery 2007). A probability of
    the truth below ``LEAST`` counts as ``LEAST``, so that one voxel adds at most 16.6.

    Args:
        probability: ``[voxels]``, in [0, 1].
        truth: ``[voxels]``.
    """
    wrong = np.where(truth, 1 - probability, probability)
    return float(-np.log1p(-np.minimum(wrong, 1 - LEAST)).mean())


def binned(
    probability: NDArray[np.float64], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Number of voxels, sum of probabilities and number of target voxels in each of ``BINS`` bins."""
    index = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    sums = (np.bincount(index, weights=weights, minlength=BINS) for weights in (None, probability, truth))
    voxels, predicted, positive = (values.astype(np.float64) for values in sums)
    return voxels, predicted, positive
