"""NIfTI volumes in LPS axes: x to the left, y to the back (posterior), z up (superior)."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from spuproj.training.runtime.files import InputError, atomic_write


def load_nifti(path: Path) -> nib.Nifti1Image:
    """Opens a NIfTI image; voxels are read later. Raises InputError where the file is missing or not NIfTI."""
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
    """Reorients voxels ``[X, Y, Z]`` of ``image`` to LPS axes, by flips and transposes."""
    turned: NDArray[np.float32] = nib.apply_orientation(voxels, _to_lps_orientation(image))
    return turned


def from_lps(voxels: NDArray[np.generic], image: nib.Nifti1Image) -> NDArray[np.generic]:
    """Inverse of ``to_lps``: back to the axes of ``image``."""
    back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("LPS"), nib.io_orientation(image.affine))
    turned: NDArray[np.generic] = nib.apply_orientation(voxels, back)
    return turned


def _to_lps_orientation(image: nib.Nifti1Image) -> NDArray[np.float64]:
    lps = nib.orientations.axcodes2ornt("LPS")
    orientation: NDArray[np.float64] = nib.orientations.ornt_transform(nib.io_orientation(image.affine), lps)
    return orientation


def lps_spacing(image: nib.Nifti1Image) -> tuple[float, float, float]:
    """Voxel size (x, y, z) in mm, in LPS axes."""
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
    with atomic_write(path) as temporary:
        nib.save(nib.Nifti1Image(voxels, like.affine, header), temporary)
