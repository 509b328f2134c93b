"""Draws the README's first picture with a model of the package: ``python docs/site/overview.py [FILE]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spuproj.plotting.figure import pole_points
from spuproj.training.data.case import Case, load_case
from spuproj.training.inference.case_prediction import predict_case
from spuproj.training.models.config import canvas_of, make_views
from spuproj.training.models.run import load_run
from spuproj.training.models.trained_models import FOLDER
from spuproj.training.phantom.cohort import write_cohort

PICTURE = Path(__file__).parents[1] / "pictures" / "overview.png"
SEED, SPACING, TARGET, MODALITY = 32, 2.0, "WT", "flair"
SHOWN = (0, 4, 8)
"""Views in the picture: two corners and the middle of the grid."""


def draw(case: Case) -> Figure:
    """The slice of a case with the most wrong pixels: its centres, three views, segmentation, errors and variance."""
    config, network = load_run(FOLDER / TARGET)
    prediction = predict_case(config, network, case, lambda _: None)
    truth = case.target(TARGET)
    wrong = (prediction.segmentation != truth) & case.brain
    index = int(np.argmax(np.where(truth.sum((1, 2)) > 60, wrong.sum((1, 2)), 0)))
    canvas = canvas_of(config, case)
    views = make_views(config, canvas.size)
    plane = canvas.place(case.image[index : index + 1])[:, config.modalities.index(MODALITY)]
    stack = views.project(torch.from_numpy(plane)[None])[0, :, 0]
    found, true, error = (canvas.place(mask[index : index + 1])[0] for mask in (prediction.segmentation, truth, wrong))
    deviation = np.sqrt(np.nan_to_num(canvas.place(prediction.variance[index : index + 1])[0]))

    figure = Figure(figsize=(15, 3.1), layout="constrained")
    panels = figure.subplots(1, 7)
    limits = (float(plane[plane != 0].min()), float(np.quantile(plane, 0.998)))
    _gray(panels[0], plane[0], limits, "a slice, nine centres")
    centres = np.array(pole_points(views.geometry))
    panels[0].plot(centres[:, 1], centres[:, 0], "+", color="#ffb000", markersize=8, markeredgewidth=1.5)
    for panel, number in zip(panels[1:4], SHOWN, strict=True):
        _gray(panel, stack[number].numpy(), limits, f"view {number + 1}")
    _gray(panels[4], plane[0], limits, f"{TARGET} (dashed: truth)")
    panels[4].contour(found, levels=[0.5], colors="#2fd16b", linewidths=1.3)
    panels[4].contour(true, levels=[0.5], colors="white", linewidths=1, linestyles="dashed")
    panels[5].imshow(error, cmap="gray", vmin=0, vmax=1)
    panels[5].set(title="wrong pixels")
    panels[6].imshow(deviation, cmap="inferno", vmin=0, vmax=0.5)
    panels[6].set(title="deviation of the views")
    rows, columns = (np.flatnonzero((plane[0] != 0).any(axis)) for axis in (1, 0))
    for panel in (panels[0], *panels[4:]):
        panel.set(xlim=(columns[0] - 4, columns[-1] + 4), ylim=(rows[-1] + 4, rows[0] - 4))
    for panel in panels:
        panel.axis("off")
    return figure


def _gray(panel: Axes, plane: NDArray[np.float32], limits: tuple[float, float], title: str) -> None:
    panel.imshow(np.where(plane == 0, limits[0], plane), cmap="gray", vmin=limits[0], vmax=limits[1])
    panel.set(title=title)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        (made,) = write_cohort(Path(folder), 1, SEED, SPACING)
        draw(load_case(made, with_labels=True)).savefig(sys.argv[1] if len(sys.argv) > 1 else PICTURE, dpi=110)
