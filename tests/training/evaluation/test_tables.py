"""Tables of an evaluation: digits, columns and escaping, for a small table and for that of the published study."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from spuproj.training.evaluation.metrics import Curves, Metrics
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions
from spuproj.training.evaluation.study_tables import StudyResult, table_csv
from spuproj.training.evaluation.tables import (
    CONSOLE,
    MEASURES,
    SHOWN,
    console_table,
    latex,
    per_case_csv,
    summaries_of,
    summary_csv,
    summary_values,
)
from spuproj.uncertainty import qu_brats

STUDY = Path(__file__).parents[3] / "docs" / "study"
OPTIONS = EvaluationOptions("variance-1", "brats")
ONE = np.ones((1, 1, 1), bool)
CURVES = Curves(qu_brats(ONE, ONE, np.zeros(ONE.shape), ONE), np.ones(1), np.ones(1), np.ones(1))


def row(method: str, target: str, case: str, **numbers: float | str) -> CaseResult:
    values: dict[str, Any] = {name: 0.1 * place for place, name in enumerate(MEASURES)} | numbers
    patient = values.pop("patient", case)
    return CaseResult(method, target, case, patient, Metrics(**values), CURVES)


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
        for line in published("evaluation/per_case.csv")
    ]


def test_the_published_tables_come_out_to_the_last_digit() -> None:
    rows = study_rows()
    summaries = summaries_of(rows)
    per_case, table = published("evaluation/per_case.csv"), published("evaluation/table.csv")
    assert [{name: line[name] for name in per_case[0]} for line in read(per_case_csv(rows))] == per_case
    measures = {line["measure"] for line in table}
    assert [line for line in read(summary_csv(summaries)) if line["measure"] in measures] == table
    expected = latex_cells((STUDY / "evaluation" / "table.tex").read_text())
    found = latex_cells(latex(rows, summaries, OPTIONS))
    assert [{name: line[name] for name in expected[0]} for line in found] == expected


@pytest.mark.parametrize("path", sorted((STUDY / "variations").glob("*.csv")), ids=lambda path: path.stem)
def test_the_published_table_of_a_study_comes_out_to_the_last_digit(path: Path) -> None:
    kinds = {"str": str, "int": int, "float": float}
    lines = published(f"variations/{path.name}")
    types = {field.name: kinds[str(field.type)] for field in fields(StudyResult)}
    results = [StudyResult(**{name: kind(line[name]) for name, kind in types.items()}) for line in lines]
    assert results
    assert read(table_csv(results)) == lines


def test_a_csv_is_that_of_the_csv_module() -> None:
    """Columns, quotes and digits: Python's shortest text that reads back as the same number."""
    numbers = {"dice": 1.0, "hd95": 1e22, "aurc": 1e-17, "auroc": float("nan"), "ece": 0.1 + 0.2, "score": -0.0}
    rows = [row('a,b"c', "NA", "é\n1", **numbers), row("", " W_T&", "2")]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["method", "target", "case", "patient", *MEASURES])
    writer.writerows([each.method, each.target, each.case, each.patient, *astuple(each.metrics)] for each in rows)
    assert per_case_csv(rows) == buffer.getvalue()
    assert ",nan," in buffer.getvalue()
    assert "0.30000000000000004" in buffer.getvalue()


def shown(rows: list[CaseResult]) -> str:
    """What the console shows, all on one line."""
    console = Console(width=300)
    with console.capture() as captured:
        console.print(console_table(rows, summaries_of(rows), OPTIONS))
    return " ".join(captured.get().split())


def test_every_shown_measure_is_on_the_console() -> None:
    assert {name for names in CONSOLE.values() for name in names} == set(SHOWN)
    text = shown([row("SPU", "ET", f"p{number}", dice=0.1 * number) for number in range(12)])
    assert all(heading in text for heading in SHOWN.values())


def test_patients_that_are_too_few_for_a_rank_correlation_are_said() -> None:
    rows = [row("SPU", "ET", f"p{number}", dice=0.1 * number, expected_dice=0.2 * number) for number in range(4)]
    text = shown(rows)
    assert "rank correlation: 4 patients are too few for an interval, at least 10 are needed (ET SPU)" in text
    ranks = summary_values(rows, summaries_of(rows), OPTIONS)["spearman_of_expected_dice_and_dice"]["ET"]["SPU"]
    assert (ranks["patients"], ranks["value"]) == (4, 1)
    assert math.isnan(ranks["low"])


