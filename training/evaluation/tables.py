"""The tables of an evaluation: for the console, as CSV, JSON and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from itertools import product
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from spuproj.training.evaluation.metrics import Metrics
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions, methods_of, targets_of
from spuproj.training.evaluation.statistics import Difference, Summary, compare, rank_correlation, summarise
from spuproj.uncertainty import SCALINGS

MEASURES = tuple(field.name for field in fields(Metrics))
"""All measures, in the order of the CSV columns."""

SHOWN = {
    "dice": "Dice",
    "hd95": "HD95, mm",
    "score": "score",
    "baseline": "score of zeros",
    "auroc": "AUROC",
    "average_precision": "AP",
    "aurc": "AURC",
    "ece": "ECE",
    "error_dice": "Dice with errors",
}
"""Measures in the console and LaTeX tables, and their headings."""

COMPARED = ("score", "dice")
"""Measures on which methods are compared."""

Summaries = dict[tuple[str, str], dict[str, Summary]]
"""For each pair of target and method, the summary of each measure."""


def summaries_of(rows: Sequence[CaseResult]) -> Summaries:
    """Summarises each measure over the patients, for each pair of target and method that has any.

    Pairs are ordered by target, then by method, as these first occur in ``rows``.
    """
    found = {(row.target, row.method) for row in rows}
    pairs = [pair for pair in product(targets_of(rows), methods_of(rows)) if pair in found]
    return {pair: {name: summarise(list(_values(rows, *pair, name).values())) for name in MEASURES} for pair in pairs}


def _values(rows: Sequence[CaseResult], target: str, method: str, measure: str) -> dict[str, float]:
    """One measure by patient."""
    return {row.case: getattr(row.metrics, measure) for row in rows if (row.target, row.method) == (target, method)}


def _differences(rows: Sequence[CaseResult], target: str, measure: str) -> list[Difference]:
    return compare({method: _values(rows, target, method, measure) for method in methods_of(rows)})


def _correlation(rows: Sequence[CaseResult], target: str, method: str) -> float:
    """Rank correlation over patients of mean uncertainty and Dice: -1 where worse patients are more uncertain."""
    uncertainty, dice = (_values(rows, target, method, name) for name in ("mean_uncertainty", "dice"))
    return rank_correlation(list(uncertainty.values()), list(dice.values()))


def console_table(rows: Sequence[CaseResult], summaries: Summaries, options: EvaluationOptions) -> Table:
    """Mean and interval of each measure in ``SHOWN``; the caption tells how the methods differ."""
    cases = len({row.case for row in rows})
    caption = [
        options.text,
        *(
            _sentence(target, measure, each)
            for target, measure in product(targets_of(rows), COMPARED)
            for each in _differences(rows, target, measure)
        ),
    ]
    frame = _shown(summaries, _on_two_lines)
    table = Table(*frame.columns, title=f"{cases} patients: mean", caption=escape("\n".join(caption)))
    for cells in frame.itertuples(index=False):
        table.add_row(*map(escape, cells))
    return table


def _shown(summaries: Summaries, text_of: Callable[[Summary], str]) -> pd.DataFrame:
    """A row of text for each target and method: their names, then the measures in ``SHOWN``."""
    return pd.DataFrame(
        [
            (target, method, *(text_of(measures[name]) for name in SHOWN))
            for (target, method), measures in summaries.items()
        ],
        columns=["target", "method", *SHOWN.values()],
    )


def _on_two_lines(summary: Summary) -> str:
    if summary.patients == 0:
        return "-"
    interval = "" if math.isnan(summary.low) else f"\n{_number(summary.low)} to {_number(summary.high)}"
    return _number(summary.mean) + interval


def _number(value: float) -> str:
    """A number with three significant digits."""
    return f"{value:#.3g}".removesuffix(".")


def _sentence(target: str, measure: str, each: Difference) -> str:
    return (
        f"{target} {measure}: {each.first} less {each.second}, median {each.median:+.4f}, Wilcoxon p {each.p:.2g}, "
        f"Holm {each.adjusted:.2g}, {each.patients} patients"
    )


def per_case_csv(rows: Sequence[CaseResult]) -> str:
    """CSV: one line for each target of each patient and method."""
    lines = [{"method": row.method, "target": row.target, "case": row.case, **asdict(row.metrics)} for row in rows]
    return csv_text(pd.DataFrame(lines))


def summary_csv(summaries: Summaries) -> str:
    """CSV: one line for each measure of each target and method."""
    lines = [
        {"target": target, "method": method, "measure": name, **asdict(summary)}
        for (target, method), measures in summaries.items()
        for name, summary in measures.items()
    ]
    return csv_text(pd.DataFrame(lines))


def csv_text(frame: pd.DataFrame) -> str:
    """A frame without its index as CSV: all digits of a number, ``nan`` for NaN, Unix line ends."""
    return frame.to_csv(index=False, na_rep="nan", lineterminator="\n")


def summary_values(rows: Sequence[CaseResult], summaries: Summaries, options: EvaluationOptions) -> dict[str, Any]:
    """What ``table.json`` holds: options, patients, summaries, differences between methods, and correlations."""
    nobody = dict.fromkeys(MEASURES, summarise([]))
    return {
        "scaling": {"name": options.scaling, "meaning": SCALINGS[options.scaling]},
        "empty": options.empty,
        "patients": sorted({row.case for row in rows}),
        "summaries": {
            target: {
                method: {name: asdict(each) for name, each in summaries.get((target, method), nobody).items()}
                for method in methods_of(rows)
            }
            for target in targets_of(rows)
        },
        "differences": {
            target: {name: [asdict(each) for each in _differences(rows, target, name)] for name in COMPARED}
            for target in targets_of(rows)
        },
        "spearman_of_mean_uncertainty_and_dice": {
            target: {method: _correlation(rows, target, method) for method in methods_of(rows)}
            for target in targets_of(rows)
        },
    }


def latex(rows: Sequence[CaseResult], summaries: Summaries, options: EvaluationOptions) -> str:
    """The console's table for a paper, with the rules of the LaTeX package booktabs. Names are escaped."""
    patients = len({row.case for row in rows})
    comment = f"% {options.text}; mean and 95 percent bootstrap interval over {patients} patients\n"
    columns = "ll" + "c" * len(SHOWN)
    return comment + _shown(summaries, _on_one_line).to_latex(index=False, escape=True, column_format=columns)


def _on_one_line(summary: Summary) -> str:
    if summary.patients == 0:
        return "--"
    interval = "" if math.isnan(summary.low) else f" ({_number(summary.low)}--{_number(summary.high)})"
    return _number(summary.mean) + interval
