"""Files that appear whole or not at all, and NIfTI volumes."""

from __future__ import annotations

import glob
import math
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray


class InputError(ValueError):
    """A file or folder that the user gave cannot be used; the message says which, why, and what to do."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``, of the same suffixes; on success it is renamed to ``path``.

    On an error nothing is left behind and an older file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=".spuproj-", dir=path.parent))
    try:
        temporary = directory / path.name
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def written_together(out: Path, name: str, last: str) -> Iterator[Path]:
    """Yields a temporary folder inside ``out``; on success its files are moved to ``out``.

    On an error nothing is left behind and older files stay as they were. The file ``last`` goes first where there is
    an older one, and comes last: where it is there, all the others are, and of one recipe. A folder of the same
    ``name`` that a killed process left is removed: only one process may work on it.
    """
    existed = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    # As many characters as mkdtemp draws.
    for left in out.glob(f".spuproj-{'?' * 8}-{glob.escape(name)}"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=".spuproj-", suffix=f"-{name}", dir=out))
    try:
        yield folder
        (out / last).unlink(missing_ok=True)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == last):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                out.rmdir()


def refuse_overwrite(paths: list[Path], force: bool) -> None:
    """Raises InputError where any of the paths exists and ``force`` is not set."""
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise InputError(f"{existing[0]} exists already; pass --force to write over it")


def finite(value: Any) -> Any:
    """For JSON, which has no NaN."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def load_nifti(path: Path) -> nib.Nifti1Image:
    """A NIfTI image, data not yet read. Raises InputError where the file is missing or is no NIfTI."""
    if not path.is_file():
        raise InputError(f"{path} must be a NIfTI file, but there is no such file")
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} must be a NIfTI file (.nii or .nii.gz), but it cannot be read: {error}") from None
    if not isinstance(image, nib.Nifti1Image):
        raise InputError(f"{path} must be a NIfTI file (.nii or .nii.gz), got {type(image).__name__}")
    return image


def read_volume(image: nib.Nifti1Image, path: Path) -> NDArray[np.float32]:
    """The voxels of a 3-D image as float32 ``[X, Y, Z]``. Raises InputError for another rank or broken data."""
    shape = image.shape[:3] if len(image.shape) == 4 and image.shape[3] == 1 else image.shape
    if len(shape) != 3:
        raise InputError(f"{path} must hold a volume of three axes, got the shape {image.shape}")
    if image.get_data_dtype().kind not in "biuf":
        raise InputError(f"{path} must hold real numbers, got {image.get_data_dtype()}")
    try:
        return np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is damaged: {error}") from None


def to_lps(voxels: NDArray[np.float32], image: nib.Nifti1Image) -> NDArray[np.float32]:
    """Voxels ``[X, Y, Z]`` of ``image`` turned so that the axes run to the left, to the back and up."""
    return nib.apply_orientation(voxels, _to_lps_orientation(image))


def from_lps(voxels: NDArray[np.generic], image: nib.Nifti1Image) -> NDArray[np.generic]:
    """The inverse of ``to_lps``: voxels in the axes of ``image`` again."""
    back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LPS"), nib.io_orientation(image.affine))
    return nib.apply_orientation(voxels, back)


def _to_lps_orientation(image: nib.Nifti1Image) -> NDArray[np.float64]:
    return nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("LPS"))


def lps_spacing(image: nib.Nifti1Image) -> tuple[float, float, float]:
    """Voxel size in mm along the axes that ``to_lps`` makes."""
    axes = nib.io_orientation(image.affine)[:, 0].astype(int)
    sizes = nib.affines.voxel_sizes(image.affine)
    x, y, z = (float(sizes[np.flatnonzero(axes == axis)[0]]) for axis in range(3))
    return x, y, z


def save_nifti(path: Path, voxels: NDArray[np.generic], like: nib.Nifti1Image) -> None:
    """Writes ``[X, Y, Z]`` voxels with the affine, header and units of ``like``, in the voxels' own dtype."""
    header = like.header.copy()
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0
    with written_whole(path) as temporary:
        nib.save(nib.Nifti1Image(voxels, like.affine, header), temporary)
