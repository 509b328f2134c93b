"""Names in tables and figures: no cell is a formula, no line or command is added, no name is read as mathematics."""

from __future__ import annotations

import csv
import io
import re
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.evaluation.metrics import Curves, Metrics
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions
from spuproj.training.evaluation.tables import MEASURES, latex, per_case_csv, summaries_of, summary_csv
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.names import plain_name
from spuproj.training.workflows.project import project_slice
from spuproj.uncertainty import qu_brats

ONE = np.ones((1, 1, 1), bool)
CURVES = Curves(qu_brats(ONE, ONE, np.zeros(ONE.shape), ONE), np.ones(1), np.ones(1), np.ones(1))
OPTIONS = EvaluationOptions("variance-1", "brats")
FORMULAS = ("=HYPERLINK(1)", "=cmd|' calc'!A1", "+1+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1")
ODD = (
    "a,b",
    'a"b',
    "a;=1+1",
    "a\\input{x}",
    "\\write18{x}",
    "$\\frac{$",
    "a&b",
    "a%b",
    "^^5cinput",
    "{",
    "a_b",
    "~",
    "#1",
)


def rows(names: tuple[str, ...]) -> list[CaseResult]:
    metrics = Metrics(**{name: 0.1 for name in MEASURES})
    return [CaseResult(method, method, case, case, metrics, CURVES) for method, case in product(names, ("p1", "p2"))]


@pytest.mark.parametrize("name", FORMULAS, ids=ascii)
def test_a_name_that_a_spreadsheet_would_compute_is_none(name):
    with pytest.raises(InputError, match="must be a plain file name"):
        plain_name(name, "name")


@pytest.mark.parametrize("name", ODD)
def test_a_csv_table_has_the_cells_that_were_put_in(name):
    made = rows((name, "plain"))
    for text, count in ((per_case_csv(made), 4), (summary_csv(summaries_of(made)), 2 * len(MEASURES))):
        table = list(csv.DictReader(io.StringIO(text)))
        assert len(table) == count
        assert {line["method"] for line in table} == {name, "plain"}
        assert all(cell == name or not cell.startswith(("=", "+", "@")) for line in table for cell in line.values())


def shown(text: str) -> str:
    """A LaTeX table without its comments."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("%"))


@pytest.mark.parametrize("name", ODD)
def test_a_latex_table_runs_no_command_of_a_name(name):
    made = rows((name, "plain"))
    text, usual = (shown(latex(each, summaries_of(each), OPTIONS)) for each in (made, rows(("odd", "plain"))))
    known = {"\\textbackslash ", "\\textasciitilde ", "\\textasciicircum "}
    commands = set(re.findall(r"\\[A-Za-z]+ ?", text)) - set(re.findall(r"\\[A-Za-z]+ ?", usual))
    assert commands <= known
    cells = [re.split(r"(?<!\\)&", line) for line in text.splitlines() if line.endswith("\\\\")]
    assert len({len(line) for line in cells}) == 1
    assert text.count("\n") == usual.count("\n")


@pytest.mark.parametrize("name", ["$\\frac{$", "a$b$c", "{0}"])
def test_the_name_of_a_volume_is_no_mathematics(name, tmp_path):
    file = tmp_path / f"{name.replace('/', '')}.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(8 * 8 * 4, dtype=np.float32).reshape(8, 8, 4), np.eye(4)), file)
    assert Path(project_slice(file, 1, tmp_path / "a.png")).stat().st_size > 0
