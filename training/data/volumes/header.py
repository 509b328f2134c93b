"""The header of an image file, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.findings import Finding


@dataclass(frozen=True)
class Header:
    """The header of an image file.

    Attributes:
        shape: of all axes of the file.
        affine: ``[4, 4]`` float64, from indices of the three spatial axes to millimetres in RAS axes.
        dtype: of the numbers in the file.
        like: an image whose affine and header outputs on the same grid get.
        findings: what the header leaves open; ``{}`` in them stands for the file.
        read: reads the voxels at an index, a tuple of one slice or number for each axis.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    like: nib.Nifti1Image
    findings: tuple[Finding, ...]
    read: Callable[[tuple[int | slice, ...]], NDArray[Any]]
