"""A patient's volumes, read and normalised, as slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.findings import Finding, Level, merged
from spuproj.training.data.labels import LabelScheme
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, errors_of, lacking
from spuproj.training.data.readers.registry import case_in
from spuproj.training.data.volumes.brain import REMEDY, doubts, find_brain
from spuproj.training.data.volumes.grid import Grid
from spuproj.training.data.volumes.image_file import Volume, open_volume
from spuproj.training.data.volumes.intensities import CLIP, normalised
from spuproj.training.data.volumes.same_grid import require_same_grid
from spuproj.training.data.volumes.segmentation import outside, read_labels
from spuproj.training.runtime.errors import InputError

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Case:
    """One patient. Slices are axial, from the feet up; on a slice y runs to the back and x to the left (LPS).

    Attributes:
        name: of the case.
        image: ``[Z, C, H, W]`` float32, zero mean and unit standard deviation inside the brain, 0 outside.
        brain: ``[Z, H, W]`` bool.
        labels: ``[Z, H, W]`` integers, values of the scheme, or None where they were not read.
        scheme: the meaning of the labels, or None where it is unknown.
        grid: of the voxels, in the order of the file.
        like: an image whose affine and header outputs get.
        modalities: names of the channels, or empty.
        findings: what is unusual, and what was taken for granted.
        missing: the modalities among them that the case lacks; their channels are 0 everywhere.
    """

    name: str
    image: NDArray[np.float32]
    brain: NDArray[np.bool_]
    labels: NDArray[np.integer[Any]] | None
    scheme: LabelScheme | None
    grid: Grid
    like: nib.Nifti1Image
    modalities: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size (x, y, z) in mm: to the left, to the back, up."""
        return self.grid.spacing

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of a slice, in pixels."""
        return self.image.shape[2], self.image.shape[3]

    @property
    def field(self) -> tuple[float, float]:
        """Height and width of a slice, in mm."""
        x, y, _ = self.spacing
        return y * self.size[0], x * self.size[1]

    @property
    def brain_slices(self) -> NDArray[np.int64]:
        """Indices of the slices with brain, from the feet up."""
        return np.flatnonzero(self.brain.any(axis=(1, 2)))

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel, in ml."""
        return math.prod(self.spacing) / 1000

    def target(self, name: str) -> NDArray[np.bool_]:
        """Mask ``[Z, H, W]`` of a target. Raises InputError for an unknown one."""
        assert self.labels is not None
        assert self.scheme is not None
        return self.scheme.mask(self.labels, name)


def load_case(
    source: CaseFiles | Path,
    modalities: Sequence[str] | None = None,
    with_labels: bool = False,
    clip: tuple[float, float] = CLIP,
    may_lack: bool = False,
) -> Case:
    """Reads a case. All headers are compared before any voxel is read.

    Args:
        source: its files, or a case folder.
        modalities: the channels, in order; all modalities of the case where None.
        with_labels: whether to read the segmentation.
        clip: quantiles between which intensities are clipped, see ``normalised``.
        may_lack: whether the case may lack some of the modalities, all but one: their channels are 0, and a finding
            warns of it. Brain and normalisation follow from those that it has. Where the case's files contradict each
            other, what it lacks is not known, and is an error as without this.

    Raises:
        InputError: for a missing or unreadable file, images on different grids, values that are not finite, an image
            without brain, or labels whose scheme is unknown or does not have them.
    """
    files = source if isinstance(source, CaseFiles) else case_in(source)
    names = tuple(files.images if modalities is None else modalities)
    if not names:
        raise InputError(f"{files.name} must have an image, but has none{errors_of(files)}")
    missing = _lacking(files, names) if may_lack and not errors_of(files) else ()
    present = [name for name in names if name not in missing]
    images = [open_volume(image_file(files, name)) for name in present]
    mask = None if files.mask is None else open_volume(ImageFile(files.mask))
    label = _open_label(files) if with_labels else None
    opened = [volume for volume in (*images, mask, label) if volume is not None]
    findings = [*headers_findings(opened), *require_same_grid(opened)]
    voxels = np.stack([volume.values() for volume in images])
    brain, found = brain_of(present, voxels, mask, images[0])
    image, unusual = normalised(voxels, brain, present, clip)
    case = Case(
        name=files.name,
        image=_as_slices(_channels(image, present, names)),
        brain=_as_slices(brain),
        labels=None,
        scheme=files.scheme,
        grid=images[0].grid,
        like=images[0].like,
        modalities=names,
        findings=(*_missing(files, missing), *files.findings, *findings, *found, *unusual),
        missing=missing,
    )
    return case if label is None else _with_labels(case, label)


def add_labels(case: Case, files: CaseFiles) -> Case:
    """The case with its segmentation. Raises InputError where that cannot be used, see ``load_case``."""
    label = _open_label(files)
    first = open_volume(image_file(files, next(name for name in case.modalities if name not in case.missing)))
    found = (*headers_findings([label]), *require_same_grid([first, label]))
    return _with_labels(replace(case, findings=(*case.findings, *found)), label)


