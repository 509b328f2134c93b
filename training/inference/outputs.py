"""The NIfTI files of a predicted case."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.case import Case, as_volume
from spuproj.training.data.labels import LabelScheme
from spuproj.training.data.volumes.saving import save_nifti
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.percent import uncertainty_percent
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import inside

MAPS = ("prob", "seg", "var", "entropy", "mi", "members")
"""Kinds of files of each target: probability, segmentation, variance, entropy, mutual information, and each view's
probability."""

MERGED = ("labels", "qubrats")
"""Kinds of files of all targets together: the label map, and the files of a QU-BraTS submission."""

MAP_ENDING = ".nii.gz"

DEFAULT_KINDS = (*(kind for kind in MAPS if kind != "members"), *MERGED)
"""What is written where nothing else is asked for."""

SUBMISSION = {"WT": "unc_whole", "TC": "unc_core", "ET": "unc_enhance"}
"""QU-BraTS's names of the targets' uncertainty maps."""


def kinds_named(names: Iterable[str]) -> tuple[str, ...]:
    """Kinds of files, each once. Raises InputError for an unknown one, or for none."""
    kinds = tuple(dict.fromkeys(name.strip() for name in names))
    unknown = [kind for kind in kinds if kind not in (*MAPS, *MERGED)]
    if unknown or not kinds:
        raise InputError(f"maps must be of {', '.join((*MAPS, *MERGED))}, got {unknown[0] if unknown else 'none'!r}")
    return kinds


def map_name(case: str, target: str, kind: str) -> str:
    """Name of the file of a target's map."""
    return f"{case}_{target}_{kind}{MAP_ENDING}"


def map_names(case: str, targets: Sequence[str], scheme: LabelScheme, kinds: Sequence[str]) -> list[str]:
    """Names of the files that ``write_maps`` and, for mergeable targets, ``write_merged`` write."""
    names = [map_name(case, target, kind) for target in targets for kind in kinds if kind in MAPS]
    endings = [ending for kind in kinds for ending in _merged_endings(kind, targets, scheme)]
    return names + [f"{case}{ending}{MAP_ENDING}" for ending in endings]


def require_kinds(targets: Sequence[str], scheme: LabelScheme, kinds: Sequence[str]) -> None:
    """Raises InputError where kinds were asked for that the targets do not have, since they cannot be merged.

    With all of the usual kinds these are left out.
    """
    lacking = [kind for kind in kinds if kind in MERGED and not _merged_endings(kind, targets, scheme)]
    if lacking and not set(kinds) >= set(DEFAULT_KINDS):
        needed = ", ".join(scheme.paint) or "a glioma scheme, which these labels do not have"
        raise InputError(
            f"maps {' and '.join(lacking)} need models of the targets {needed}, got {', '.join(targets)}; choose others"
        )


def _merged_endings(kind: str, targets: Collection[str], scheme: LabelScheme) -> list[str]:
    """How the names of the files of a merged kind end; none for another kind, and where targets cannot be merged."""
    if kind not in MERGED or not mergeable(targets, scheme):
        return []
    if kind == "qubrats":
        return ["", *(f"_{SUBMISSION[target]}" for target in targets)]
    return ["_labels"]


def mergeable(targets: Collection[str], scheme: LabelScheme) -> bool:
    """Whether the targets are exactly those of a merged label map in this scheme."""
    return set(targets) == set(scheme.paint)


def write_maps(folder: Path, case: Case, target: str, prediction: CasePrediction, kinds: Sequence[str]) -> None:
    """Writes one target's maps of the given kinds; members are ``[X, Y, Z, N]``."""
    maps: dict[str, NDArray[np.generic]] = {
        "prob": prediction.probability,
        "seg": prediction.segmentation.astype(np.uint8),
        "var": prediction.variance,
        "entropy": prediction.entropy,
        "mi": prediction.mutual_information,
    }
    for kind in kinds:
        if kind in maps:
            _save(folder, case, map_name(case.name, target, kind), _voxels(case, maps[kind]))
    if "members" in kinds and prediction.members is not None:
        members = [_voxels(case, slices) for slices in prediction.members.swapaxes(0, 1)]
        _save(folder, case, map_name(case.name, target, "members"), np.stack(members, axis=-1))


def write_merged(
    folder: Path, case: Case, predictions: Mapping[str, CasePrediction], scheme: LabelScheme, kinds: Sequence[str]
) -> None:
    """Writes the label map, and the files of a QU-BraTS submission, where they are among the kinds.

    The latter have an uncertainty at every voxel, see ``uncertainty_percent``.
    """
    labels = _voxels(case, merged_labels(predictions, scheme))
    if "labels" in kinds:
        _save(folder, case, f"{case.name}_labels{MAP_ENDING}", labels)
    if "qubrats" not in kinds:
        return
    _save(folder, case, f"{case.name}{MAP_ENDING}", labels)
    for target, prediction in predictions.items():
        percent = np.rint(uncertainty_percent(prediction)).astype(np.uint8)
        _save(folder, case, f"{case.name}_{SUBMISSION[target]}{MAP_ENDING}", _voxels(case, percent))


def merged_labels(predictions: Mapping[str, CasePrediction], scheme: LabelScheme) -> NDArray[np.uint8]:
    """The label map ``[Z, H, W]`` of all targets' segmentations; inner targets overwrite outer ones."""
    labels = np.zeros(next(iter(predictions.values())).segmentation.shape, dtype=np.uint8)
    for target, label in scheme.paint.items():
        labels[predictions[target].segmentation] = label
    return labels


def _voxels(case: Case, slices: NDArray[np.generic]) -> NDArray[np.generic]:
    return case.grid.from_lps(as_volume(slices))


def _save(folder: Path, case: Case, name: str, voxels: NDArray[np.generic]) -> None:
    save_nifti(inside(folder, name), voxels, case.like)
