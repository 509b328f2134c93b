"""The uncertainty of a prediction from 0 to 100, at every voxel."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.uncertainty import to_percent


def uncertainty_percent(
    prediction: CasePrediction, where: EllipsisType | int | NDArray[Any] = ...
) -> NDArray[np.float64]:
    """The variance over views in percent of the largest possible one, 1/4 (``variance-1``).

    A voxel without a variance, because too few views see it, has its entropy in percent of ln 2.

    Args:
        prediction: of one target.
        where: index of a slice, mask ``[Z, H, W]`` or array of slices' indices; all voxels by default.

    Returns:
        From 0 to 100, in the shape of ``prediction.variance[where]``.

    Raises:
        ValueError: for variances outside [0, 1/4].
    """
    return to_percent(prediction.variance[where], "variance-1", prediction.entropy[where])


def voxels_without_variance(prediction: CasePrediction, brain: NDArray[np.bool_]) -> int:
    """Number of the brain's voxels that have no variance, because too few views see them."""
    return int(np.isnan(prediction.variance[brain]).sum())
