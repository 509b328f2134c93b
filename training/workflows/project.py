"""The spherical views of one slice of any NIfTI volume, as a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spuproj import Views
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.brain import find_brain
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.report.figures import views_figure
from spuproj.training.runtime.files import InputError, refuse_overwrite


def project_slice(
    volume: Path,
    index: int,
    out: Path,
    *,
    grid: tuple[int, int] = (3, 3),
    radius: float | None = None,
    lift: str = "gnomonic",
    chart: str = "equidistant",
    force: bool = False,
) -> Path:
    """Draws an axial slice with its views and writes the figure.

    Args:
        volume: NIfTI file of three axes, in any storage order.
        index: of the slice, counted from the feet.
        out: PNG file.
        grid: rows and columns of tangent points over the foreground.
        radius: of the sphere in pixels; half the slice's larger side where None.
        lift: profile from the slice to the sphere, see ``spuproj.PROFILES``.
        chart: profile from the sphere to the view.
        force: write over an existing file.

    Returns:
        ``out``.

    Raises:
        InputError: for a volume that cannot be read, a slice that it does not have, or an existing file.
        ValueError: for values that ``Views.spherical`` refuses.
    """
    refuse_overwrite([out], force)
    voxels = open_volume(ImageFile(volume)).numbers().astype(np.float32)
    if not 0 <= index < voxels.shape[2]:
        raise InputError(f"slice must lie in [0, {voxels.shape[2] - 1}], got {index}")
    plane = np.ascontiguousarray(voxels[:, :, index].T)
    size = (plane.shape[0], plane.shape[1])
    views = Views.spherical(size, grid=grid, box=_foreground(voxels, index), radius=radius, lift=lift, chart=chart)
    return views_figure(plane, views, grid[1], f"{volume.name}, slice {index}: {lift} to {chart}", out)


def _foreground(voxels: NDArray[np.float32], index: int) -> tuple[float, float, float, float]:
    """Bounding box of what differs from the background on a slice of ``[X, Y, Z]``, or the whole slice."""
    finite = np.nan_to_num(voxels, nan=0, posinf=0, neginf=0)
    shown = find_brain(finite[None], ("image",))[0][:, :, index].T
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if rows.size == 0:
        return 0, 0, shown.shape[0] - 1, shown.shape[1] - 1
    return float(rows[0]), float(columns[0]), float(rows[-1]), float(columns[-1])
