"""The tables of an evaluation: for the console, as CSV, JSON and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from spuproj.training.evaluation.metrics import Metrics
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions, methods_in, targets_in
from spuproj.training.evaluation.statistics import (
    FEW,
    Correlation,
    Difference,
    Summary,
    compare,
    correlate,
    mean_of_known,
    summarise,
)
from spuproj.training.runtime.wording import counted
from spuproj.uncertainty import SCALINGS

MEASURES = tuple(field.name for field in fields(Metrics))
"""All measures, in the order of the CSV columns."""

RANKED = {"rank_expected_dice": "expected_dice", "rank_mean_uncertainty": "mean_uncertainty"}
"""Rank correlations over patients, and the measure of each whose correlation with Dice it is."""

SHOWN = {
    "dice": "Dice",
    "hd95": "HD95, mm",
    "score": "score",
    "baseline": "score of zeros",
    "auroc": "AUROC",
    "average_precision": "AP",
    "aurc": "AURC",
    "ece": "ECE",
    "nll": "NLL",
    "error_dice": "Dice with errors",
    "flagged_90": "90 % of errors in",
    "precision_90": "precision there",
    "corrected_1": "Dice, 1 % corrected",
    "corrected_5": "Dice, 5 % corrected",
    "corrected_10": "Dice, 10 % corrected",
    "rank_expected_dice": "rank corr., expected Dice",
    "rank_mean_uncertainty": "rank corr., uncertainty",
}
"""Measures and rank correlations in the console and LaTeX tables, and their headings."""

CONSOLE = {
    "segmentation, score and calibration": ("dice", "hd95", "score", "baseline", "ece", "nll"),
    "wrong voxels found by their uncertainty": (
        "auroc", "average_precision", "aurc", "error_dice", "flagged_90", "precision_90",
    ),
    "Dice after correction, and rank correlation over patients": (
        "dice", "corrected_1", "corrected_5", "corrected_10", "rank_expected_dice", "rank_mean_uncertainty",
    ),
}  # fmt: skip
"""The tables on the console, each with those of ``SHOWN`` that fit on its lines."""

COMPARED = ("score", "dice", "auroc")
"""Measures on which methods are compared."""

Pair = tuple[str, str]
"""A target and a method."""


@dataclass(frozen=True)
class Summaries:
    """What the patients have in common, for each pair of target and method that has any.

    Attributes:
        measures: the summary of each measure.
        ranks: the rank correlations in ``RANKED``. Reports rank patients by their expected Dice: its correlation with
            Dice should be near 1, that of the mean uncertainty near -1.
    """

    measures: dict[Pair, dict[str, Summary]]
    ranks: dict[Pair, dict[str, Correlation]]


def summaries_of(rows: Sequence[CaseResult]) -> Summaries:
    """Summarises the patients. Pairs are ordered by target, then by method, as these first occur in ``rows``."""
    measures, ranks = {}, {}
    for pair in _pairs(rows):
        values = {name: list(_values(rows, *pair, name).values()) for name in MEASURES}
        measures[pair] = {name: summarise(each) for name, each in values.items()}
        ranks[pair] = {name: correlate(values[each], values["dice"]) for name, each in RANKED.items()}
    return Summaries(measures, ranks)


def _pairs(rows: Sequence[CaseResult]) -> list[tuple[str, str]]:
    """The pairs of target and method that have patients, by target and then by method."""
    found = {(row.target, row.method) for row in rows}
    return [pair for pair in product(targets_in(rows), methods_in(rows)) if pair in found]


def _values(rows: Sequence[CaseResult], target: str, method: str, measure: str) -> dict[str, float]:
    """One measure by patient: the mean of the patient's cases that have it, as visits are not independent."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if (row.target, row.method) == (target, method):
            values.setdefault(row.patient, []).append(getattr(row.metrics, measure))
    return {patient: mean_of_known(each) for patient, each in values.items()}


def _patients(rows: Sequence[CaseResult]) -> int:
    """The number of patients."""
    return len({row.patient for row in rows})


def _counted(rows: Sequence[CaseResult]) -> str:
    """The number of patients in words, and of cases where some have several."""
    patients, cases = _patients(rows), len({row.case for row in rows})
    return counted(patients, "patient") + (f" ({cases} cases)" if cases != patients else "")


def _differences(rows: Sequence[CaseResult], target: str, measure: str) -> list[Difference]:
    return compare({method: _values(rows, target, method, measure) for method in methods_in(rows)})


def console_table(rows: Sequence[CaseResult], summaries: Summaries, options: EvaluationOptions) -> Group:
    """Mean and interval of what ``SHOWN`` names, in the tables of ``CONSOLE``, and what is to be said of them."""
    patients = f"{_counted(rows)}: mean"
    frame = _shown(rows, summaries, _on_two_lines)
    tables = []
    for title, names in CONSOLE.items():
        part = frame[["target", "method", *(SHOWN[name] for name in names)]]
        table = Table(*part.columns, title=f"{patients}; {title}")
        for cells in part.itertuples(index=False):
            table.add_row(*map(escape, cells))
        tables.append(table)
    return Group(*tables, *map(escape, _remarks(rows, summaries, options)))


def _remarks(rows: Sequence[CaseResult], summaries: Summaries, options: EvaluationOptions) -> Iterator[str]:
    """What the numbers depend on, how the methods differ, and what the patients are too few for."""
    yield options.text
    yield from _without_variance(rows)
    for target, measure in product(targets_in(rows), COMPARED):
        for each in _differences(rows, target, measure):
            yield _sentence(target, measure, each)
    if (patients := _patients(rows)) < FEW:
        yield f"intervals of the means need at least {FEW} patients, got {patients}"
    doubts: dict[str, list[str]] = {}
    for pair, found in summaries.ranks.items():
        for doubt in {each.doubt for each in found.values() if each.doubt}:
            doubts.setdefault(doubt, []).append(" ".join(pair))
    for doubt, pairs in doubts.items():
        yield f"rank correlation: {doubt} ({', '.join(pairs)})"


