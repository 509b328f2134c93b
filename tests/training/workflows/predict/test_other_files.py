"""Files of other programs, and of other data sets, in the folder that a data set is predicted into."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict_cohort

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

NAMES = ["Phantom_001", "Phantom_002", "Phantom_003"]


@pytest.fixture
def data(cohort) -> Path:
    folder: Path = cohort[0].parent
    return folder


@pytest.fixture
def model(models) -> list[Path]:
    return [models["WT"]]


@pytest.mark.parametrize("name", ["_WT_seg.nii.gz", ".png", "_report.html", "_WT_prob.nii.gz"])
def test_a_file_that_no_summary_lists_is_not_written_over_unless_forced(data, model, tmp_path, name):
    mine = tmp_path / "out" / f"Phantom_003{name}"
    mine.parent.mkdir()
    mine.write_text("mine")
    outcome = predict_cohort(model, data, tmp_path / "out")
    assert (outcome.predicted, outcome.failed) == (
        NAMES[:2],
        {"Phantom_003": f"{mine} exists already; pass --force to write over it"},
    )
    assert mine.read_text() == "mine"
    assert predict_cohort(model, data, tmp_path / "out", force=True).failed == {}


def test_a_report_of_another_program_is_not_written_over_unless_forced(data, model, tmp_path):
    mine = tmp_path / "report.html"
    mine.write_text("<html>mine</html>")
    with pytest.raises(InputError, match=r"report\.html exists already; pass --force"):
        predict_cohort(model, data, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.is_dir()] == ["report.html"]
    assert predict_cohort(model, data, tmp_path, force=True).failed == {}


def test_the_report_keeps_cases_of_other_data_sets(data, model, tmp_path):
    for name in NAMES[:2]:
        shutil.copytree(data / name, tmp_path / name / name)
        assert predict_cohort(model, tmp_path / name, tmp_path / "out").predicted == [name]
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(f"{name}_report.html" in page for name in NAMES[:2])
