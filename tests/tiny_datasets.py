"""Artificial data sets: NIfTI files of a few voxels, with the file names of each format."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (6, 7, 5)
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def volume(value: float) -> np.ndarray:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[1:5, 1:6, 1:4] = value + np.arange(4 * 5 * 3).reshape(4, 5, 3)
    return voxels


def seg(value: int) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 2, 2] = value
    return labels


def save(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)
    return path


def brats(root: Path, name: str, separator: str, endings: tuple[str, ...], label: int) -> Path:
    for value, ending in enumerate(endings):
        save(root / name / f"{name}{separator}{ending}.nii.gz", volume(100 * (value + 1)))
    save(root / name / f"{name}{separator}seg.nii.gz", seg(label))
    return root / name


OLD, NEW = ("t1", "t1ce", "t2", "flair"), ("t1n", "t1c", "t2w", "t2f")
