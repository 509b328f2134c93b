"""The header of an image file, whatever its format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.findings import Finding, Level

_MILLIMETRES = {"mm": 1.0, "unknown": 1.0, "micron": 0.001, "centimeter": 10.0, "meter": 1000.0}


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


def in_millimetres(unit: str) -> tuple[float, tuple[Finding, ...]]:
    """Millimetres per unit of length, and a note where they are not 1. Raises KeyError for another unit."""
    scale = _MILLIMETRES[unit]
    if scale == 1:
        return scale, ()
    note = f"{{}}: the header says that lengths are in {unit}s: they are read as {scale:g} mm each"
    return scale, (Finding(Level.NOTE, note),)
