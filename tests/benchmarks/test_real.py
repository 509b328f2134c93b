"""The benchmark on labelled patients: its numbers against others, its goals, and cases that fail."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from spuproj.benchmarks import real as subject
from spuproj.benchmarks.real import Measured, Row, contents, goals_of, measure_cases, medians_of
from spuproj.training.data.case import load_case
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.models import trained_models
from spuproj.training.models.method import Method
from spuproj.training.models.run import load_run, load_runs
from spuproj.training.models.view_sets import Zoom
from spuproj.training.workflows.predict import predict

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

ROW = Row("a", "a", "WT", 0.9, 0.8, 0.96, 0.01, 1.0, 0.0, 1.0)


def map_of(folder: Path, kind: str) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_filename(folder / f"Phantom_002_{kind}.nii.gz").dataobj)


@pytest.fixture(scope="module")
def measured(one_thread, cohort, models) -> Measured:
    """What all three models make of the second case."""
    case = [files for files in cases_in(cohort[0].parent) if files.name == "Phantom_002"]
    return measure_cases(load_runs(list(models.values()))[0], case)


def test_the_numbers_are_those_of_the_maps_that_predict_writes(cohort, models, measured, tmp_path):
    predict(list(models.values()), cohort[1], tmp_path, maps=["seg", "var"])
    truth = map_of(cohort[1], "seg")
    brain = map_of(cohort[1], "t1") != 0
    for row, labels in zip(measured.rows, ((4,), (1, 4), (1, 2, 4)), strict=True):
        found, variance = map_of(tmp_path, f"{row.target}_seg") > 0, map_of(tmp_path, f"{row.target}_var")[brain]
        target = np.isin(truth, labels)
        assert row.dice == pytest.approx(2 * (found & target).sum() / (found.sum() + target.sum()))
        assert row.sensitivity == pytest.approx((found & target).sum() / target.sum())
        wrong = (found != target)[brain]
        pairs = wrong.sum() * (~wrong).sum()
        assert row.auroc == pytest.approx(mannwhitneyu(variance[wrong], variance[~wrong]).statistic / pairs, abs=1e-4)
        assert row.mean_variance == pytest.approx(variance.mean(), rel=1e-4)
        assert (row.case, row.patient) == ("Phantom_002", "Phantom_002")
    assert measured.seconds["Phantom_002"] > 0


def test_views_that_show_a_part_have_edges_in_the_brain_and_others_none(cohort, models, measured):
    assert [(row.seam, row.beside_edges) for row in measured.rows] == [(1.0, 0.0)] * 3
    assert min(row.smallest_view for row in measured.rows) >= 0.99
    config, network = load_run(models["WT"])
    zoomed = replace(config, method=Method("zoom", Zoom(), channels=(4, 8)))
    case = [files for files in cases_in(cohort[0].parent) if files.name == "Phantom_002"]
    (row,) = measure_cases([(zoomed, network)], case).rows
    assert row.beside_edges > 0
    assert row.seam > 0
    assert row.seam != 1
    assert row.smallest_view < 0.5


def test_the_entropy_stands_in_where_there_is_no_variance(cohort, models, monkeypatch):
    case = load_case(cohort[1], with_labels=True)
    doubt = np.random.default_rng(0).uniform(0, 0.6, case.brain.shape).astype(np.float32)
    nothing = np.zeros_like(case.brain)
    unknown = np.where(np.arange(len(doubt))[:, None, None] % 2 == 0, np.nan, doubt / np.log(2) / 4).astype(np.float32)
    made = CasePrediction(np.zeros_like(doubt), nothing, unknown, doubt, doubt)
    monkeypatch.setattr(subject, "predict_targets", lambda *_: iter([("WT", made)]))
    files = [files for files in cases_in(cohort[0].parent) if files.name == "Phantom_002"]
    (row,) = measure_cases([load_run(models["WT"])], files).rows
    wrong = case.target("WT")[case.brain]
    pairs = wrong.sum() * (~wrong).sum()
    inside = doubt[case.brain]
    assert row.auroc == pytest.approx(mannwhitneyu(inside[wrong], inside[~wrong]).statistic / pairs, abs=1e-4)
    assert row.mean_variance == pytest.approx(np.nanmean(unknown[case.brain]), rel=1e-5)


def test_medians_are_over_patients_whose_visits_count_together():
    visits = [replace(ROW, case="p_1", patient="p", dice=0.2), replace(ROW, case="p_2", patient="p", dice=0.4)]
    others = [replace(ROW, patient=name, dice=value) for name, value in (("q", 0.6), ("r", math.nan), ("s", 0.8))]
    assert medians_of([*visits, *others])["WT"]["dice"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("change", "outcomes"),
    [
        ({}, ["met", "met", "not measured", "met", "met"]),
        ({"dice": 0.75, "auroc": 0.92, "seam": 1.31}, ["not met", "not met", "not measured", "not done", "met"]),
        ({"dice": 0.69, "auroc": 0.89, "smallest_view": 0.98}, ["not done"] * 2 + ["not measured", "met", "not done"]),
        ({"auroc": math.nan, "seam": math.nan}, ["met", "not measured", "not measured", "not measured", "met"]),
    ],
)
def test_the_goals_are_said_to_be_reached_or_not(change, outcomes):
    found = {goal.row.partition(",")[0]: goal.outcome for goal in goals_of([replace(ROW, **change)])}
    names = ("Dice of WT", "AUROC of wrong voxels of WT", "Dice of TC", "largest seam of any patient")
    *first, last = outcomes
    assert [found[name] for name in names] == first
    assert list(found.values())[-1] == last


def test_a_case_that_fails_stops_no_other_and_is_said(cohort, models, tmp_path, capsys):
    data = tmp_path / "data"
    for case in cohort[:2]:
        shutil.copytree(case, data / case.name)
    (data / "Phantom_001" / "Phantom_001_t2.nii.gz").write_bytes(b"no image")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as end:
        subject.run(data, [models["WT"]])
    printed = capsys.readouterr()
    assert end.value.code == "error: 1 of 2 cases failed: Phantom_001"
    assert "Phantom_001 failed: " in printed.err
    assert "Phantom_001_t2.nii.gz" in printed.err
    assert "Phantom_002 WT: Dice " in printed.err
    assert "Dice of WT, median over patients" in printed.out
    assert sorted(tmp_path.rglob("*")) == before


def test_the_packages_models_are_used_where_none_is_named_and_out_keeps_the_numbers(
    cohort, models, measured, tmp_path, monkeypatch
):
    monkeypatch.setattr(trained_models, "FOLDER", models["WT"].parent)
    out = tmp_path / "real.json"
    subject.run(cohort[0].parent, case=["Phantom_002"], out=out)
    kept = json.loads(out.read_text())
    assert [(row["target"], row["dice"]) for row in kept["rows"]] == [(row.target, row.dice) for row in measured.rows]
    assert (kept["patients"], kept["failed"]) == (1, {})
    assert sorted(kept["models"]) == ["ET", "TC", "WT"]
    assert kept["goals"][0]["goal"] == 0.8
    with pytest.raises(SystemExit, match="exists already"):
        subject.run(cohort[0].parent, out=out)


def test_where_all_cases_fail_nothing_is_made_up():
    kept = contents(Measured([], {}, {"a": "broken"}), {})
    assert (kept["medians"], kept["patients"]) == ({}, 0)
    assert {goal["outcome"] for goal in kept["goals"]} == {"not measured"}


@pytest.mark.parametrize(
    ("names", "message"),
    [(["nobody"], "must hold the cases with segmentations nobody"), ([], "must hold cases with segmentations")],
)
def test_cases_that_cannot_be_measured_are_an_error(cohort, models, tmp_path, names, message):
    data = cohort[0].parent
    if not names:
        data = tmp_path / "data"
        shutil.copytree(cohort[1], data / "Phantom_002", ignore=shutil.ignore_patterns("*_seg*"))
    with pytest.raises(SystemExit) as end:
        subject.run(data, [models["WT"]], names)
    assert message in str(end.value.code)
