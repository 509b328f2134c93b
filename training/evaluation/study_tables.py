"""A study's table: for the console, as CSV and as a plot."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from spuproj.training.evaluation.tables import csv_text
from spuproj.training.runtime.wording import verbatim


@dataclass(frozen=True)
class StudyResult:
    """The measures of one trained setting: means over the validation cases, NaN where no case has a value.

    Attributes:
        setting: its name, see ``varied``.
        target: that the model segments.
        seed: of the training.
        cases: number of validation cases.
        views: number of views.
        seen: number of views that show a pixel of the brain, mean over pixels.
        round_trip: root mean square over the brain of the difference between the slice and the mean of its views,
            unprojected; 1 is the standard deviation of the brain's values.
        dice, score, baseline, auroc, error_dice, aurc, flagged_90, corrected_5, ece, nll, without_variance: see
            ``spuproj.training.evaluation.metrics.measure``.
        temperature: fitted on the validation cases, see ``spuproj.training.fit.temperature``.
        calibrated_ece, calibrated_nll: with the temperature that the other validation cases give.
    """

    setting: str
    target: str
    seed: int
    cases: int
    views: int
    seen: float
    round_trip: float
    dice: float
    score: float
    baseline: float
    auroc: float
    error_dice: float
    aurc: float
    flagged_90: float
    corrected_5: float
    ece: float
    nll: float
    without_variance: float
    temperature: float
    calibrated_ece: float
    calibrated_nll: float


_TABLES = {
    "views and segmentation": {
        "views": "views",
        "seen": "seen by",
        "round_trip": "round trip",
        "dice": "Dice",
        "score": "score",
        "baseline": "score of zeros",
    },
    "uncertainty": {
        "auroc": "AUROC",
        "aurc": "AURC",
        "error_dice": "Dice with errors",
        "flagged_90": "90 % of errors in",
        "corrected_5": "Dice, 5 % corrected",
    },
    "calibration": {
        "ece": "ECE",
        "calibrated_ece": "ECE after",
        "nll": "NLL",
        "calibrated_nll": "NLL after",
        "temperature": "temperature",
    },
}
_DRAWN = {
    "dice": "Dice",
    "auroc": "AUROC of wrong voxels",
    "score": "QU-BraTS score",
    "error_dice": "Dice with errors",
    "round_trip": "round-trip error",
}
_COLOUR = "#1f5fa8"
_DPI = 130


def console_table(results: Sequence[StudyResult]) -> Group:
    """Tables with a line for each setting of each target: means over the validation cases and the seeds."""
    seeds = len({each.seed for each in results})
    mean_of = f"{results[0].cases} validation cases: mean" + (f", ± deviation over {seeds} seeds" if seeds > 1 else "")
    tables = []
    for title, headings in _TABLES.items():
        table = Table("target", "setting", *headings.values(), title=f"{mean_of}; {title}")
        for target, setting in dict.fromkeys((each.target, each.setting) for each in results):
            cells = (_shown(_values(results, target, setting, name)) for name in headings)
            table.add_row(escape(target), escape(setting), *cells)
        tables.append(table)
    return Group(*tables)


def _values(results: Sequence[StudyResult], target: str, setting: str, name: str) -> list[float]:
    """One measure of a setting, for each seed."""
    return [getattr(each, name) for each in results if (each.target, each.setting) == (target, setting)]


def _shown(values: Sequence[float]) -> str:
    if isinstance(values[0], int):
        return str(values[0])
    return _number(mean(values)) + (f" ± {_number(stdev(values))}" if len(set(values)) > 1 else "")


def _number(value: float) -> str:
    """Three digits behind the point, or of a number below 0.1 three significant ones."""
    return f"{value:.3f}" if not abs(value) < 0.1 else f"{value:.3g}"


def table_csv(results: Sequence[StudyResult]) -> str:
    """CSV: one line for each result, with all its numbers."""
    return csv_text(pd.DataFrame([asdict(each) for each in results]))


def study_plot(results: Sequence[StudyResult]) -> bytes:
    """PNG: a row of panels for each target, a panel for each measure, a line for each setting.

    Small dots are seeds, the large one is their mean; the vertical line is the mean of the default setting.
    """
    settings = list(dict.fromkeys(each.setting for each in results))
    targets = list(dict.fromkeys(each.target for each in results))
    size = (3.4 * len(_DRAWN) + 1.6, len(targets) * (0.22 * len(settings) + 0.6))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(targets), len(_DRAWN), sharey=True, squeeze=False)
    for row, target in zip(panels, targets, strict=True):
        for panel, (name, heading) in zip(row, _DRAWN.items(), strict=True):
            _draw_settings(panel, [_values(results, target, setting, name) for setting in settings])
            panel.set(xlabel=verbatim(f"{target}: {heading}"))
        row[0].set_yticks(range(len(settings)), list(map(verbatim, settings)))
    panels[0][0].set_ylim(len(settings) - 0.5, -0.5)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png")
    return buffer.getvalue()


def _draw_settings(panel: Axes, values: Sequence[Sequence[float]]) -> None:
    """Draws the values of each setting; the first is the default."""
    for place, seeds in enumerate(values):
        panel.plot(seeds, [place] * len(seeds), ".", color=_COLOUR, alpha=0.5)
        panel.plot(mean(seeds), place, "o", color=_COLOUR)
    panel.axvline(mean(values[0]), color=_COLOUR, linewidth=0.8, alpha=0.6)
    # More would overlap in a narrow panel.
    panel.xaxis.set_major_locator(MaxNLocator(3))
    panel.grid(axis="y", alpha=0.3)