def image_file(files: CaseFiles, modality: str) -> ImageFile:
    """The file of a modality. Raises InputError where the case has none."""
    if modality not in files.images:
        there = ", ".join(files.images) or "none"
        raise InputError(f"{files.name} must have the modality {modality}, but has {there}{errors_of(files)}")
    return files.images[modality]


def headers_findings(volumes: Sequence[Volume]) -> list[Finding]:
    """The findings about the headers of several volumes, those that say the same merged."""
    return merged((volume.path.name, finding) for volume in volumes for finding in volume.findings)


def brain_of(
    names: Sequence[str], voxels: NDArray[np.float32], mask: Volume | None, first: Volume
) -> tuple[NDArray[np.bool_], list[Finding]]:
    """The brain ``[X, Y, Z]``: where the mask is above 1/2, or else where a modality differs from its background.

    Args:
        names: of the modalities.
        voxels: ``[C, X, Y, Z]``, of the modalities.
        mask: the opened brain mask; None where the case has none.
        first: the opened first modality.

    Returns:
        The mask, and findings about the background and about a brain that is implausible.

    Raises:
        InputError: for a mask that cannot be read, or an empty brain.
    """
    if mask is None:
        brain, findings = find_brain(voxels, names)
        what, remedy = "what is taken as brain", REMEDY
        fault = f"{first.path.parent} must show a brain, but every modality is constant"
    else:
        # Resampling leaves small values where there was 0.
        brain, findings = mask.values() > 0.5, []
        what, remedy = f"the brain mask {mask.path.name}", "correct it"
        fault = f"{mask.path} must show a brain, but no voxel of it is above 0.5; correct it, or take it away"
    if not brain.any():
        raise InputError(fault)
    doubt = doubts(brain, first.grid.spacing)
    if doubt:
        findings.append(Finding(Level.WARNING, f"{what} {doubt}; if it is not the brain, {remedy}"))
    return brain, findings


def load_slices(path: Path) -> NDArray[np.float32]:
    """A volume as slices ``[Z, H, W]``. Raises InputError where it cannot be read."""
    return _as_slices(open_volume(ImageFile(path)).numbers().astype(np.float32))


def brain_box(brain: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Bounding box (y0, x0, y1, x1) of the brain ``[Z, H, W]`` over all slices; the last row and column are inside."""
    rows, columns = np.flatnonzero(brain.any(axis=(0, 2))), np.flatnonzero(brain.any(axis=(0, 1)))
    return int(rows[0]), int(columns[0]), int(rows[-1]), int(columns[-1])


def as_volume(slices: NDArray[np.generic]) -> NDArray[np.generic]:
    """Slices ``[Z, H, W]`` as a volume ``[X, Y, Z]`` in LPS axes."""
    return np.ascontiguousarray(slices.transpose(2, 1, 0))


def _channels(image: NDArray[np.float32], present: Sequence[str], names: Sequence[str]) -> NDArray[np.float32]:
    """The modalities ``[C, X, Y, Z]`` that are present among all, with 0 for those that are not."""
    if len(present) == len(names):
        return image
    channels = np.zeros((len(names), *image.shape[1:]), image.dtype)
    channels[[names.index(name) for name in present]] = image
    return channels


def _lacking(files: CaseFiles, names: Sequence[str]) -> tuple[str, ...]:
    """The modalities that the case lacks. Raises InputError where these are all."""
    missing = lacking(files, names)
    if len(missing) == len(names):
        there = ", ".join(name for name in files.images if name not in missing) or "none"
        raise InputError(f"{files.name} must have at least one of the modalities {', '.join(names)}, but has {there}")
    return missing


def _missing(files: CaseFiles, missing: Sequence[str]) -> list[Finding]:
    """A warning of the modalities that the case lacks, with the files that should have them, if there are any."""
    if not missing:
        return []
    paths = [files.images[name].path for name in missing if name in files.images]
    expected = f" ({', '.join(map(str, paths))} {'is' if len(paths) == 1 else 'are'} not there)" if paths else ""
    several = len(missing) > 1
    message = (
        f"{', '.join(missing)} {'are' if several else 'is'} missing{expected}: a prediction without "
        f"{'them' if several else 'it'} is less reliable"
    )
    return [Finding(Level.WARNING, message)]


def _as_slices(volumes: NDArray[Scalar]) -> NDArray[Scalar]:
    """Volumes ``[..., X, Y, Z]`` -> slices ``[Z, ..., H, W]``."""
    return np.ascontiguousarray(np.moveaxis(volumes, -1, 0).swapaxes(-1, -2))


def _open_label(files: CaseFiles) -> Volume:
    if files.label is None:
        raise InputError(f"{files.name} must have a segmentation, but has none{errors_of(files)}")
    return open_volume(ImageFile(files.label))


def _with_labels(case: Case, label: Volume) -> Case:
    volume, findings = read_labels(label, case.scheme)
    labels = _as_slices(volume)
    return replace(case, labels=labels, findings=(*case.findings, *findings, *outside(labels, case.brain)))
