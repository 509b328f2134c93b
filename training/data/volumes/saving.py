"""Writing of NIfTI files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.runtime.files import atomic_write


def save_nifti(path: Path, voxels: NDArray[np.generic], like: nib.Nifti1Image) -> None:
    """Writes ``[X, Y, Z]`` voxels with the affine, header and units of ``like``, in the voxels' own dtype."""
    header = like.header.copy()
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 0
    with atomic_write(path) as temporary:
        nib.save(nib.Nifti1Image(voxels, like.affine, header), temporary)