def test_the_rank_correlation_is_that_of_each_method_s_patients_with_its_interval() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 15))
    rows = [
        row(method, "ET", f"p{number}", dice=float(values[number]), expected_dice=float(number))
        for method, values in zip(("SPU", "TTA"), noise, strict=True)
        for number in range(15)
    ]
    found = summary_values(rows, summaries_of(rows), OPTIONS)["spearman_of_expected_dice_and_dice"]["ET"]
    for method, values in zip(("SPU", "TTA"), noise, strict=True):
        assert found[method]["value"] == pytest.approx(stats.spearmanr(np.arange(15), values).statistic)
        assert found[method]["low"] < found[method]["value"] < found[method]["high"]


def visits(method: str, better: float = 0.0) -> list[CaseResult]:
    """Three patients with four visits each, the last of which has no Dice."""
    return [
        row(method, "WT", f"p{patient}-{visit}", patient=f"p{patient}", dice=dice + better)
        for patient in range(3)
        for visit, dice in enumerate((0.1 * patient, 0.1 * patient + 0.3, 0.1 * patient + 0.6, math.nan))
    ]


def test_visits_of_a_patient_count_as_one_patient_in_all_statistics() -> None:
    rows = [*visits("A"), *visits("B", better=0.05)]
    found = summary_values(rows, summaries_of(rows), OPTIONS)
    assert found["patients"] == ["p0", "p1", "p2"]
    assert len(found["cases"]) == 12
    assert found["summaries"]["WT"]["A"]["dice"]["patients"] == 3
    assert found["summaries"]["WT"]["A"]["dice"]["mean"] == pytest.approx(np.mean([0.3, 0.4, 0.5]))
    (difference,) = found["differences"]["WT"]["dice"]
    # The smallest that three patients can give.
    assert (difference["patients"], difference["p"]) == (3, 0.25)
    assert found["spearman_of_expected_dice_and_dice"]["WT"]["A"]["patients"] == 3
    assert "3 patients (12 cases): mean" in shown(rows)
    assert "intervals of the means need at least 10 patients, got 3" in shown(rows)
    assert "mean over 3 patients (12 cases)" in latex(rows, summaries_of(rows), OPTIONS)


def test_a_mean_over_fewer_patients_than_the_table_has_says_so() -> None:
    rows = [row("A", "WT", f"p{n}", dice=0.125 * n if n < 5 else math.nan, hd95=float(n)) for n in range(12)]
    assert "of 5" in shown(rows)
    (cells,) = latex_cells(latex(rows, summaries_of(rows), OPTIONS))
    assert cells["Dice"] == "0.250, n = 5"
    assert cells["HD95, mm"].startswith("5.50 (")
    assert "n = " not in cells["HD95, mm"]


def test_patients_on_whom_methods_agree_are_told_from_those_that_the_test_uses() -> None:
    rows = [row("A", "WT", f"p{n}", dice=0.5, score=0.1) for n in range(12)]
    rows += [row("B", "WT", f"p{n}", dice=0.5 + (n < 4) * 0.01 * n, score=0.2) for n in range(12)]
    text = shown(rows)
    assert "WT dice: A less B, median +0.0000, Wilcoxon p 0.25, Holm 0.25, 12 patients, different in 3" in text
    assert "different in 12" not in text


def test_voxels_without_variance_are_said_where_there_are_any() -> None:
    rows = [row("LSU", "ET", f"p{number}", without_variance=100.0 * number) for number in range(3)]
    rows += [row("SPU", "ET", f"p{number}", without_variance=0) for number in range(3)]
    sentence = "ET LSU: 300 voxels of the brain of 2 patients have no variance, since too few views see them"
    assert sentence in shown(rows)
    assert f"% {sentence}" in latex(rows, summaries_of(rows), OPTIONS)
    assert "SPU: " not in shown(rows)


def test_names_are_escaped_in_latex() -> None:
    rows = [row("50%_{x}", r"W_T & #1 \x$~^", "p1")]
    cells = latex(rows, summaries_of(rows), OPTIONS).splitlines()[5].split(" & ")
    assert cells[0] == r"W\_T \& \#1 \textbackslash x\$\textasciitilde \textasciicircum "
    assert cells[1] == r"50\%\_\{x\}"
    assert len(cells) == 2 + len(SHOWN)


def test_names_are_not_markup_on_the_console() -> None:
    rows = [row(method, "[red]ET", "p1") for method in ("SPU [bold]", "TTA")]
    text = shown(rows)
    assert "[red]ET" in text
    assert "SPU [bold] less TTA" in text
