"""Warnings of a report: parts of a prediction, or of its images, that need a second look."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spuproj.training.data.case import Case
from spuproj.training.inference.multi_view import Prediction
from spuproj.uncertainty import to_percent

UNCERTAIN = 25.0
"""A voxel counts as uncertain above this, in percent of the largest variance (``variance-1``)."""

LISTED = 3
"""Number of uncertain regions that are named for each target; the others are counted."""


def case_warnings(case: Case, predictions: Mapping[str, Prediction]) -> list[str]:
    """One sentence for each warning, those about the images first. Slices count from 0.

    Images: constant modalities, and slices without brain between slices with brain. Each target: an empty segmentation,
    a segmentation that reaches the border of the image, and uncertain regions (connected voxels above ``UNCERTAIN``),
    the largest ones with volume and place.

    Raises:
        ValueError: for variances that are not in [0, 1/4].
    """
    found = [*_constant_modalities(case), *_gaps(case)]
    for target, prediction in predictions.items():
        found += _reaches(case, target, prediction.segmentation)
        found += _uncertain_regions(case, target, to_percent(prediction.variance, "variance-1") > UNCERTAIN)
    return found


def _constant_modalities(case: Case) -> list[str]:
    names = case.modalities or [f"channel {number}" for number in range(1, case.image.shape[1] + 1)]
    # A constant modality is 0 everywhere after z-scoring.
    constant = [name for channel, name in enumerate(names) if not case.image[:, channel].any()]
    return [f"{name} is constant inside the brain: it tells nothing" for name in constant]


def _gaps(case: Case) -> list[str]:
    shown = np.flatnonzero(case.brain.any(axis=(1, 2)))
    missing = sorted(set(range(shown[0], shown[-1])) - set(shown.tolist()))
    if not missing:
        return []
    return [f"no brain on {_listed(missing)}, though there is brain below and above: nothing was predicted there"]


def _listed(slices: list[int]) -> str:
    return f"{'slice' if len(slices) == 1 else 'slices'} {', '.join(map(str, slices))}"


def _reaches(case: Case, target: str, segmentation: NDArray[np.bool_]) -> list[str]:
    """Warnings for an empty segmentation, and for one that reaches the first or last slice with brain or the border."""
    if not segmentation.any():
        return [f"{target} was not found"]
    brain, found = (np.flatnonzero(mask.any(axis=(1, 2))) for mask in (case.brain, segmentation))
    ends = {
        f"the first slice with brain (slice {brain[0]})": found[0] <= brain[0],
        f"the last slice with brain (slice {brain[-1]})": found[-1] >= brain[-1],
        "the front edge of the image": segmentation[:, 0].any(),
        "the back edge of the image": segmentation[:, -1].any(),
        "the right edge of the image": segmentation[:, :, 0].any(),
        "the left edge of the image": segmentation[:, :, -1].any(),
    }
    return [f"{target} reaches {end}: part of it may lie outside" for end, reached in ends.items() if reached]


def _uncertain_regions(case: Case, target: str, uncertain: NDArray[np.bool_]) -> list[str]:
    regions, count = ndimage.label(uncertain)
    if count == 0:
        return []
    volumes = np.bincount(regions.ravel())[1:] * case.voxel_volume
    boxes = ndimage.find_objects(regions)
    order = np.argsort(-volumes, kind="stable")
    parts = [
        f"{_ml(volumes[number])} {_place(regions[boxes[number]] == number + 1, boxes[number][0].start)}"
        for number in order[:LISTED]
    ]
    rest = len(volumes) - LISTED
    if rest > 0:
        parts.append(f"and {rest} smaller {'region' if rest == 1 else 'regions'}")
    return [f"{target} is uncertain in {_ml(volumes.sum())}: {', '.join(parts)}"]


def _place(region: NDArray[np.bool_], first: int) -> str:
    """The slices of a region ``[Z, H, W]`` whose first slice has index ``first``."""
    areas = region.sum(axis=(1, 2))
    last, centre = first + len(areas) - 1, first + round(float(np.average(np.arange(len(areas)), weights=areas)))
    return f"on slice {centre}" if first == last else f"around slice {centre} (slices {first} to {last})"


def _ml(volume: float) -> str:
    return f"{volume:.3g} ml" if volume < 100 else f"{volume:.0f} ml"
