"""Voxel grids: size, place and orientation of a volume in millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.runtime.errors import InputError

Scalar = TypeVar("Scalar", bound=np.generic)

_LPS = nib.orientations.axcodes2ornt("LPS")


@dataclass(frozen=True)
class Grid:
    """A voxel grid.

    Attributes:
        shape: (X, Y, Z), in the order of the file.
        affine: ``[4, 4]`` float64, from voxel indices to millimetres in RAS axes; invertible.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size (x, y, z) in mm, in LPS axes."""
        x, y, z = (float(self._sizes[list(self._axes).index(axis)]) for axis in range(3))
        return x, y, z

    def to_lps(self, voxels: NDArray[Scalar]) -> NDArray[Scalar]:
        """Reorients voxels ``[X, Y, Z]`` to LPS axes (x to the left, y to the back, z up), by flips and transposes."""
        turned: NDArray[Scalar] = nib.apply_orientation(voxels, nib.orientations.ornt_transform(self._own, _LPS))
        return turned

    def from_lps(self, voxels: NDArray[Scalar]) -> NDArray[Scalar]:
        """Inverse of ``to_lps``."""
        turned: NDArray[Scalar] = nib.apply_orientation(voxels, nib.orientations.ornt_transform(_LPS, self._own))
        return turned

    @property
    def lps(self) -> Grid:
        """The grid of voxels that ``to_lps`` has turned."""
        turn = nib.orientations.ornt_transform(self._own, _LPS)
        x, y, z = (self.shape[list(turn[:, 0].astype(int)).index(axis)] for axis in range(3))
        return Grid((x, y, z), self.affine @ nib.orientations.inv_ornt_aff(turn, self.shape))

    def distance(self, other: Grid) -> float:
        """Largest distance between the same corner of both grids, as a part of the smallest voxel side."""
        corners = np.array([(*corner, 1) for corner in product(*((0, side - 1) for side in self.shape))])
        apart = (corners @ (self.affine - other.affine).T)[:, :3]
        return float(np.linalg.norm(apart, axis=1).max() / self._sizes.min())

    @property
    def text(self) -> str:
        """Size in voxels and mm, in the order of the file."""
        return f"{_times(self.shape)} voxels of {_times([float(f'{size:.6g}') for size in self._sizes])} mm"

    @property
    def _own(self) -> NDArray[np.float64]:
        orientation: NDArray[np.float64] = nib.io_orientation(self.affine)
        return orientation

    @property
    def _axes(self) -> NDArray[np.int_]:
        return self._own[:, 0].astype(int)

    @property
    def _sizes(self) -> NDArray[np.float64]:
        sizes: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return sizes


def skew(grid: Grid) -> float:
    """By which part the product of a voxel's sides exceeds its volume: 0 where its axes are at right angles."""
    axes = grid.affine[:3, :3]
    # The determinant of unit vectors is 1 where they are orthogonal, and 0 where they lie in a plane.
    return float(1 / abs(np.linalg.det(axes / np.linalg.norm(axes, axis=0))) - 1)


def require_placed(path: Path, grid: Grid) -> None:
    """Raises InputError where the affine of a file's grid is not finite or not invertible."""
    with np.errstate(all="ignore"):
        sizes = np.linalg.norm(grid.affine[:3, :3], axis=0)
        flat = not skew(grid) < 1000
    if not (np.isfinite(grid.affine).all() and np.isfinite(sizes).all() and (sizes > 0).all()) or flat:
        raise InputError(
            f"{path} must be placed by a finite and invertible affine, got {grid.affine[:3].round(6).tolist()}; "
            "correct the header (qform, sform and voxel sizes), or convert the image anew"
        )


def _times(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
