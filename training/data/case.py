"""A patient's volumes, read and normalised, as slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.labels import SCHEMES, LabelScheme, unclear
from spuproj.training.data.nifti import load_nifti, lps_spacing, read_volume, to_lps
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.registry import case_in
from spuproj.training.runtime.files import InputError

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Case:
    """One patient. Slices are axial, from the feet up; on a slice y runs to the back and x to the left (LPS).

    Attributes:
        name: of the case.
        image: ``[Z, C, H, W]`` float32, z-scored inside the brain, 0 outside.
        brain: ``[Z, H, W]`` bool.
        labels: ``[Z, H, W]`` uint8, values of the scheme, or None where they were not read.
        scheme: the meaning of the labels, or None where it is unknown.
        like: the first modality's NIfTI image; outputs get its affine and header.
        modalities: names of the channels, or empty.
    """

    name: str
    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8] | None
    scheme: LabelScheme | None
    like: nib.Nifti1Image
    modalities: tuple[str, ...] = ()

    @property
    def field(self) -> tuple[float, float]:
        """Height and width of a slice, in mm."""
        x, y, _ = lps_spacing(self.like)
        return y * self.image.shape[2], x * self.image.shape[3]

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel, in ml."""
        return math.prod(lps_spacing(self.like)) / 1000

    def target(self, name: str) -> NDArray[np.bool_]:
        """Mask ``[Z, H, W]`` of a target. Raises InputError for an unknown one."""
        assert self.labels is not None
        assert self.scheme is not None
        return self.scheme.mask(self.labels, name)


def load_case(source: CaseFiles | Path, modalities: Sequence[str] | None = None, with_labels: bool = False) -> Case:
    """Reads a case.

    Args:
        source: its files, or a BraTS case folder.
        modalities: the channels, in order; all modalities of the case where None.
        with_labels: whether to read the segmentation.

    Raises:
        InputError: for a missing or unreadable file, modalities of different shape or affine, values that are not
            finite, an image without brain, or labels whose scheme is unknown or does not have them.
    """
    files = source if isinstance(source, CaseFiles) else case_in(source)
    names = tuple(files.images if modalities is None else modalities)
    paths = [image_path(files, name) for name in names]
    pairs = [read_image(path) for path in paths]
    like = pairs[0][0]
    for path, (image, _) in zip(paths[1:], pairs[1:], strict=True):
        check_same_grid(paths[0], like, path, image)
    volumes = np.stack([volume for _, volume in pairs])
    brain = read_brain(files, paths[0], like, volumes)
    labels = read_labels(files, paths[0], like) if with_labels else None
    return Case(
        name=files.name,
        image=_as_slices(_z_scored(volumes, brain)),
        brain=_as_slices(brain),
        labels=None if labels is None else _as_slices(labels),
        scheme=files.scheme,
        like=like,
        modalities=names,
    )


def image_path(files: CaseFiles, modality: str) -> Path:
    """The file of a modality. Raises InputError where the case has none."""
    if modality not in files.images:
        raise InputError(f"{files.name} must have the modality {modality}, but has {', '.join(files.images)}")
    return files.images[modality].path


def read_image(path: Path) -> tuple[nib.Nifti1Image, NDArray[np.float32]]:
    """A modality's image, and its voxels in LPS axes. Raises InputError for a missing, damaged or non-finite one."""
    image = load_nifti(_present(path))
    volume = to_lps(read_volume(image, path), image)
    if not np.isfinite(volume).all():
        raise InputError(f"{path} must hold finite values, but holds NaN or Inf")
    return image, volume


