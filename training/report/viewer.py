"""The slice viewer of a report, as the template ``case.html`` takes it: panels, and the curves beside the slider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spuproj.training.data.case import Case
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.report.colours import colours_of
from spuproj.training.report.slice_images import Areas, areas_by_slice, shown_box, shown_channels


@dataclass(frozen=True)
class Frame:
    """The part of a slice that all panels show.

    Attributes:
        aspect_ratio: width by height in mm, as CSS.
        view_box: of the SVG outlines, in half pixels.
    """

    aspect_ratio: str
    view_box: str


@dataclass(frozen=True)
class Outline:
    """A line on a panel.

    Attributes:
        name: key in the ``outlines`` of ``slice_contents``.
        kind: CSS class: ``found``, ``truth`` or ``brain``.
        colour: of the line, as CSS.
    """

    name: str
    kind: str
    colour: str


@dataclass(frozen=True)
class Panel:
    """One image of the viewer.

    Attributes:
        title: above the image.
        colour: of the title, as CSS.
        outlines: drawn on the image.
    """

    title: str
    colour: str
    outlines: list[Outline]


@dataclass(frozen=True)
class Lane:
    """Curves over the slices with brain, one for each target, on a common scale.

    Attributes:
        title: what the curves show.
        largest: value of the highest point, in cm2.
        width: of the SVG plot: the number of slices less one, at least 1.
        lines: SVG points, y from 0 at the top to 100, and the colour of each curve.
    """

    title: str
    largest: float
    width: int
    lines: list[tuple[str, str]]


def frame_of(case: Case) -> Frame:
    """The part of a case's slices that the panels show."""
    height, width = (part.stop - part.start for part in shown_box(case))
    x, y, _ = case.spacing
    return Frame(f"{width * x:g}/{height * y:g}", f"0 0 {2 * width} {2 * height}")


def panels(case: Case, predictions: Mapping[str, CasePrediction], has_truth: bool) -> list[Panel]:
    """A panel for each image of ``slice_contents``: modalities with all outlines, then each target's uncertainty."""
    colours = list(colours_of(predictions).values())
    outlines = []
    for number, colour in enumerate(colours):
        outlines.append(Outline(f"found{number}", "found", colour))
        if has_truth:
            outlines.append(Outline(f"truth{number}", "truth", colour))
    images = [Panel(name, "inherit", outlines) for name in shown_channels(case).values()]
    for number, (target, colour) in enumerate(zip(predictions, colours, strict=True)):
        outlines = [Outline("brain", "brain", "#666666")]
        if has_truth:
            outlines.append(Outline(f"truth{number}", "truth", "#ffffff"))
        images.append(Panel(f"{target} uncertainty", colour, outlines))
    return images


def lanes(case: Case, predictions: Mapping[str, CasePrediction]) -> list[Lane]:
    """The curves of ``areas_by_slice``, a lane for each of the two kinds of area."""
    found, weighted = areas_by_slice(case, predictions)
    return [_lane("Area found", found), _lane("Area weighted by uncertainty", weighted)]


def _lane(title: str, curves: Mapping[str, Areas]) -> Lane:
    colours = colours_of(curves)
    largest = max(float(curve.max()) for curve in curves.values())
    width = max(len(next(iter(curves.values()))) - 1, 1)
    lines = [(_points(curve / (largest or 1)), colours[target]) for target, curve in curves.items()]
    return Lane(title, largest, width, lines)


def _points(heights: Areas) -> str:
    """The SVG points of a curve whose values are in [0, 1]."""
    return " ".join(f"{x},{100 - 100 * height:.1f}" for x, height in enumerate(heights))
