"""The plots of an evaluation: filtering curves, box plots of the cases, and reliability diagrams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import cycle
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spuproj.training.evaluation.metrics import CORRECTED, Metrics
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions, methods_in, targets_in
from spuproj.training.runtime.wording import verbatim

# No colour is lost on people who see colours otherwise. Numbers without a common factor make 20 different methods.
_COLOURS = ("#1f5fa8", "#d9742b", "#3b8f5a", "#6c00d9", "#111111")
_MARKERS, _LINES = ("o", "s", "^", "D"), ("-", "--", "-.", ":")
_DPI = 140
_CURVES = {"dice": "Dice of what is left", "ftp": "true positives filtered", "ftn": "true negatives filtered"}
_BOXED = {"dice": "Dice", "score": "QU-BraTS score"}
_OVER = {"corrected": "percent of the brain that is corrected", "expected_dice": "expected Dice"}


class _Style(NamedTuple):
    """How a method is drawn; the line is that of curves without markers."""

    colour: str
    marker: str
    line: str


def filtering_curves(rows: Sequence[CaseResult], options: EvaluationOptions) -> bytes:
    """PNG: for each target the three curves of the score over the threshold, averaged over cases, by method."""

    def draw(axes: Axes, target: str, kind: str) -> None:
        for style, method in _styled(rows):
            curves = [row.curves.qu_brats for row in rows if (row.target, row.method) == (target, method)]
            if curves:
                axes.plot(curves[0].thresholds, np.mean([getattr(curve, kind) for curve in curves], axis=0),
                          color=style.colour, linestyle=style.line, label=verbatim(method))  # fmt: skip
        axes.set(
            xlabel="uncertainty threshold, percent", ylabel=verbatim(f"{target}: {_CURVES[kind]}"), ylim=(-0.02, 1.02)
        )

    return _grid(rows, tuple(_CURVES), draw, f"What filtering by uncertainty leaves, mean over cases; {options.text}")


def box_plots(rows: Sequence[CaseResult]) -> bytes:
    """PNG: for each target the cases by method.

    Boxes of Dice and score, in which the dash is the mean score of a map of zeros; the mean Dice over the percentage of
    the brain that is corrected; and each case's Dice over the Dice that the model expects.
    """

    def draw(axes: Axes, target: str, kind: str) -> None:
        for place, (style, method) in enumerate(_styled(rows)):
            own = [row.metrics for row in rows if (row.target, row.method) == (target, method)]
            if not own:
                continue
            if kind == "corrected":
                _draw_correction(axes, own, style, method)
            elif kind == "expected_dice":
                axes.plot([each.expected_dice for each in own], [each.dice for each in own], style.marker,
                          color=style.colour, markersize=3, alpha=0.7, label=verbatim(method))  # fmt: skip
                # More numbers of four digits would overlap.
                axes.xaxis.set_major_locator(MaxNLocator(4))
            else:
                _draw_box(axes, own, kind, place, style)
        if kind in _BOXED:
            methods = methods_in(rows)
            axes.set_xticks(range(len(methods)), list(map(verbatim, methods)))
            axes.set(ylabel=verbatim(f"{target}: {_BOXED[kind]}"), xlim=(-0.6, len(methods) - 0.4))
        else:
            axes.set(xlabel=_OVER[kind], ylabel=verbatim(f"{target}: Dice"))

    return _grid(rows, (*_BOXED, *_OVER), draw, "Cases; dashed: mean score of a map of zeros")


def _draw_box(axes: Axes, own: Sequence[Metrics], kind: str, place: int, style: _Style) -> None:
    """A box of one method's cases, with a dot for each."""
    values = np.array([getattr(metrics, kind) for metrics in own])
    values = values[~np.isnan(values)]
    if values.size == 0:
        return
    axes.boxplot(values, positions=[place], widths=0.5, showfliers=False, medianprops={"color": style.colour})
    spread = np.linspace(-0.12, 0.12, values.size) if values.size > 1 else np.zeros(1)
    axes.plot(place + spread, values, style.marker, color=style.colour, markersize=3, alpha=0.6)
    if kind == "score":
        zeros = float(np.mean([metrics.baseline for metrics in own]))
        axes.plot([place - 0.3, place + 0.3], [zeros, zeros], "--", color="#444444", linewidth=1)


def _draw_correction(axes: Axes, own: Sequence[Metrics], style: _Style, method: str) -> None:
    """Mean Dice of the cases before and after correction."""
    names = ["dice", *(f"corrected_{percent}" for percent in CORRECTED)]
    values = np.array([[getattr(metrics, name) for name in names] for metrics in own])
    known = values[~np.isnan(values).any(axis=1)]
    if len(known):
        axes.plot([0, *CORRECTED], known.mean(axis=0), marker=style.marker, color=style.colour, markersize=3,
                  label=verbatim(method))  # fmt: skip


def reliability_diagram(rows: Sequence[CaseResult]) -> bytes:
    """PNG: for each target the observed frequency over the predicted probability, all cases pooled, by method."""

    def draw(axes: Axes, target: str, _: str) -> None:
        axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1)
        for style, method in _styled(rows):
            own = [row.curves for row in rows if (row.target, row.method) == (target, method)]
            if not own:
                continue
            voxels, predicted, positive = (
                np.sum([getattr(curves, name) for curves in own], axis=0)
                for name in ("voxels", "predicted", "positive")
            )
            some = voxels > 0
            axes.plot(predicted[some] / voxels[some], positive[some] / voxels[some], marker=style.marker,
                      color=style.colour, markersize=3, label=verbatim(method))  # fmt: skip
        axes.set(xlabel="predicted probability", ylabel=verbatim(f"{target}: share that is target"), aspect="equal")

    return _grid(rows, ("",), draw, "Reliability of the mean probability in the brain")


def _styled(rows: Sequence[CaseResult]) -> list[tuple[_Style, str]]:
    styles = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_LINES), strict=False)
    return [(_Style(*style), method) for method, style in zip(methods_in(rows), styles, strict=False)]


def _grid(
    rows: Sequence[CaseResult],
    kinds: Sequence[str],
    draw: Callable[[Axes, str, str], None],
    title: str,
) -> bytes:
    """Targets down, kinds across; with one kind, targets across. A line below names the methods."""
    targets = targets_in(rows)
    down, across = (len(targets), len(kinds)) if len(kinds) > 1 else (1, len(targets))
    figure = Figure(figsize=(1 + 3.6 * across, 0.8 + 3.0 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    places = [(target, kind) for target in targets for kind in kinds]
    for panel, (target, kind) in zip(panels.flat, places, strict=True):
        draw(panel, target, kind)
        panel.spines[["top", "right"]].set_visible(False)
    # Not every panel has every method: one may lack a target.
    named: dict[object, Artist] = {}
    for panel in panels.flat:
        for line in panel.get_legend_handles_labels()[0]:
            named.setdefault(line.get_label(), line)
    figure.legend(handles=list(named.values()), loc="outside lower center", ncols=across + 1, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
