"""The tables of an evaluation: for the console, as CSV, JSON and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from itertools import product
from typing import Any

from rich.table import Table

from spuproj.training.evaluation.metrics import Metrics
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions, methods_of, targets_of
from spuproj.training.evaluation.statistics import Difference, Summary, compare, rank_correlation, summarise
from spuproj.uncertainty import SCALINGS

MEASURES = tuple(field.name for field in fields(Metrics))
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
"""Measures of the console's and LaTeX's table, and their headings."""

COMPARED = ("score", "dice")
"""Measures on which methods are compared."""


def _values(rows: Sequence[CaseResult], target: str, method: str, measure: str) -> dict[str, float]:
    return {row.case: getattr(row.metrics, measure) for row in rows if (row.target, row.method) == (target, method)}


def _summary(rows: Sequence[CaseResult], target: str, method: str, measure: str) -> Summary:
    return summarise(list(_values(rows, target, method, measure).values()))


def _differences(rows: Sequence[CaseResult], target: str, measure: str) -> list[Difference]:
    return compare({method: _values(rows, target, method, measure) for method in methods_of(rows)})


def _correlation(rows: Sequence[CaseResult], target: str, method: str) -> float:
    """Rank correlation of mean uncertainty and Dice over patients; -1 if uncertainty ranks patients by failure."""
    uncertainty, dice = (_values(rows, target, method, name) for name in ("mean_uncertainty", "dice"))
    return rank_correlation(list(uncertainty.values()), list(dice.values()))


def _pairs(rows: Sequence[CaseResult]) -> list[tuple[str, str]]:
    """Pairs (target, method) that have results."""
    found = {(row.target, row.method) for row in rows}
    return [pair for pair in product(targets_of(rows), methods_of(rows)) if pair in found]


def console_table(rows: Sequence[CaseResult], options: EvaluationOptions) -> Table:
    """Mean and interval of each measure, and how the methods differ."""
    cases = len({row.case for row in rows})
    caption = [options.text, *(_sentence(target, measure, each) for target in targets_of(rows) for measure in COMPARED
                               for each in _differences(rows, target, measure))]  # fmt: skip
    table = Table("target", "method", *SHOWN.values(), title=f"{cases} patients: mean", caption="\n".join(caption))
    for target, method in _pairs(rows):
        table.add_row(target, method, *(_with_interval(_summary(rows, target, method, name)) for name in SHOWN))
    return table


def _with_interval(summary: Summary) -> str:
    if summary.patients == 0:
        return "-"
    interval = "" if math.isnan(summary.low) else f"\n{_number(summary.low)} to {_number(summary.high)}"
    return _number(summary.mean) + interval


def _number(value: float) -> str:
    """With three significant digits."""
    return f"{value:#.3g}".removesuffix(".")


def _sentence(target: str, measure: str, each: Difference) -> str:
    return (
        f"{target} {measure}: {each.first} less {each.second}, median {each.median:+.4f}, Wilcoxon p {each.p:.2g}, "
        f"Holm {each.adjusted:.2g}, {each.patients} patients"
    )


def per_case_csv(rows: Sequence[CaseResult]) -> str:
    """One line for each target of each patient and method."""
    return _csv(
        ("method", "target", "case", *MEASURES),
        [(row.method, row.target, row.case, *asdict(row.metrics).values()) for row in rows],
    )


def summary_csv(rows: Sequence[CaseResult]) -> str:
    """One line for each measure of each target and method."""
    lines = [
        (target, method, name, *asdict(_summary(rows, target, method, name)).values())
        for target, method in _pairs(rows)
        for name in MEASURES
    ]
    return _csv(("target", "method", "measure", *(field.name for field in fields(Summary))), lines)


def _csv(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return buffer.getvalue()


def summary_values(rows: Sequence[CaseResult], options: EvaluationOptions) -> dict[str, Any]:
    """Everything: options, summaries, differences and correlations."""
    return {
        "scaling": {"name": options.scaling, "meaning": SCALINGS[options.scaling]},
        "empty": options.empty,
        "patients": sorted({row.case for row in rows}),
        "summaries": {
            target: {
                method: {name: asdict(_summary(rows, target, method, name)) for name in MEASURES}
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


def latex(rows: Sequence[CaseResult], options: EvaluationOptions) -> str:
    """The same table for a paper, with booktabs."""
    head = " & ".join(("target", "method", *SHOWN.values()))
    lines = [
        " & ".join((target, _escaped(method), *(_tex(_summary(rows, target, method, name)) for name in SHOWN))) + r" \\"
        for target, method in _pairs(rows)
    ]
    return "\n".join(
        [
            f"% {options.text}; mean and 95 percent bootstrap interval over {len({row.case for row in rows})} patients",
            rf"\begin{{tabular}}{{ll{'c' * len(SHOWN)}}}",
            r"\toprule",
            head + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _tex(summary: Summary) -> str:
    if summary.patients == 0:
        return "--"
    interval = "" if math.isnan(summary.low) else f" ({_number(summary.low)}--{_number(summary.high)})"
    return _number(summary.mean) + interval


def _escaped(word: str) -> str:
    return word.replace("_", r"\_").replace("&", r"\&").replace("%", r"\%")
