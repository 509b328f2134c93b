"""A DICOM series of single-frame slices: its voxel grid, and volumes on that grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from spuproj.training.data.volumes.grid import Grid, require_placed
from spuproj.training.data.volumes.image_file import Volume
from spuproj.training.data.volumes.same_grid import TOLERANCE
from spuproj.training.runtime.errors import InputError, as_input_error, reason_of
from spuproj.training.runtime.wording import some_of

_NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
)
_OF_ONE = ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID")
_SAME = 1e-4
# DICOM's axes run to the left, the back and the top (LPS), those of NIfTI to the right, the front and the top (RAS).
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Series:
    """A series.

    Attributes:
        path: the folder of its files.
        slices: the headers of its slices, in the order of their places along the normal of the slices.
        grid: of the voxels ``[columns, rows, slices]``, in RAS axes.
    """

    path: Path
    slices: Sequence[Dataset]
    grid: Grid

    @property
    def distance(self) -> float:
        """From the plane of a slice to that of the next, in mm."""
        axes = self.grid.affine[:3, :3]
        return float(abs(np.linalg.det(axes)) / np.linalg.norm(np.cross(axes[:, 0], axes[:, 1])))

    def frames(self, volume: Volume) -> NDArray[Any]:
        """The voxels of a volume that lies on the grid of the series, as ``[slices, rows, columns]``.

        Axes are exchanged and reversed where the volume has them in another order. Nothing is resampled.

        Raises:
            InputError: where the volume lies on another grid, or is damaged.
        """
        own = volume.grid.lps
        turn = nib.io_orientation(np.linalg.inv(self.grid.affine) @ own.affine)
        moved = _turned(own, turn)
        if moved is None or moved.shape != self.grid.shape or not moved.distance(self.grid) <= TOLERANCE:
            alike = moved is not None and moved.shape == self.grid.shape
            place = f", {moved.distance(self.grid):.3g} voxels away" if moved is not None and alike else ""
            raise InputError(
                f"{volume.path} must lie on the voxel grid of the series {self.path}, {self.grid.text}, but has "
                f"{own.text}{place}; nothing is resampled here: predict images that were converted from this series "
                "(for example with dcm2niix), or move the maps to it yourself"
            )
        voxels: NDArray[Any] = nib.apply_orientation(volume.numbers(), turn)
        return np.ascontiguousarray(voxels.transpose(2, 1, 0))


def _turned(grid: Grid, turn: NDArray[np.float64]) -> Grid | None:
    """The grid after its axes are exchanged and reversed; None where they do not correspond to the new ones."""
    if np.isnan(turn).any():
        return None
    x, y, z = (grid.shape[list(turn[:, 0]).index(axis)] for axis in range(3))
    return Grid((x, y, z), grid.affine @ nib.orientations.inv_ornt_aff(turn, grid.shape))


def read_series(folder: Path) -> Series:
    """Reads the headers of a series; files of other formats are passed over.

    Raises:
        InputError: where the folder holds no DICOM images, several series, multi-frame files, images of several
            patients or without a place in the patient, or the slices are not parallel, equally spaced and of one size.
    """
    slices = _images(folder)
    with _reading(folder):
        return _placed(folder, slices)


def _placed(folder: Path, slices: Sequence[Dataset]) -> Series:
    """The series of slices in any order. Raises as ``read_series`` does, and anything for broken headers."""
    for image in slices:
        _require_place(folder, image)
    _require_one(folder, slices)
    direction = np.array(slices[0].ImageOrientationPatient, np.float64)
    row, column = direction[:3], direction[3:]
    normal = np.cross(row, column)
    slices = sorted(slices, key=lambda image: float(normal @ _position(image)))
    places = np.array([_position(image) for image in slices])
    down, across = (float(size) for size in slices[0].PixelSpacing)
    step = _step(folder, places, min(down, across))
    affine = np.eye(4)
    affine[:3] = np.stack([row * across, column * down, step, places[0]], axis=1)
    grid = Grid((int(slices[0].Columns), int(slices[0].Rows), len(slices)), _RAS @ affine)
    require_placed(folder, grid)
    return Series(folder, slices, grid)


def _images(folder: Path) -> list[Dataset]:
    """The headers of the images in a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} must be the folder of a DICOM series, but there is no such folder")
    found = [header for path in sorted(folder.iterdir()) if path.is_file() and (header := _header(path)) is not None]
    if not found:
        raise InputError(f"{folder} must hold the DICOM files of a series, but none of its files is a DICOM image")
    return found