def read_brain(files: CaseFiles, first: Path, like: nib.Nifti1Image, volumes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The brain mask ``[X, Y, Z]``: the case's mask file, or else the voxels where any modality is not zero.

    Raises:
        InputError: for a mask that cannot be read or is on another grid, or an empty one.
    """
    brain: NDArray[np.bool_]
    if files.mask is None:
        brain, place = (volumes != 0).any(axis=0), first.parent
    else:
        image, voxels = read_image(files.mask)
        check_same_grid(first, like, files.mask, image)
        brain, place = voxels != 0, files.mask
    if not brain.any():
        raise InputError(
            f"{place} must show a brain, but every voxel of {'it' if files.mask else 'every modality'} is 0"
        )
    return brain


def load_slices(path: Path) -> NDArray[np.float32]:
    """A NIfTI volume as slices ``[Z, H, W]``. Raises InputError where it cannot be read."""
    image = load_nifti(path)
    return _as_slices(to_lps(read_volume(image, path), image))


def brain_box(brain: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Bounding box (y0, x0, y1, x1) of the brain ``[Z, H, W]`` over all slices; the last row and column are inside."""
    rows, columns = np.flatnonzero(brain.any(axis=(0, 2))), np.flatnonzero(brain.any(axis=(0, 1)))
    return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])


def as_volume(slices: NDArray[np.generic]) -> NDArray[np.generic]:
    """Slices ``[Z, H, W]`` as a volume ``[X, Y, Z]`` in LPS axes."""
    return np.ascontiguousarray(slices.transpose(2, 1, 0))


def _as_slices(volumes: NDArray[Scalar]) -> NDArray[Scalar]:
    """Volumes ``[..., X, Y, Z]`` -> slices ``[Z, ..., H, W]``."""
    return np.ascontiguousarray(np.moveaxis(volumes, -1, 0).swapaxes(-1, -2))


def _present(path: Path) -> Path:
    """The path itself. Raises InputError, which lists the folder's files, where there is no such file."""
    if not path.is_file():
        others = sorted(other.name for other in path.parent.glob("*.nii*"))
        raise InputError(
            f"{path.parent} must hold {path.name}, but it is missing; there are: {', '.join(others) or 'none'}"
        )
    return path


def check_same_grid(first: Path, like: nib.Nifti1Image, path: Path, image: nib.Nifti1Image) -> None:
    """Raises InputError where an image differs from the first one in shape or affine."""
    if image.shape[:3] != like.shape[:3]:
        raise InputError(f"{path} must have the shape of {first.name}, {like.shape}, got {image.shape}")
    if not np.allclose(image.affine, like.affine, atol=1e-3):
        raise InputError(
            f"{path} must have the affine of {first.name}, {like.affine.round(3).tolist()}, "
            f"got {image.affine.round(3).tolist()}; register and resample the modalities to one grid first"
        )


def read_labels(files: CaseFiles, first: Path, like: nib.Nifti1Image) -> NDArray[np.uint8]:
    """The segmentation ``[X, Y, Z]``; its file may hold integers or floats that are whole numbers.

    Raises:
        InputError: where it is missing, damaged, on another grid, of unknown scheme, or has values outside the scheme.
    """
    if files.label is None:
        raise InputError(f"{files.name} must have a segmentation, but has none")
    image = load_nifti(_present(files.label))
    check_same_grid(first, like, files.label, image)
    if files.scheme is None:
        raise unclear(files.label)
    labels = to_lps(read_volume(image, files.label), image)
    known = np.isin(labels, (0, *files.scheme.known))
    if not known.all():
        raise InputError(
            f"{files.label} must hold the {files.scheme.name} labels {', '.join(map(str, (0, *files.scheme.known)))}, "
            f"got {labels[~known].flat[0]:g}; if they are of another scheme, name it: {', '.join(SCHEMES)}"
        )
    return labels.astype(np.uint8)


def _z_scored(volumes: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Zero mean and unit standard deviation inside the brain, per modality; a constant modality becomes 0."""
    inside = volumes[:, brain].astype(np.float64)
    mean, deviation = inside.mean(axis=1), inside.std(axis=1)
    scale = np.where(deviation > 0, 1 / np.maximum(deviation, 1e-12), 0)
    scored = (volumes - mean[:, None, None, None]) * scale[:, None, None, None]
    return np.where(brain, scored, 0).astype(np.float32)
