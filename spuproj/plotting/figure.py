"""A figure of views: the slice with the views' centres, and every view with the grid lines of the slice."""

from __future__ import annotations

import io
import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuproj import functional
from spuproj.geometry import Geometry, slice_coordinates, to_slice
from spuproj.inputs import opened

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke
except ImportError as error:
    raise ImportError(f'plotting views needs matplotlib ({error}): pip install "spuproj[plot]"') from error

Size = tuple[int, int]
Limits = tuple[float, float]

_GRID_LINES = 12
_LINES, _NUMBERS = "#4aa3ff", "#ffb000"
# Points outside the slice are blue-black, unlike any grey of the image.
_GREY = mpl.colormaps["gray"].with_extremes(bad="#0b1a2a")
_SLICE_WIDTH, _VIEW_WIDTH = 6.0, 2.4


class ViewsFigure(Figure):
    """A figure that a notebook shows as it is, without pyplot."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()


def plot_views(
    table: Tensor,
    size: Size,
    view_size: Size,
    image: Tensor | NDArray[Any] | None = None,
    *,
    sample: int = 0,
    channel: int = 0,
    columns: int | None = None,
) -> ViewsFigure:
    """Draws the slice with the number of each view at its centre, and the views with the grid lines of the slice.

    Args:
        table: ``[N, 19]`` or ``[B, N, 19]`` geometry table.
        size: (H, W) of the slice.
        view_size: (h, w) of a view.
        image: ``[B, C, H, W]``, ``[C, H, W]`` or ``[H, W]`` of real numbers, tensor or NumPy array; a chequered pattern
            if None.
        sample: of the image, and of views ``[B, N]``, from 0; an image of one sample serves every sample of the views.
        channel: of the image, from 0.
        columns: of views beside each other; as many as rows if None.

    Returns:
        A figure that pyplot does not know. Notebooks show it; ``savefig`` writes it to a file.

    Raises:
        TypeError: for an image that is no tensor or array, or has complex numbers; for a sample or channel that is no
            whole number.
        ValueError: for an image of another size, or a sample or channel that is not there.
    """
    tables = table.detach().cpu()
    views = _entry(tables, sample, "sample") if tables.dim() == 3 else tables
    plane = _chequered(size) if image is None else _plane_of(image, size, sample, channel)
    across = math.ceil(math.sqrt(len(views))) if columns is None else columns
    down = math.ceil(len(views) / across)
    width = _VIEW_WIDTH * across
    height = max(2.6 * down, _SLICE_WIDTH - 0.4) + 0.4
    figure = ViewsFigure(figsize=(_SLICE_WIDTH + width, height), layout="constrained", facecolor="black")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(_SLICE_WIDTH, width))[0]
    limits = grey_range(plane)
    _draw_slice(left.subplots(), plane, views, limits)
    axes = list(right.subplots(down, across, squeeze=False).flat)
    draw_views(axes, plane, views, view_size, limits)
    return figure


def draw_views(
    axes: Iterable[Axes], plane: NDArray[np.float32], table: Tensor, view_size: Size, limits: Limits
) -> None:
    """Draws every view of a plane, with the grid lines of the slice; axes that are left over become empty.

    Args:
        axes: at least one for each view.
        plane: ``[H, W]``.
        table: ``[N, 19]`` geometry table on the CPU.
        view_size: (h, w) of a view.
        limits: the values shown as black and white.
    """
    size = (plane.shape[0], plane.shape[1])
    stack = functional.project(torch.from_numpy(np.ascontiguousarray(plane))[None, None], table, view_size)
    shown = stack[0, :, 0].numpy()
    y, x = (coordinate.numpy() for coordinate in slice_coordinates(table, size, view_size))
    shown[np.isnan(y)] = np.nan
    left = iter(axes)
    for number, (view, *places) in enumerate(zip(shown, y, x, strict=True), start=1):
        axis = next(left)
        show_plane(axis, view, f"view {number}", limits)
        for place, lines in zip(places, _grid_lines(size), strict=True):
            if min(view_size) > 1 and np.isfinite(place).any():
                axis.contour(place, lines, colors=_LINES, linewidths=0.4, alpha=0.6)
    for axis in left:
        axis.set_axis_off()


def show_plane(axis: Axes, plane: NDArray[np.float32], title: str, limits: Limits, aspect: float = 1.0) -> None:
    """Shows a plane ``[H, W]`` in grey, NaN in blue-black, under a title; ``aspect``: a pixel's height by its width."""
    axis.imshow(plane, cmap=_GREY, vmin=limits[0], vmax=limits[1], aspect=aspect)
    axis.set_title(title, color="white", fontsize=9)
    axis.set_axis_off()


