"""Prediction without named models: those of the package are used, and it is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from training_helpers import digest, read

from spuproj.training.models import trained_models
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict, predict_cohort

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

SAID = "models: those of the package, trained on phantoms alone; see "


@pytest.fixture
def folder(models, monkeypatch):
    """Untrained models in place of those of the package."""
    folder = models["WT"].parent
    monkeypatch.setattr(trained_models, "FOLDER", folder)
    return folder


def test_the_packages_models_predict_a_case_and_are_said_everywhere(spuproj, folder, cohort, models, tmp_path):
    status, printed = spuproj("predict", "--case", cohort[1], "--out", tmp_path, "--maps", "labels,prob")
    assert status == 0
    assert f"{SAID}{folder} (card.md of each)\n" in printed
    assert {path.name for path in tmp_path.glob("*_prob.nii.gz")} == {
        f"Phantom_002_{target}_prob.nii.gz" for target in models
    }
    assert (tmp_path / "Phantom_002_labels.nii.gz").is_file()
    digests = {target: digest(model) for target, model in models.items()}
    assert json.loads((tmp_path / "Phantom_002_summary.json").read_text())["recipe"]["models"] == digests
    report = (tmp_path / "Phantom_002_report.html").read_text()
    assert "Models: those of the package, trained on phantoms alone (" in report
    assert all(f"{target}: {sha256[:12]}" in report for target, sha256 in digests.items())


def test_named_models_give_the_same_maps_and_the_report_names_them(folder, cohort, models, tmp_path, capsys):
    predict(None, cohort[1], tmp_path / "package", maps=["prob"])
    assert SAID in capsys.readouterr().err
    predict(list(models.values()), cohort[1], tmp_path / "named", maps=["prob"])
    assert "models: " not in capsys.readouterr().err
    for target in models:
        kind = f"{target}_prob"
        np.testing.assert_array_equal(read(tmp_path / "package", kind), read(tmp_path / "named", kind))
    assert f"Models: {models['ET']}, " in (tmp_path / "named" / "Phantom_002_report.html").read_text()


def test_a_data_set_is_predicted_by_them_and_is_finished_for_the_same_models_named(folder, cohort, models, tmp_path):
    assert len(predict_cohort(None, cohort[0].parent, tmp_path, maps=["labels"]).predicted) == 3
    assert len(predict_cohort(list(models.values()), cohort[0].parent, tmp_path, maps=["labels"]).skipped) == 3


def test_without_models_in_the_installation_the_command_says_what_to_do(spuproj, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(trained_models, "FOLDER", tmp_path / "nowhere")
    status, printed = spuproj("predict", "--case", cohort[1], "--out", tmp_path / "out")
    assert status != 0
    assert "must hold the models of the package, but holds none" in f"{status}{printed}"
    assert not (tmp_path / "out").exists()


def test_an_empty_list_of_models_is_still_an_error(folder, cohort, tmp_path):
    with pytest.raises(InputError, match="models must be of different targets, got none"):
        predict([], cohort[1], tmp_path)
