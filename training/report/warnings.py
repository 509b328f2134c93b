"""Warnings of a report: parts of a prediction, or of its images, that need a second look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spuproj.training.data.case import Case
from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.volumes.segmentation import LARGEST_VOLUME
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.percent import uncertainty_percent, voxels_without_variance

UNCERTAIN = 25.0
"""A voxel counts as uncertain above this, in percent, see ``uncertainty_percent``."""

LISTED = 3
"""Number of uncertain regions that are named for each target; the others are counted."""

SMALL = 0.5
"""In ml: smaller uncertain regions are counted and not named. A ball of this volume is 1 cm across."""

LARGEST_PART = 0.3
"""Of the brain: a larger part is no plausible tumour."""


def case_warnings(case: Case, predictions: Mapping[str, CasePrediction]) -> list[Finding]:
    """The warnings of a report, the most serious first. Slices count from 0.

    Warnings (``Level.WARNING``), in this order: targets of an implausible volume, the case's own warnings (an
    implausible brain, for example), and slices without brain between slices with brain. Notes: targets that were not
    found or reach the end of the image, uncertain regions (connected voxels above ``UNCERTAIN``; the largest ones are
    named), voxels without a variance, and the case's own notes. What is the same for several targets is one sentence.

    Args:
        case: with what was found about its files when they were read.
        predictions: by target.

    Raises:
        ValueError: for variances that are not in [0, 1/4].
    """
    uncertain = [
        sentence
        for target, prediction in predictions.items()
        for sentence in _uncertain_regions(case, target, uncertainty_percent(prediction) > UNCERTAIN)
    ]
    found = [
        *(Finding(Level.WARNING, sentence) for sentence in _implausible(case, predictions)),
        *(finding for finding in case.findings if finding.level <= Level.WARNING),
        *(Finding(Level.WARNING, sentence) for sentence in _gaps(case)),
        *(
            Finding(Level.NOTE, sentence)
            for sentence in (*_ends(case, predictions), *uncertain, *_without_variance(case, predictions))
        ),
        *(finding for finding in case.findings if finding.level > Level.WARNING),
    ]
    return sorted(dict.fromkeys(found), key=lambda finding: finding.level)


def _implausible(case: Case, predictions: Mapping[str, CasePrediction]) -> list[str]:
    brain, large = int(case.brain.sum()), {}
    for target, prediction in predictions.items():
        found = int(prediction.segmentation.sum())
        volume, part = found * case.voxel_volume, found / brain
        if volume > LARGEST_VOLUME or part > LARGEST_PART:
            large[target] = f"{_ml(volume)}, {100 * part:.0f} percent of the brain"
    if not large:
        return []
    return [
        f"{_together(large)} {'is' if len(large) == 1 else 'are'} implausibly large, {_together(large.values())}: "
        f"look whether the images are skull-stripped and like those that the model was trained on"
    ]


def _together(words: Iterable[str]) -> str:
    """``"A"``, ``"A and B"``, ``"A, B and C"``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def _gaps(case: Case) -> list[str]:
    shown = case.brain_slices
    missing = sorted(set(range(shown[0], shown[-1])) - set(shown.tolist()))
    if not missing:
        return []
    return [f"no brain on {_listed(missing)}, though there is brain below and above: nothing was predicted there"]


def _listed(slices: list[int]) -> str:
    return f"{'slice' if len(slices) == 1 else 'slices'} {', '.join(map(str, slices))}"


def _ends(case: Case, predictions: Mapping[str, CasePrediction]) -> list[str]:
    """Sentences on targets that were not found, and on those that reach an end of the image."""
    targets: dict[str, list[str]] = {}
    for target, prediction in predictions.items():
        for end in _reached(case, prediction.segmentation) if prediction.segmentation.any() else [""]:
            targets.setdefault(end, []).append(target)
    return [_end_sentence(end, names) for end, names in sorted(targets.items(), key=lambda item: bool(item[0]))]


def _end_sentence(end: str, targets: Sequence[str]) -> str:
    several, names = len(targets) > 1, _together(targets)
    if not end:
        return f"{names} {'were' if several else 'was'} not found"
    reach, part = ("reach", "parts of them") if several else ("reaches", "part of it")
    return f"{names} {reach} {end}: {part} may lie outside"


def _reached(case: Case, segmentation: NDArray[np.bool_]) -> list[str]:
    """The ends that a segmentation reaches: the first and the last slice with brain, and the edges of the image."""
    brain, found = case.brain_slices, np.flatnonzero(segmentation.any(axis=(1, 2)))
    ends = {
        f"the first slice with brain (slice {brain[0]})": found[0] <= brain[0],
        f"the last slice with brain (slice {brain[-1]})": found[-1] >= brain[-1],
        "the front edge of the image": segmentation[:, 0].any(),
        "the back edge of the image": segmentation[:, -1].any(),
        "the right edge of the image": segmentation[:, :, 0].any(),
        "the left edge of the image": segmentation[:, :, -1].any(),
    }
    return [end for end, reached in ends.items() if reached]


def _uncertain_regions(case: Case, target: str, uncertain: NDArray[np.bool_]) -> list[str]:
    regions, count = ndimage.label(uncertain)
    if count == 0:
        return []
    volumes = np.bincount(regions.ravel())[1:] * case.voxel_volume
    boxes = ndimage.find_objects(regions)
    named = [number for number in np.argsort(-volumes, kind="stable")[:LISTED] if volumes[number] >= SMALL]
    parts = [
        f"{_ml(volumes[number])} {_place(regions[boxes[number]] == number + 1, boxes[number][0].start)}"
        for number in named
    ]
    rest = count - len(named)
    if rest:
        size = "and {} smaller" if named else "{} small"
        parts.append(f"{size.format(rest)} {'region' if rest == 1 else 'regions'}")
    return [f"{target} is uncertain in {_ml(volumes.sum())}: {', '.join(parts)}"]


def _place(region: NDArray[np.bool_], first: int) -> str:
    """The slices of a region ``[Z, H, W]`` whose first slice has index ``first``."""
    areas = region.sum(axis=(1, 2))
    last, centre = first + len(areas) - 1, first + round(float(np.average(np.arange(len(areas)), weights=areas)))
    return f"on slice {centre}" if first == last else f"around slice {centre} (slices {first} to {last})"


def _without_variance(case: Case, predictions: Mapping[str, CasePrediction]) -> list[str]:
    """Sentences on voxels of the brain that too few views see, which may differ between targets."""
    targets: dict[int, list[str]] = {}
    for target, prediction in predictions.items():
        targets.setdefault(voxels_without_variance(prediction, case.brain), []).append(target)
    brain = int(case.brain.sum())
    return [
        f"{_together(names)}: too few views see {count} voxels of the brain ({_percent_of(count, brain)}); they "
        "have no variance, and their entropy takes its place in figures and numbers"
        for count, names in targets.items()
        if count
    ]


def _percent_of(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2g} percent" if part < whole else "all of it"


def _ml(volume: float) -> str:
    return f"{volume:.3g} ml" if volume < 100 else f"{volume:.0f} ml"
