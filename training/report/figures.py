"""The overview of a predicted case, as a figure (PNG)."""

from __future__ import annotations

import math
import textwrap
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from spuproj.plotting.figure import draw_views, show_plane
from spuproj.training.data.case import Case, brain_box
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.percent import uncertainty_percent, voxels_without_variance
from spuproj.training.models.config import ModelConfig, canvas_of, make_views
from spuproj.training.report.colours import colours_of
from spuproj.training.runtime.files import atomic_write
from spuproj.training.runtime.wording import verbatim

SHEET_ROWS = 3
_DPI = 130

Truth = dict[str, NDArray[np.bool_]]


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG, atomically."""
    with atomic_write(path) as temporary, warnings.catch_warnings():
        # It draws a box for a letter that its font lacks; the report has the letter.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        figure.savefig(temporary, dpi=_DPI, facecolor="black", format="png")
    return path


def case_figure(
    case: Case, predictions: dict[str, CasePrediction], config: ModelConfig, path: Path, truth: Truth | None = None
) -> Path:
    """Slices with segmentation outlines (dashed: truth), the uncertainty of each target, and the views themselves."""
    chosen = sheet_slices(predictions)
    columns = 2 + len(predictions)
    y0, x0, y1, x1 = brain_box(case.brain)
    margin = max(case.brain.shape[1:]) // 40
    figure = Figure(figsize=(2.7 * columns + 6.2, 2.85 * SHEET_ROWS + 0.6), layout="constrained", facecolor="black")
    maps, shown = figure.subfigures(1, 2, squeeze=False, width_ratios=(2.7 * columns, 6.2))[0]
    axes = maps.subplots(SHEET_ROWS, columns, squeeze=False)
    for row, index in zip(axes, chosen, strict=True):
        _sheet_row(row, case, predictions, config, int(index), truth)
    for axis in axes[:, 0]:
        _mark_sides(axis)
    for axis in axes.flat:
        axis.set(xlim=(x0 - margin, x1 + margin), ylim=(y1 + margin, y0 - margin))
    _uncertainty_bar(maps, axes[:, 2:])
    legend = ", ".join(predictions) + (" (dashed: truth)" if truth else "")
    title = f"{case.name}: outlines of {legend}; {_uncertainty_text(case, predictions)}"
    # A line holds about 30 letters for each panel.
    maps.suptitle(textwrap.fill(verbatim(title), 30 * columns), color="white", fontsize=11)
    middle = int(chosen[len(chosen) // 2])
    canvas = canvas_of(config, case)
    views = make_views(config, canvas.size)
    plane, limits = _brain_plane(case, middle, _channel(config, case, "flair"))
    columns = math.ceil(math.sqrt(len(views)))
    grid = shown.subplots(math.ceil(len(views) / columns), columns, squeeze=False)
    shown.suptitle(f"what the network sees: the {len(views)} views of slice {middle}", color="white", fontsize=11)
    draw_views(grid.flat, canvas.place(plane, limits[0]), views.geometry, views.view_size, limits)
    return save_figure(figure, path)


def _sheet_row(
    row: NDArray[np.object_],
    case: Case,
    predictions: dict[str, CasePrediction],
    config: ModelConfig,
    index: int,
    truth: Truth | None,
) -> None:
    colours = colours_of(predictions)
    for axis, channel in zip(row[:2], (_channel(config, case, "flair"), _channel(config, case, "t1ce")), strict=True):
        plane, limits = _brain_plane(case, index, channel)
        show_plane(axis, plane, verbatim(f"{config.modalities[channel]}, slice {index}"), limits)
        for target, prediction in predictions.items():
            _outline(axis, prediction.segmentation[index], colours[target], "solid")
            if truth is not None:
                _outline(axis, truth[target][index], colours[target], "dashed")
    for axis, (target, prediction) in zip(row[2:], predictions.items(), strict=True):
        axis.imshow(np.sqrt(uncertainty_percent(prediction, index) / 100) / 2, cmap="magma", vmin=0, vmax=0.5)
        axis.set_title(verbatim(f"{target} uncertainty"), color=colours[target], fontsize=9)
        axis.set_axis_off()
        _outline(axis, case.brain[index], "#666666", "solid")
        if truth is not None:
            _outline(axis, truth[target][index], "#ffffff", "dashed")


def _uncertainty_text(case: Case, predictions: dict[str, CasePrediction]) -> str:
    substituted = any(voxels_without_variance(prediction, case.brain) for prediction in predictions.values())
    return "standard deviation over views" + (", entropy where too few see" if substituted else "")


def _uncertainty_bar(figure: SubFigure, axes: NDArray[np.object_]) -> None:
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 0.5), "magma")
    bar = figure.colorbar(scale, ax=list(axes.ravel()), shrink=0.6, pad=0.01)
    bar.ax.tick_params(colors="white", labelsize=8)
    bar.set_label("standard deviation of the probability", color="white", fontsize=8)


def _mark_sides(axis: Axes) -> None:
    """The patient's sides: slices run to the left and the back."""
    for letter, x, y in (("R", 0.03, 0.5), ("L", 0.97, 0.5), ("A", 0.5, 0.96), ("P", 0.5, 0.04)):
        text = axis.text(x, y, letter, transform=axis.transAxes, ha="center", va="center", color="white", fontsize=8)
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _outline(axis: Axes, mask: NDArray[np.bool_], colour: str, style: str) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask, [0.5], colors=colour, linewidths=0.9, linestyles=style)


def _brain_plane(case: Case, index: int, channel: int) -> tuple[NDArray[np.float32], tuple[float, float]]:
    """A slice with black around the brain, and its grey value range."""
    plane, brain = case.image[index, channel], case.brain[index]
    low, high = np.percentile(plane[brain], (0.5, 99.5)) if brain.any() else (0.0, 1.0)
    return np.where(brain, plane, np.float32(low)), (float(low), float(high))


def _channel(config: ModelConfig, case: Case, modality: str) -> int:
    """The channel of a modality, or the first one that the case has, where it or the model lacks that modality."""
    there = [name for name in config.modalities if name not in case.missing]
    return config.modalities.index(modality if modality in there else there[0])


def sheet_slices(predictions: dict[str, CasePrediction]) -> NDArray[np.int64]:
    """Indices of slices: 20, 50 and 80 percent of the segmentation (or, without one, of the volume) lie below them."""
    area = np.sum([prediction.segmentation.sum(axis=(1, 2)) for prediction in predictions.values()], axis=0)
    if not area.any():
        area = np.ones_like(area)
    cumulated = np.cumsum(area) / area.sum()
    return np.array([np.searchsorted(cumulated, part) for part in (0.2, 0.5, 0.8)])
