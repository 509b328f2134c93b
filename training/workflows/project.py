"""The spherical views of one slice of any NIfTI volume, as a figure and as an interactive page."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spuproj import Views
from spuproj.plotting.figure import plot_views
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.brain import find_brain
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.report.explorer import write_explorer
from spuproj.training.report.figures import save_figure
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import refuse_overwrite
from spuproj.training.runtime.wording import verbatim


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
        radius: of the sphere in mm; half the slice's larger side where None.
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
    shown = _axial_slice(volume, index)
    size = (shown.plane.shape[0], shown.plane.shape[1])
    views = Views.spherical(
        size, grid=grid, box=shown.foreground, radius=radius, lift=lift, chart=chart, spacing=shown.spacing
    )
    figure = plot_views(views.geometry, views.size, views.view_size, shown.plane, columns=grid[1])
    figure.suptitle(verbatim(f"{volume.name}, slice {index}: {lift} to {chart}"), color="white", fontsize=11)
    return save_figure(figure, out)


def explore_slice(volume: Path, index: int | None, out: Path, *, force: bool = False) -> Path:
    """Writes the page on which the views of an axial slice are tried out.

    Args:
        volume: NIfTI file of three axes, in any storage order.
        index: of the slice, counted from the feet; None for the one with the largest foreground.
        out: HTML file.
        force: write over an existing file.

    Returns:
        ``out``.

    Raises:
        InputError: for a volume that cannot be read, a slice that it does not have, or an existing file.
    """
    refuse_overwrite([out], force)
    shown = _axial_slice(volume, index)
    y0, x0, y1, x1 = shown.foreground
    middle = ((y0 + y1) / 2, (x0 + x1) / 2)
    return write_explorer(out, shown.plane, shown.spacing, middle, f"Views of {volume.name}, slice {shown.number}")


class _Slice(NamedTuple):
    """An axial slice: rows from front to back, columns from the patient's right to left.

    Attributes:
        plane: ``[H, W]``.
        number: counted from the feet.
        spacing: (height, width) of a pixel in mm.
        foreground: bounding box (y0, x0, y1, x1) of what differs from the background, or the whole slice.
    """

    plane: NDArray[np.float32]
    number: int
    spacing: tuple[float, float]
    foreground: tuple[float, float, float, float]


def _axial_slice(path: Path, index: int | None) -> _Slice:
    """A slice of a volume, or its slice with the largest foreground."""
    volume = open_volume(ImageFile(path))
    voxels = volume.numbers().astype(np.float32)
    if index is not None and not 0 <= index < voxels.shape[2]:
        raise InputError(f"slice must lie in [0, {voxels.shape[2] - 1}], got {index}")
    finite = np.nan_to_num(voxels, nan=0, posinf=0, neginf=0)
    shown = find_brain(finite[None], ("image",))[0]
    chosen = int(shown.sum(axis=(0, 1)).argmax()) if index is None else index
    width, height, _ = volume.grid.spacing
    plane = np.ascontiguousarray(voxels[:, :, chosen].T)
    return _Slice(plane, chosen, (height, width), _box(shown[:, :, chosen].T))


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Bounding box of a mask ``[H, W]``; of the whole slice where the mask is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return 0, 0, mask.shape[0] - 1, mask.shape[1] - 1
    return float(rows[0]), float(columns[0]), float(rows[-1]), float(columns[-1])
