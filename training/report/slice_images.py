"""The slices of a report: images as JPEG, outlines as SVG paths, and areas by slice."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
from contourpy import contour_generator
from numpy.typing import NDArray
from PIL import Image

from spuproj.training.data.case import Case, brain_box
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.percent import uncertainty_percent
from spuproj.training.report.figures import Truth

MODALITIES = ("flair", "t1ce")
"""Modalities that the viewer shows where the case has them."""

LARGEST_DEVIATION = 0.5
"""The largest possible standard deviation of probabilities over views; the upper end of the colour scale."""

Areas = NDArray[np.float64]

_QUALITY = 88


def shown_channels(case: Case) -> dict[int, str]:
    """Channels to show with their names: those of ``MODALITIES`` where the case has them, else the first it has."""
    count = case.image.shape[1]
    names = list(case.modalities) or [f"channel {number}" for number in range(1, count + 1)]
    wanted = [names.index(name) for name in MODALITIES if name in names]
    others = [channel for channel in range(count) if channel not in wanted]
    there = [channel for channel in (*wanted, *others) if names[channel] not in case.missing]
    return {channel: names[channel] for channel in there[: len(MODALITIES)]}


def first_position(case: Case, predictions: Mapping[str, CasePrediction]) -> int:
    """Position in ``Case.brain_slices`` of the slice with most tumour; with most uncertainty where none was found."""
    areas = np.sum([each.segmentation.sum(axis=(1, 2)) for each in predictions.values()], axis=0)
    if not areas.any():
        areas = np.sum([uncertainty_percent(each).sum(axis=(1, 2)) for each in predictions.values()], axis=0)
    return int(areas[case.brain_slices].argmax())


def shown_box(case: Case) -> tuple[slice, slice]:
    """Rows and columns around the brain, with a margin."""
    (y0, x0, y1, x1), (height, width) = brain_box(case.brain), case.brain.shape[1:]
    margin = max(height, width) // 40
    rows = slice(max(y0 - margin, 0), min(y1 + margin + 1, height))
    return rows, slice(max(x0 - margin, 0), min(x1 + margin + 1, width))


def slice_contents(
    case: Case, predictions: Mapping[str, CasePrediction], truth: Truth | None
) -> list[dict[str, int | list[str] | dict[str, str]]]:
    """The viewer's data for each slice with brain.

    ``index`` is the slice's index. ``images`` are JPEG files in base64, one per panel: the channels, then each
    target's uncertainty. ``outlines`` are the SVG paths that are not empty, in half pixels of ``shown_box``: ``brain``,
    ``found0``, ``found1``, ... for each target and, with a ground truth, ``truth0``, ``truth1``, ...
    """
    rows, columns = shown_box(case)
    masks = {"brain": case.brain}
    for number, (target, prediction) in enumerate(predictions.items()):
        masks[f"found{number}"] = prediction.segmentation
        if truth is not None:
            masks[f"truth{number}"] = truth[target]
    windows = {channel: _window(case, channel) for channel in shown_channels(case)}

    def images(index: int) -> list[str]:
        brain = case.brain[index, rows, columns]
        grey = [_grey(case.image[index, channel, rows, columns], brain, limits) for channel, limits in windows.items()]
        return [*grey, *(_heat(uncertainty_percent(each, index)[rows, columns]) for each in predictions.values())]

    def outlines(index: int) -> dict[str, str]:
        paths = {name: outline(mask[index, rows, columns]) for name, mask in masks.items()}
        return {name: path for name, path in paths.items() if path}

    return [
        {"index": index, "images": images(index), "outlines": outlines(index)} for index in case.brain_slices.tolist()
    ]


def outline(mask: NDArray[np.bool_]) -> str:
    """The border of a mask ``[H, W]`` as an SVG path, in half pixels from its upper left corner; "" for none."""
    if not mask.any():
        return ""
    lines = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    # Contours are in pixels from the first centre of the padded mask; here, in half pixels from the mask's corner.
    return "".join(_path(np.rint(2 * np.asarray(line) - 1).astype(np.int64)) for line in lines)


def _path(points: NDArray[np.int64]) -> str:
    """The SVG path of a closed line ``[points, (x, y)]`` whose last point is its first; straight parts are merged."""
    steps = np.diff(points, axis=0)
    ends = np.flatnonzero(np.append((steps[1:] != steps[:-1]).any(axis=1), True))
    corners = np.append(points[:1], points[ends + 1], axis=0)
    moves = " ".join(f"{x} {y}" for x, y in np.diff(corners, axis=0)[:-1].tolist())
    return f"M{corners[0, 0]} {corners[0, 1]}l{moves}z"


def _window(case: Case, channel: int) -> tuple[float, float]:
    """The values shown as black and white: percentiles of the whole volume, so that slices can be compared."""
    low, high = np.percentile(case.image[:, channel][case.brain], (0.5, 99.5))
    return float(low), float(max(high, low + 1e-6))


def _grey(plane: NDArray[np.float32], brain: NDArray[np.bool_], limits: tuple[float, float]) -> str:
    low, high = limits
    levels = np.clip((plane - low) / (high - low), 0, 1) * 255
    return _jpeg(np.where(brain, levels, 0).astype(np.uint8))


def _heat(percent: NDArray[np.float64]) -> str:
    return _jpeg(mpl.colormaps["magma"](np.sqrt(percent / 100), bytes=True)[..., :3])


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return base64.b64encode(file.getvalue()).decode()


def areas_by_slice(case: Case, predictions: Mapping[str, CasePrediction]) -> tuple[dict[str, Areas], dict[str, Areas]]:
    """Areas in cm2 for each of ``Case.brain_slices``, by target.

    Returns:
        The area of the target, and the area of the slice weighted by the target's uncertainty, from 0 to 1.
    """
    x, y, _ = case.spacing
    shown, pixel = case.brain_slices, x * y / 100
    found = {name: each.segmentation[shown].sum(axis=(1, 2)) * pixel for name, each in predictions.items()}
    weighted = {
        name: uncertainty_percent(each, shown).sum(axis=(1, 2)) / 100 * pixel for name, each in predictions.items()
    }
    return found, weighted
