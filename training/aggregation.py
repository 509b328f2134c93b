"""From the mean probability over views to a segmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from spuproj.checks import choice

AGGREGATIONS = ("mean", "otsu")


def segment(probability: NDArray[np.float32], brain: NDArray[np.bool_], aggregation: str) -> NDArray[np.bool_]:
    """Where a target is, inside the brain.

    ``"mean"`` takes what is more probable than not. ``"otsu"`` takes what lies above the threshold that separates the
    brain's probabilities best into two classes (Otsu 1979, over 256 bins between the smallest and the largest). It
    adapts to a model that is too careful or too bold, but it always finds something: also in a patient without the
    target, the most probable voxels are taken, however improbable they are. Only where all of the brain has one and
    the same probability nothing is segmented.

    Args:
        probability: ``[Z, H, W]`` in [0, 1], the mean over views.
        brain: of the same shape, with at least one voxel.
        aggregation: a name in ``AGGREGATIONS``.

    Raises:
        ValueError: for an unknown name.
    """
    choice(aggregation, AGGREGATIONS, "aggregation")
    threshold = 0.5 if aggregation == "mean" else threshold_otsu(probability[brain])
    return (probability > threshold) & brain
