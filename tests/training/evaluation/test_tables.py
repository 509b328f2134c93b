"""Tables of an evaluation: digits, columns and escaping, for a small table and for that of the published study."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path

import numpy as np
from rich.console import Console

from spuproj.training.evaluation.metrics import Curves, Metrics
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions
from spuproj.training.evaluation.tables import MEASURES, console_table, latex, per_case_csv, summaries_of, summary_csv
from spuproj.training.workflows.study_tables import StudyResult, table_csv
from spuproj.uncertainty import qu_brats

STUDY = Path(__file__).parents[3] / "docs" / "study"
OPTIONS = EvaluationOptions("variance-1", "brats")
ONE = np.ones((1, 1, 1), bool)
CURVES = Curves(qu_brats(ONE, ONE, np.zeros(ONE.shape), ONE), np.ones(1), np.ones(1), np.ones(1))


def row(method: str, target: str, case: str, **numbers: float) -> CaseResult:
    values = {name: 0.1 * place for place, name in enumerate(MEASURES)} | numbers
    return CaseResult(method, target, case, Metrics(**values), CURVES)


def study_rows() -> list[CaseResult]:
    """The patients of the published study."""
    with (STUDY / "per_case.csv").open(newline="") as file:
        return [
            row(line["method"], line["target"], line["case"], **{name: float(line[name]) for name in MEASURES})
            for line in csv.DictReader(file)
        ]


def test_the_published_tables_come_out_to_the_last_digit() -> None:
    rows = study_rows()
    summaries = summaries_of(rows)
    assert per_case_csv(rows) == (STUDY / "per_case.csv").read_text()
    assert summary_csv(summaries) == (STUDY / "table.csv").read_text()
    assert latex(rows, summaries, OPTIONS) == (STUDY / "table.tex").read_text()


def test_the_published_table_of_a_study_comes_out_to_the_last_digit() -> None:
    kinds = {"str": str, "int": int, "float": float}
    with (STUDY / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    results = [
        StudyResult(**{field.name: kinds[str(field.type)](line[field.name]) for field in fields(StudyResult)})
        for line in lines
    ]
    assert table_csv(results) == (STUDY / "sweep.csv").read_text()


def test_a_csv_has_all_digits_and_names_as_they_are() -> None:
    extremes = row('a,b"c', "NA", "é\n1", dice=1.0, hd95=1e22, aurc=1e-17, auroc=float("nan"), ece=0.1 + 0.2)
    header, line = per_case_csv([extremes]).split("\n", 1)
    assert header == "method,target,case," + ",".join(MEASURES)
    assert line == (
        '"a,b""c",NA,"é\n1",1.0,0.1,0.2,0.30000000000000004,1e+22,0.5,0.6000000000000001,0.7000000000000001,0.8,0.9,'
        "nan,1.1,1e-17,0.30000000000000004,1.4000000000000001,1.5\n"
    )


def test_names_are_escaped_in_latex() -> None:
    rows = [row("50%_{x}", r"W_T & #1 \x$~^", "p1")]
    cells = latex(rows, summaries_of(rows), OPTIONS).splitlines()[5].split(" & ")
    assert cells[0] == r"W\_T \& \#1 \textbackslash x\$\textasciitilde \textasciicircum "
    assert cells[1] == r"50\%\_\{x\}"
    assert len(cells) == 11


def test_names_are_not_markup_on_the_console() -> None:
    rows = [row(method, "[red]ET", "p1") for method in ("SPU [bold]", "TTA")]
    console = Console(width=300)
    with console.capture() as captured:
        console.print(console_table(rows, summaries_of(rows), OPTIONS))
    shown = captured.get()
    assert "[red]ET" in shown
    assert "SPU [bold] less TTA" in shown
