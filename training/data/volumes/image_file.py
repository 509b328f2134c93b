"""Image files of any format: the header is checked when a file is opened, voxels are read later."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes import itk_file, nibabel_file
from spuproj.training.data.volumes.grid import Grid, require_placed, skew
from spuproj.training.runtime.errors import InputError, as_input_error
from spuproj.training.runtime.wording import some_of

MOST_VOXELS = 2**27
"""Of a volume: 512 x 512 x 512, which are 512 MiB for each modality."""

_USUAL_MM = (0.05, 20.0)
# Headers that are rounded are below.
_LARGEST_SKEW = 0.001
_LISTED = 12
_REMEDY = "; copy it again, or convert it again from its source"
# SimpleITK says first where in its own code it failed, and in that of others.
_WHERE = re.compile(r"sitk::ERROR: |ITK ERROR: \w+\(\w+\): |\[nrrd\] ")


@dataclass(frozen=True)
class Volume:
    """A volume of an image file.

    Attributes:
        path: of the file.
        grid: of its voxels.
        like: an image whose affine and header outputs on the same grid get.
        findings: what the header leaves open, and how it was read; ``{}`` stands for the file.
        in_file: number of volumes in the file.
        read: reads the voxels in the order of the file, in its numeric type or, where the file scales them, float64.
    """

    path: Path
    grid: Grid
    like: nib.Nifti1Image
    findings: tuple[Finding, ...]
    in_file: int
    read: Callable[[], NDArray[Any]]

    def numbers(self) -> NDArray[Any]:
        """The voxels in LPS axes ``[X, Y, Z]``, as ``read`` gives them. Raises InputError for a damaged file."""
        with _reading(self.path, "is damaged: ", _REMEDY):
            return self.grid.to_lps(self.read())

    def values(self) -> NDArray[np.float32]:
        """The same as float32. Raises InputError for a damaged file, and for values that are not finite."""
        numbers = self.numbers()
        with np.errstate(over="ignore"):
            values = numbers.astype(np.float32)
        if not np.isfinite(values).all():
            if np.isfinite(numbers).all():
                largest = float(np.abs(numbers.astype(np.float64)).max())
                raise InputError(
                    f"{self.path} must hold values of at most {np.finfo(np.float32).max:.3g}, but holds {largest:.3g}; "
                    "look whether the file is scaled as it should be"
                )
            raise InputError(
                f"{self.path} must hold finite values, but holds NaN or Inf; if they are background, set them to 0 "
                "(for example with FSL's 'fslmaths IN -nan OUT')"
            )
        return values


def open_volume(file: ImageFile) -> Volume:
    """Reads the header of an image file.

    Raises:
        InputError: where there is no file, for a file of another format, and for a header that does not describe a
            volume of real numbers of at most ``MOST_VOXELS`` voxels, placed by a finite and invertible affine.
    """
    _require_file(file.path)
    formats = nibabel_file if file.path.name.lower().endswith(nibabel_file.SUFFIXES) else itk_file
    fault = "must be an image (NIfTI, MGH, NRRD or MetaImage), but cannot be read: "
    # Affines that are not finite are refused below.
    with _reading(file.path, fault, _REMEDY), np.errstate(all="ignore"):
        header = formats.open_header(file.path)
    if header.dtype.kind not in "biuf":
        raise InputError(f"{file.path} must hold real numbers, got {header.dtype}")
    index, notes = _selection(file, header.shape)
    first, second, third = (size for size, part in zip(header.shape, index, strict=True) if isinstance(part, slice))
    grid = Grid((first, second, third), header.affine)
    if not 0 < math.prod(grid.shape) <= MOST_VOXELS:
        raise InputError(f"{file.path} must have 1 to {MOST_VOXELS} voxels (512 x 512 x 512), got {grid.shape}")
    require_placed(file.path, grid)
    findings = (*header.findings, *notes, *_unusual_size(grid), *_skewed(grid))
    in_file = math.prod(header.shape) // math.prod(grid.shape)
    return Volume(file.path, grid, header.like, findings, in_file, lambda: header.read(index))


def _require_file(path: Path) -> None:
    """Raises InputError, which says what is there instead, where the path is no file with content."""
    if not os.path.lexists(path):
        raise InputError(
            f"{path.parent} must hold {path.name}, but it is missing; images there: {_others(path.parent)}"
        )
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path} must be a file, but is a link to {os.readlink(path)}, which does not exist; fetch the content "
            "that it stands for (for example with 'datalad get'), or correct the link"
        )
    with _reading(path, "cannot be read: "):
        mode = path.stat()
    if path.is_dir():
        there = _others(path)
        holds = f", which holds {there}" if there != "none" else ""
        raise InputError(f"{path} must be a file, but is a folder{holds}; put the image itself in its place")
    if not stat.S_ISREG(mode.st_mode):
        raise InputError(f"{path} must be a file, but is of another kind")
    if mode.st_size == 0:
        raise InputError(f"{path} must be an image, but is an empty file")
    with _reading(path, "cannot be read: "), path.open("rb") as stream:
        if stream.read(23) == b"version https://git-lfs":
            raise InputError(f"{path} must be an image, but is a pointer of Git LFS; fetch it with 'git lfs pull'")


def _others(folder: Path) -> str:
    """The images in a folder, by name."""
    if not folder.is_dir():
        return f"no folder {folder}"
    suffixes = nibabel_file.SUFFIXES + itk_file.SUFFIXES
    names = sorted(other.name for other in folder.iterdir() if other.name.lower().endswith(suffixes))
    return some_of(names, _LISTED) or "none"


def _selection(file: ImageFile, shape: tuple[int, ...]) -> tuple[tuple[int | slice, ...], list[Finding]]:
    """The index of the volume in the file: three slices, and a number for each other axis."""
    every = slice(None)
    wide = [axis for axis, size in enumerate(shape) if axis > 2 and size != 1]
    if file.channel is not None:
        if len(wide) > 1 or len(shape) < 4:
            raise InputError(f"{file.path} must hold several volumes, since a channel is named, got the shape {shape}")
        axis = wide[0] if wide else 3
        if not 0 <= file.channel < shape[axis]:
            raise InputError(f"{file.path} must have the channel {file.channel}, but has {shape[axis]}, from 0")
        return (every, every, every, *(file.channel if at == axis else 0 for at in range(3, len(shape)))), []
    if len(shape) >= 3 and not wide:
        return (every, every, every, *(0 for _ in shape[3:])), []
    lead = next((axis for axis, size in enumerate(shape) if size != 1), len(shape))
    if len(shape) - lead == 3:
        note = f"{{}}: leading axes of length one are dropped from the shape {shape}"
        return (*(0 for _ in range(lead)), every, every, every), [Finding(Level.NOTE, note)]
    if len(shape) < 3:
        raise InputError(f"{file.path} must hold a volume of three axes, got the shape {shape}")
    raise InputError(
        f"{file.path} must hold one volume of three axes, got the shape {shape}; save one of them as a file of its "
        "own, or name them in a manifest if it holds one for each modality, such as "
        f'{{"file": "{file.path.name}", "channel": 0}}; a segmentation must be one label map'
    )


def _unusual_size(grid: Grid) -> list[Finding]:
    if all(_USUAL_MM[0] <= size <= _USUAL_MM[1] for size in grid.spacing):
        return []
    message = f"{{}}: {grid.text} are unusual: check the sizes and units in the header"
    return [Finding(Level.WARNING, message)]


def _skewed(grid: Grid) -> list[Finding]:
    part = skew(grid)
    if part < _LARGEST_SKEW:
        return []
    message = (
        "{}: the axes of the voxels are not at right angles, as they are taken to be: volumes are "
        f"{100 * part:.3g} % too large, and distances are wrong; resample the image to right angles"
    )
    return [Finding(Level.WARNING, message)]


def _reading(path: Path, fault: str, remedy: str = "") -> AbstractContextManager[None]:
    """A context in which an error of a library becomes an InputError, which names the file and ends with a remedy."""
    return as_input_error(lambda error: f"{path} {fault}{_library_reason(error)}{remedy}")


def _library_reason(error: Exception) -> str:
    return " ".join(_WHERE.split(str(error))[-1].split())[:300] or type(error).__name__
