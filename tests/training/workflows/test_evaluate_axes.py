"""Evaluation of maps whose axes have another order than those of the case's first image."""

import csv
import gzip
import shutil

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.workflows.predict import predict

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")


def test_maps_of_another_order_of_axes_measure_the_same(spuproj, cohort, models, tmp_path, monkeypatch):
    """Maps have the axes of the first image that a model uses, which need not be the first of the case."""
    monkeypatch.setattr("spuproj.training.workflows.predict.case_figure", lambda *given: given[3].write_text("picture"))
    shutil.copytree(cohort[1], tmp_path / "data" / cohort[1].name)
    predict([models["TC"]], cohort[1], tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for path in (tmp_path / "b").glob("*.nii.gz"):
        turned = nib.Nifti1Image.from_filename(path).as_reoriented(np.array([[2, 1], [0, -1], [1, 1]]))
        path.write_bytes(gzip.compress(turned.to_bytes()))
    methods = ("--predictions", f"a={tmp_path / 'a'}", "--predictions", f"b={tmp_path / 'b'}")
    assert spuproj("evaluate", "--data", tmp_path / "data", *methods, "--out", tmp_path / "out")[0] == 0
    with (tmp_path / "out" / "per_case.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first, second = ([{**row, "method": ""} for row in rows if row["method"] == name] for name in ("a", "b"))
    assert first
    assert first == second