def _header(path: Path) -> Dataset | None:
    """The header of an image; None for other files, among them a DICOMDIR."""
    with _reading(path):
        try:
            syntax = read_file_meta_info(path).get("TransferSyntaxUID")
            if syntax == DeflatedExplicitVRLittleEndian:
                raise InputError(
                    f"{path} must not be deflated as a whole, since a small file may become gigabytes; convert it, for "
                    "example with dcmtk's dcmconv +te"
                )
            header = dcmread(path, stop_before_pixels=True)
        except InvalidDicomError:
            return None
        return header if "Rows" in header else None


def _reading(path: Path) -> AbstractContextManager[None]:
    """A context in which whatever broken headers raise becomes an InputError, which names the path."""
    return as_input_error(lambda error: f"{path} must be DICOM, but its headers cannot be read: {reason_of(error)}")


def _require_place(folder: Path, image: Dataset) -> None:
    if "PerFrameFunctionalGroupsSequence" in image or int(image.get("NumberOfFrames") or 1) > 1:
        raise InputError(
            f"{folder} must hold a file for each slice, but holds a multi-frame file (enhanced DICOM); convert "
            "it first, for example with dcm4che's emf2sf"
        )
    missing = [name for name in _NEEDED if image.get(name) in (None, "")]
    if missing:
        raise InputError(
            f"{folder} must hold slices that name themselves and their place in the patient, but "
            f"{image.get('SOPInstanceUID')} has no {', '.join(missing)}"
        )


def _require_one(folder: Path, slices: Sequence[Dataset]) -> None:
    """Raises InputError where images are of several series, or differ in size or direction."""
    names = {image.SeriesInstanceUID: str(image.get("SeriesDescription", "without a name")) for image in slices}
    if len(names) > 1:
        raise InputError(
            f"{folder} must hold one series, but holds {len(names)}: {some_of(sorted(names.values()))}; name a folder "
            "that holds only the series that the prediction was made from"
        )
    for name in _OF_ONE:
        values = sorted({str(image.get(name) or "") for image in slices})
        if len(values) > 1:
            raise InputError(
                f"{folder} must hold slices of one patient and study, but their {name} is "
                f"{' or '.join(value or repr(value) for value in values[:3])}"
            )
    numbers = Counter(str(image.SOPInstanceUID) for image in slices)
    repeated = [number for number, count in numbers.items() if count > 1]
    if repeated:
        raise InputError(
            f"{folder} must hold slices with a SOPInstanceUID each, but some have the same, {repeated[0]}; a file may "
            "be there twice"
        )
    if not all(_alike(image, slices[0]) for image in slices):
        raise InputError(
            f"{folder} must hold parallel slices of one size, but some differ in size, direction or frame of reference "
            "(a localizer, for example)"
        )


def _alike(image: Dataset, first: Dataset) -> bool:
    """Whether two slices have one size, direction and frame of reference."""
    same = all(image[name].value == first[name].value for name in ("Rows", "Columns", "FrameOfReferenceUID"))
    turned = np.subtract(image.ImageOrientationPatient, first.ImageOrientationPatient, dtype=np.float64)
    stretched = np.divide(image.PixelSpacing, first.PixelSpacing, dtype=np.float64)
    return bool(same and np.abs(turned).max() <= _SAME and np.abs(stretched - 1).max() <= _SAME)


def _position(image: Dataset) -> NDArray[np.float64]:
    return np.array(image.ImagePositionPatient, np.float64)


def _step(folder: Path, places: NDArray[np.float64], pixel: float) -> NDArray[np.float64]:
    """The way from one slice to the next, in mm. Raises InputError where slices are not equally spaced."""
    if len(places) < 2:
        raise InputError(f"{folder} must hold at least two slices, got one: a single one has no distance to the next")
    step: NDArray[np.float64] = (places[-1] - places[0]) / (len(places) - 1)
    off = np.linalg.norm(places - (places[0] + np.arange(len(places))[:, None] * step), axis=1).max()
    smallest = min(pixel, float(np.linalg.norm(step)))
    if not (smallest > 0 and off <= TOLERANCE * smallest):
        gaps = np.linalg.norm(np.diff(places, axis=0), axis=1)
        raise InputError(
            f"{folder} must hold equally spaced slices, one at each place, but their distances are from "
            f"{gaps.min():.4g} to {gaps.max():.4g} mm; slices may be missing, or there are several echoes or times"
        )
    return step