def _without_variance(rows: Sequence[CaseResult]) -> Iterator[str]:
    """A sentence for each target and method with voxels that have no variance."""
    for target, method in _pairs(rows):
        own = [row for row in rows if (row.target, row.method) == (target, method) and row.metrics.without_variance > 0]
        if own:
            yield (
                f"{target} {method}: {sum(row.metrics.without_variance for row in own):.0f} voxels of the brain of "
                f"{_counted(own)} have no variance, since too few views see them; their entropy takes its place"
            )


class _Cell(NamedTuple):
    """A number of the tables, its interval, and its number of patients where that is not the table's, else None."""

    value: float
    low: float
    high: float
    patients: int | None


def _shown(rows: Sequence[CaseResult], summaries: Summaries, text_of: Callable[[_Cell], str]) -> pd.DataFrame:
    """A row of text for each target and method: their names, then what ``SHOWN`` names."""
    every, lines = _patients(rows), []
    for pair, measures in summaries.measures.items():
        found = {name: (each.patients, each.mean, each.low, each.high) for name, each in measures.items()}
        found |= {
            name: (each.patients, each.value, each.low, each.high) for name, each in summaries.ranks[pair].items()
        }
        cells = [
            _Cell(value, low, high, None if patients == every else patients)
            for patients, value, low, high in map(found.__getitem__, SHOWN)
        ]
        lines.append((*pair, *map(text_of, cells)))
    return pd.DataFrame(lines, columns=["target", "method", *SHOWN.values()])


def _on_two_lines(cell: _Cell) -> str:
    if math.isnan(cell.value):
        return "-"
    interval = "" if math.isnan(cell.low) else f"\n{_number(cell.low)} to {_number(cell.high)}"
    return _number(cell.value) + interval + ("" if cell.patients is None else f"\nof {cell.patients}")


def _number(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:#.3g}".removesuffix(".")


def _sentence(target: str, measure: str, each: Difference) -> str:
    if each.patients == 0:
        return f"{target} {measure}: no patient has values of both {each.first} and {each.second}"
    return (
        f"{target} {measure}: {each.first} less {each.second}, median {each.median:+.4f}, Wilcoxon p {each.p:.2g}, "
        f"Holm {each.adjusted:.2g}, {counted(each.patients, 'patient')}"
        + ("" if each.different == each.patients else f", different in {each.different or 'none'}")
    )


def per_case_csv(rows: Sequence[CaseResult]) -> str:
    """CSV: one line for each target of each case and method."""
    lines = [
        {"method": row.method, "target": row.target, "case": row.case, "patient": row.patient, **asdict(row.metrics)}
        for row in rows
    ]
    return csv_text(pd.DataFrame(lines))


def summary_csv(summaries: Summaries) -> str:
    """CSV: one line for each measure of each target and method."""
    lines = [
        {"target": target, "method": method, "measure": name, **asdict(summary)}
        for (target, method), measures in summaries.measures.items()
        for name, summary in measures.items()
    ]
    return csv_text(pd.DataFrame(lines))


def csv_text(frame: pd.DataFrame) -> str:
    """A frame without its index as CSV: all digits of a number, ``nan`` for NaN, Unix line ends."""
    return frame.to_csv(index=False, na_rep="nan", lineterminator="\n")


def summary_values(rows: Sequence[CaseResult], summaries: Summaries, options: EvaluationOptions) -> dict[str, Any]:
    """What ``table.json`` holds: options, patients, summaries, differences between methods, and correlations."""
    nobody, unranked = dict.fromkeys(MEASURES, summarise([])), dict.fromkeys(RANKED, correlate([], []))
    return {
        "scaling": {"name": options.scaling, "meaning": SCALINGS[options.scaling]},
        "empty": options.empty,
        "patients": sorted({row.patient for row in rows}),
        "cases": sorted({row.case for row in rows}),
        "summaries": {
            target: {
                method: {name: asdict(each) for name, each in summaries.measures.get((target, method), nobody).items()}
                for method in methods_in(rows)
            }
            for target in targets_in(rows)
        },
        "differences": {
            target: {name: [asdict(each) for each in _differences(rows, target, name)] for name in COMPARED}
            for target in targets_in(rows)
        },
        **{
            f"spearman_of_{measure}_and_dice": {
                target: {
                    method: asdict(summaries.ranks.get((target, method), unranked)[name]) for method in methods_in(rows)
                }
                for target in targets_in(rows)
            }
            for name, measure in RANKED.items()
        },
    }


def latex(rows: Sequence[CaseResult], summaries: Summaries, options: EvaluationOptions) -> str:
    """The console's table for a paper, with the rules of the LaTeX package booktabs. Names are escaped."""
    measured = "mean" if _patients(rows) < FEW else "mean and 95 percent bootstrap interval"
    comment = f"% {options.text}; {measured} over {_counted(rows)}, n where it differs\n"
    table = _shown(rows, summaries, _on_one_line).to_latex(
        index=False, escape=True, column_format="ll" + "c" * len(SHOWN)
    )
    return comment + table + "".join(f"% {each}\n" for each in _without_variance(rows))


def _on_one_line(cell: _Cell) -> str:
    if math.isnan(cell.value):
        return "--"
    interval = "" if math.isnan(cell.low) else f" ({_number(cell.low)}--{_number(cell.high)})"
    return _number(cell.value) + interval + ("" if cell.patients is None else f", n = {cell.patients}")