def grey_range(plane: NDArray[np.float32]) -> Limits:
    """The values of a slice ``[H, W]`` to show as black and white; the value in its corner counts as background."""
    background = plane.flat[0]
    inside = plane[np.isfinite(plane) & (plane != background)]
    if inside.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(inside, (1, 99.5))
    return float(np.fmin(low, background)), float(high)


def pole_points(table: Tensor) -> list[tuple[float, float]]:
    """The point ``(y, x)`` of the slice, in pixels, that each view of a ``[N, 19]`` table shows at its pole."""
    geometry = Geometry.from_table(table)
    y, x = to_slice(geometry, geometry.pole[..., :1, None], geometry.pole[..., 1:, None])
    return list(zip(y.flatten().tolist(), x.flatten().tolist(), strict=True))


def _draw_slice(axis: Axes, plane: NDArray[np.float32], table: Tensor, limits: Limits) -> None:
    """The slice with its grid lines, and the number of each view where its pole is."""
    height, width = Geometry.from_table(table).spacing[0].tolist()
    show_plane(axis, plane, "slice", limits, aspect=height / width)
    rows, columns = _grid_lines((plane.shape[0], plane.shape[1]))
    axis.hlines(rows, columns[0], columns[-1], colors=_LINES, linewidths=0.4, alpha=0.6)
    axis.vlines(columns, rows[0], rows[-1], colors=_LINES, linewidths=0.4, alpha=0.6)
    numbers: dict[tuple[int, int], list[int]] = {}
    points = pole_points(table)
    for number, point in enumerate(points, start=1):
        if all(map(math.isfinite, point)):
            numbers.setdefault((round(point[0]), round(point[1])), []).append(number)
    for shared in numbers.values():
        y, x = points[shared[0] - 1]
        text = axis.text(x, y, _in_words(shared), color=_NUMBERS, ha="center", va="center", fontsize=12, clip_on=True)
        text.set(fontweight="bold", path_effects=[withStroke(linewidth=2.5, foreground="black")])


def _in_words(numbers: list[int]) -> str:
    """The numbers of views that share a centre: ``"3"``, ``"1, 4"`` or ``"1 to 6"``."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))


def _grid_lines(size: Size) -> list[NDArray[np.float64]]:
    """Rows and columns of the slice at which lines are drawn."""
    return [np.linspace(0, side - 1, _GRID_LINES) for side in size]


def _chequered(size: Size) -> NDArray[np.float32]:
    """A pattern ``[H, W]`` of squares between the grid lines, brighter to the right and below, so that flips show."""
    rows, columns = (np.floor(np.linspace(0, _GRID_LINES - 1, side, dtype=np.float32)) for side in size)
    squares = (rows[:, None] + columns) % 2
    pattern = (0.25 + 0.4 * squares) * (0.4 + 0.02 * rows[:, None] + 0.05 * columns)
    return np.asarray(pattern, np.float32)


def _plane_of(image: Tensor | NDArray[Any], size: Size, sample: int, channel: int) -> NDArray[np.float32]:
    """One channel ``[H, W]`` of one sample; a batch of one serves every sample."""
    tensor, _ = opened(image, "image", 4, size)
    if tensor.is_complex():
        raise TypeError(f"image must hold real numbers, got {tensor.dtype}")
    one = tensor[0] if len(tensor) == 1 else _entry(tensor, sample, "sample")
    plane: NDArray[np.float32] = _entry(one, channel, "channel").detach().float().cpu().numpy()
    return plane


def _entry(tensor: Tensor, index: int, name: str) -> Tensor:
    """``tensor[index]``. Raises TypeError, or ValueError if there is no such entry, that names the index."""
    try:
        index = operator.index(index)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {index!r}") from None
    if not 0 <= index < len(tensor):
        raise ValueError(f"{name} must lie in [0, {len(tensor) - 1}], got {index}")
    return tensor[index]
