"""Inputs of a prediction: segmentations that cannot be used, errors of libraries, models that lead elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from training_helpers import changed, read

from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict, predict_cohort

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")


def replaced(case: Path, folder: Path, ending: str, voxels: np.ndarray | bytes) -> Path:
    """A copy of a case with another file of this ending."""
    copy = folder / case.name
    shutil.copytree(case, copy)
    path = copy / f"{case.name}_{ending}.nii.gz"
    if isinstance(voxels, bytes):
        path.write_bytes(voxels)
    else:
        nib.save(nib.Nifti1Image(voxels, nib.Nifti1Image.from_filename(copy / f"{case.name}_t1.nii.gz").affine), path)
    return copy


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (b"no image", "cannot be read: Not a gzipped file"),
        (np.zeros((5, 6, 7), np.uint8), "must have images on one voxel grid"),
        (np.full((30, 30, 19), 9, np.uint8), "must hold the brats2020 labels"),
    ],
    ids=["broken", "shape", "labels"],
)
def test_a_bad_segmentation_stops_no_prediction_and_is_said(spuproj, cohort, models, tmp_path, segmentation, reason):
    case = replaced(cohort[1], tmp_path, "seg", segmentation)
    out = tmp_path / "out"
    status, printed = spuproj("predict", "--model", models["ET"], "--case", case, "--out", out)
    assert status == 0
    page, summary = (out / name for name in ("Phantom_002_report.html", "Phantom_002_summary.json"))
    warnings = [each["message"] for each in json.loads(summary.read_text())["entry"]["warnings"] if each["level"] == 1]
    (warning,) = (message for message in warnings if "segmentation" in message)
    assert warning.startswith("the segmentation cannot be used, and is not shown: ")
    assert reason in warning
    assert f"Phantom_002: {warning}" in printed
    assert "the segmentation cannot be used, and is not shown: " in page.read_text()
    predict([models["ET"]], cohort[1], tmp_path / "good")
    np.testing.assert_array_equal(read(out, "ET_prob"), read(tmp_path / "good", "ET_prob"))


def test_a_segmentation_that_is_a_link_to_nothing_is_said(cohort, models, tmp_path, capsys):
    case = replaced(cohort[1], tmp_path, "seg", b"")
    (case / "Phantom_002_seg.nii.gz").unlink()
    (case / "Phantom_002_seg.nii.gz").symlink_to(tmp_path / "nowhere")
    predict([models["ET"]], case, tmp_path / "out")
    assert "Phantom_002: the segmentation cannot be used" in capsys.readouterr().err


def test_an_error_of_a_library_names_the_case(cohort, models, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise KeyError("deep inside")

    monkeypatch.setattr("spuproj.training.inference.nesting.predict_case", fail)
    with pytest.raises(InputError, match="Phantom_002 cannot be predicted: KeyError: 'deep inside'"):
        predict([models["WT"]], cohort[1], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "../../esc"}, "target must be a plain file name, but it begins with a dot, got '../../esc'"),
        ({"target": "a/../../esc"}, "target must be a plain file name, but it has a separator of paths"),
        ({"target": "esc\0"}, "target must be a plain file name, but it has a control character"),
        ({"target": "x" * 300}, "target must be a plain file name, but it has 300 bytes, more than 160"),
        ({"modalities": ["t1", "../t2"]}, "modalities must be a plain file name, but it begins with a dot"),
    ],
)
def test_a_shared_model_cannot_write_elsewhere(cohort, models, tmp_path, change, message):
    model = changed(models["WT"], tmp_path / "shared" / "model", **change)
    before = sorted(tmp_path.rglob("*"))
    for call, data in ((predict, cohort[1]), (predict_cohort, cohort[1].parent)):
        with pytest.raises(InputError) as error:
            call([model], data, tmp_path / "deep" / "out")
        assert message in str(error.value)
        beginning = f"{model / 'config.json'} must be the configuration of a model, but is not: "
        assert str(error.value).startswith(beginning)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_methods_name_in_a_shared_model_is_a_plain_one(cohort, models, tmp_path):
    method = json.loads((models["WT"] / "config.json").read_text())["method"]
    model = changed(models["WT"], tmp_path / "model", method={**method, "name": "../../esc"})
    with pytest.raises(InputError, match=r"name must be a plain file name, .* got '\.\./\.\./esc'"):
        predict([model], cohort[1], tmp_path / "out")
