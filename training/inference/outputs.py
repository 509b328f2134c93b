"""The NIfTI files of a predicted case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.case import Case, as_volume
from spuproj.training.data.labels import LabelScheme
from spuproj.training.data.volumes.saving import save_nifti
from spuproj.training.inference.multi_view import Prediction
from spuproj.uncertainty import to_percent

MAPS = ("prob", "seg", "var", "entropy", "mi")
"""Of each target: probability, segmentation, variance, entropy and mutual information."""

SUBMISSION = {"WT": "unc_whole", "TC": "unc_core", "ET": "unc_enhance"}
"""QU-BraTS's names of the targets' uncertainty maps."""


def map_names(case: str, targets: Sequence[str], scheme: LabelScheme, members: bool) -> list[str]:
    """Names of the files that ``write_maps`` and, for mergeable targets, ``write_merged`` write."""
    kinds = (*MAPS, "members") if members else MAPS
    endings = [f"_{target}_{kind}" for target in targets for kind in kinds]
    if mergeable(targets, scheme):
        endings += ["_labels", "", *(f"_{SUBMISSION[target]}" for target in targets)]
    return [f"{case}{ending}.nii.gz" for ending in endings]


def mergeable(targets: Sequence[str], scheme: LabelScheme) -> bool:
    """Whether the targets are exactly those of a merged label map in this scheme."""
    return set(targets) == set(scheme.paint)


def write_maps(folder: Path, case: Case, target: str, prediction: Prediction) -> None:
    """Writes one target's maps, and its members as ``[X, Y, Z, N]`` where there are any."""
    maps: tuple[NDArray[np.generic], ...] = (
        prediction.probability,
        prediction.segmentation.astype(np.uint8),
        prediction.variance,
        prediction.entropy,
        prediction.mutual_information,
    )
    for kind, slices in zip(MAPS, maps, strict=True):
        _save(folder, case, f"_{target}_{kind}", _voxels(case, slices))
    if prediction.members is not None:
        members = [_voxels(case, slices) for slices in prediction.members.swapaxes(0, 1)]
        _save(folder, case, f"_{target}_members", np.stack(members, axis=-1))


def write_merged(folder: Path, case: Case, predictions: Mapping[str, Prediction], scheme: LabelScheme) -> None:
    """Writes the label map, and the files of a QU-BraTS submission."""
    labels = _voxels(case, merged_labels(predictions, scheme))
    for ending in ("_labels", ""):
        _save(folder, case, ending, labels)
    for target, prediction in predictions.items():
        percent = np.rint(to_percent(prediction.variance, "variance-1")).astype(np.uint8)
        _save(folder, case, f"_{SUBMISSION[target]}", _voxels(case, percent))


def merged_labels(predictions: Mapping[str, Prediction], scheme: LabelScheme) -> NDArray[np.uint8]:
    """The label map ``[Z, H, W]`` of all targets' segmentations; inner targets overwrite outer ones."""
    labels = np.zeros(next(iter(predictions.values())).segmentation.shape, dtype=np.uint8)
    for target, label in scheme.paint.items():
        labels[predictions[target].segmentation] = label
    return labels


def _voxels(case: Case, slices: NDArray[np.generic]) -> NDArray[np.generic]:
    return case.grid.from_lps(as_volume(slices))


def _save(folder: Path, case: Case, ending: str, voxels: NDArray[np.generic]) -> None:
    save_nifti(folder / f"{case.name}{ending}.nii.gz", voxels, case.like)
