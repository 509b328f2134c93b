"""Tables of an evaluation: digits, columns and escaping, for a small table and for that of the published study."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
from rich.console import Console

from spuproj.training.evaluation.metrics import Curves, Metrics
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions
from spuproj.training.evaluation.tables import (
    MEASURES,
    SHOWN,
    console_table,
    latex,
    per_case_csv,
    summaries_of,
    summary_csv,
)
from spuproj.training.workflows.study_tables import StudyResult, table_csv
from spuproj.uncertainty import qu_brats

STUDY = Path(__file__).parents[3] / "docs" / "study"
OPTIONS = EvaluationOptions("variance-1", "brats")
ONE = np.ones((1, 1, 1), bool)
CURVES = Curves(qu_brats(ONE, ONE, np.zeros(ONE.shape), ONE), np.ones(1), np.ones(1), np.ones(1))


def row(method: str, target: str, case: str, **numbers: float) -> CaseResult:
    values = {name: 0.1 * place for place, name in enumerate(MEASURES)} | numbers
    return CaseResult(method, target, case, Metrics(**values), CURVES)


def published(name: str) -> list[dict[str, str]]:
    """The lines of a CSV file of the published study, all values as text."""
    return read(STUDY.joinpath(name).read_text())


def latex_cells(text: str) -> list[dict[str, str]]:
    """The rows of a LaTeX table, cells by heading."""
    headings, *lines = (line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if line.endswith(r"\\"))
    return [dict(zip(headings, cells, strict=True)) for cells in lines]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def study_rows() -> list[CaseResult]:
    """The patients of the published study, with the measures that there were at the time."""
    return [
        row(
            line["method"],
            line["target"],
            line["case"],
            **{name: float(line[name]) for name in MEASURES if name in line},
        )
        for line in published("per_case.csv")
    ]


def test_the_published_tables_come_out_to_the_last_digit() -> None:
    rows = study_rows()
    summaries = summaries_of(rows)
    per_case, table = published("per_case.csv"), published("table.csv")
    assert [{name: line[name] for name in per_case[0]} for line in read(per_case_csv(rows))] == per_case
    measures = {line["measure"] for line in table}
    assert [line for line in read(summary_csv(summaries)) if line["measure"] in measures] == table
    expected = latex_cells((STUDY / "table.tex").read_text())
    found = latex_cells(latex(rows, summaries, OPTIONS))
    assert [{name: line[name] for name in expected[0]} for line in found] == expected


def test_the_published_table_of_a_study_comes_out_to_the_last_digit() -> None:
    kinds = {"str": str, "int": int, "float": float}
    results = [
        StudyResult(**{field.name: kinds[str(field.type)](line[field.name]) for field in fields(StudyResult)})
        for line in published("sweep.csv")
    ]
    assert table_csv(results) == (STUDY / "sweep.csv").read_text()


def test_a_csv_is_that_of_the_csv_module() -> None:
    """Columns, quotes and digits: Python's shortest text that reads back as the same number."""
    numbers = {"dice": 1.0, "hd95": 1e22, "aurc": 1e-17, "auroc": float("nan"), "ece": 0.1 + 0.2, "score": -0.0}
    rows = [row('a,b"c', "NA", "é\n1", **numbers), row("", " W_T&", "2")]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["method", "target", "case", *MEASURES])
    writer.writerows([each.method, each.target, each.case, *astuple(each.metrics)] for each in rows)
    assert per_case_csv(rows) == buffer.getvalue()
    assert ",nan," in buffer.getvalue()
    assert "0.30000000000000004" in buffer.getvalue()


def test_names_are_escaped_in_latex() -> None:
    rows = [row("50%_{x}", r"W_T & #1 \x$~^", "p1")]
    cells = latex(rows, summaries_of(rows), OPTIONS).splitlines()[5].split(" & ")
    assert cells[0] == r"W\_T \& \#1 \textbackslash x\$\textasciitilde \textasciicircum "
    assert cells[1] == r"50\%\_\{x\}"
    assert len(cells) == 2 + len(SHOWN)


def test_names_are_not_markup_on_the_console() -> None:
    rows = [row(method, "[red]ET", "p1") for method in ("SPU [bold]", "TTA")]
    console = Console(width=300)
    with console.capture() as captured:
        console.print(console_table(rows, summaries_of(rows), OPTIONS))
    shown = captured.get()
    assert "[red]ET" in shown
    assert "SPU [bold] less TTA" in shown
