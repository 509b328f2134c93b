"""Patients: folders of BraTS-style NIfTI files, as normalised slices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.files import InputError, load_nifti, lps_spacing, read_volume, to_lps

MODALITIES = ("t1", "t1ce", "t2", "flair")
TARGETS = {"ET": (4,), "TC": (1, 4), "WT": (1, 2, 4)}
"""Labels of BraTS 2020 (1 necrotic core, 2 oedema, 4 enhancing tumour) that make up each target."""


@dataclass(frozen=True)
class Case:
    """One patient. Slices run along Z; on a slice y runs to the back and x to the left, as radiologists look at it.

    Attributes:
        name: the folder's name.
        image: ``[Z, C, H, W]`` float32, z-scored inside the brain, 0 outside.
        brain: ``[Z, H, W]`` bool.
        labels: ``[Z, H, W]`` uint8 in the BraTS 2020 scheme, or None where they were not asked for.
        like: the first modality's NIfTI image, whose affine and header outputs keep.
    """

    name: str
    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8] | None
    like: nib.Nifti1Image

    @property
    def field(self) -> tuple[float, float]:
        """Height and width of a slice, in mm."""
        x, y, _ = lps_spacing(self.like)
        return y * self.image.shape[2], x * self.image.shape[3]


def find_cases(directory: Path) -> list[Path]:
    """The case folders of a data set, sorted by name. Raises InputError where there are none."""
    if not directory.is_dir():
        raise InputError(f"{directory} must be a folder of case folders, but there is no such folder")
    folders = sorted(folder for folder in directory.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    cases = [folder for folder in folders if any(folder.glob("*.nii*"))]
    if not cases:
        raise InputError(f"{directory} must hold case folders with NIfTI files in them, but holds none")
    return cases


def load_case(folder: Path, modalities: Sequence[str] = MODALITIES, with_labels: bool = False) -> Case:
    """Reads a case folder ``<id>/<id>_<modality>.nii.gz``.

    Raises:
        InputError: for a missing or unreadable file, modalities of different shape or affine, values that are not
            finite, an image without brain, or labels outside the BraTS 2020 scheme.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise InputError(f"{folder} must be a case folder, but there is no such folder")
    paths = [_file_of(folder, modality) for modality in modalities]
    images = [load_nifti(path) for path in paths]
    for path, image in zip(paths[1:], images[1:], strict=True):
        _check_same_grid(paths[0], images[0], path, image)
    volumes = np.stack([to_lps(read_volume(image, path), image) for image, path in zip(images, paths, strict=True)])
    for path, volume in zip(paths, volumes, strict=True):
        if not np.isfinite(volume).all():
            raise InputError(f"{path} must hold finite values, but holds NaN or Inf")
    brain = (volumes != 0).any(axis=0)
    if not brain.any():
        raise InputError(f"{folder} must show a brain, but every voxel of every modality is 0")
    labels = _read_labels(folder, paths[0], images[0]) if with_labels else None
    return Case(
        name=folder.name,
        image=_as_slices(_z_scored(volumes, brain)),
        brain=_as_slices(brain),
        labels=None if labels is None else _as_slices(labels),
        like=images[0],
    )


def has_labels(folder: Path) -> bool:
    """Whether a case folder holds a segmentation."""
    return any((folder / f"{folder.name}_seg{suffix}").is_file() for suffix in (".nii.gz", ".nii"))


def target_mask(labels: NDArray[np.uint8], target: str) -> NDArray[np.bool_]:
    """Where the labels belong to a target (ET, TC or WT), any shape. Raises InputError for an unknown target."""
    if target not in TARGETS:
        raise InputError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    return np.isin(labels, TARGETS[target])


def load_slices(path: Path) -> NDArray[np.float32]:
    """A NIfTI volume as slices ``[Z, H, W]``. Raises InputError where it cannot be read."""
    image = load_nifti(path)
    return _as_slices(to_lps(read_volume(image, path), image))


def brain_box(brain: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """First and last row and column (y0, x0, y1, x1) that any slice of ``[Z, H, W]`` shows brain in."""
    shadow = brain.any(axis=0)
    rows, columns = np.flatnonzero(shadow.any(axis=1)), np.flatnonzero(shadow.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])


def as_volume(slices: NDArray[np.generic]) -> NDArray[np.generic]:
    """Slices ``[Z, H, W]`` as a volume ``[X, Y, Z]`` in LPS axes."""
    return np.ascontiguousarray(slices.transpose(2, 1, 0))


def _as_slices(volumes: NDArray) -> NDArray:
    """Volumes ``[..., X, Y, Z]`` -> slices ``[Z, ..., H, W]``."""
    return np.ascontiguousarray(np.moveaxis(volumes, -1, 0).swapaxes(-1, -2))


def _file_of(folder: Path, kind: str) -> Path:
    for suffix in (".nii.gz", ".nii"):
        path = folder / f"{folder.name}_{kind}{suffix}"
        if path.is_file():
            return path
    present = sorted(path.name for path in folder.glob("*.nii*"))
    raise InputError(
        f"{folder} must hold {folder.name}_{kind}.nii.gz, but it is missing; there are: {', '.join(present) or 'none'}"
    )


def _check_same_grid(first: Path, like: nib.Nifti1Image, path: Path, image: nib.Nifti1Image) -> None:
    if image.shape[:3] != like.shape[:3]:
        raise InputError(f"{path} must have the shape of {first.name}, {like.shape}, got {image.shape}")
    if not np.allclose(image.affine, like.affine, atol=1e-3):
        raise InputError(
            f"{path} must have the affine of {first.name}, {like.affine.round(3).tolist()}, "
            f"got {image.affine.round(3).tolist()}; register and resample the modalities to one grid first"
        )


def _read_labels(folder: Path, first: Path, like: nib.Nifti1Image) -> NDArray[np.uint8]:
    path = _file_of(folder, "seg")
    image = load_nifti(path)
    _check_same_grid(first, like, path, image)
    labels = to_lps(read_volume(image, path), image)
    known = np.isin(labels, (0, 1, 2, 4))
    if not known.all():
        raise InputError(f"{path} must hold the BraTS 2020 labels 0, 1, 2, 4, got {labels[~known].flat[0]:g}")
    return labels.astype(np.uint8)


def _z_scored(volumes: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Zero mean and unit standard deviation inside the brain, per modality; a constant modality becomes 0."""
    inside = volumes[:, brain].astype(np.float64)
    mean, deviation = inside.mean(axis=1), inside.std(axis=1)
    scale = np.where(deviation > 0, 1 / np.maximum(deviation, 1e-12), 0)
    scored = (volumes - mean[:, None, None, None]) * scale[:, None, None, None]
    return np.where(brain, scored, 0).astype(np.float32)
