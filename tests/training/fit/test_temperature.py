"""Temperature scaling: a known temperature is found, on the validation cases alone, and prediction uses it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from helpers import noise
from spuproj.training.data.case import Case, load_case
from spuproj.training.data.labels import own_scheme
from spuproj.training.data.splits import Split, write_splits
from spuproj.training.data.volumes.grid import Grid
from spuproj.training.fit import temperature as fitting
from spuproj.training.fit.temperature import TEMPERATURES, best_temperature, likelihoods
from spuproj.training.fit.train import train
from spuproj.training.inference.case_prediction import mean_probabilities, predict_case, view_probabilities
from spuproj.training.models.config import ModelConfig, make_views
from spuproj.training.models.method import Method, load_method
from spuproj.training.models.run import load_run
from spuproj.training.models.view_sets import Augmented
from spuproj.training.runtime.errors import InputError

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (16, 40, 40)
# One view, which is the slice itself.
PLAIN = ModelConfig(
    "lesion", (40.0, 40.0), (40, 40), (0.0, 0.0, 1.0, 1.0), Method("own", Augmented(), channels=(4, 8)), ("t1",)
)
METHOD = replace(load_method("spu"), epochs=1, batch_size=4, channels=(4, 8))


def case_of_logits(temperature: float) -> Case:
    """A case whose image holds logits, and whose labels are drawn with the probability sigmoid(logit / temperature)."""
    logits = 3 * noise(*SHAPE).numpy() - 1
    labels = np.random.default_rng(1).random(SHAPE) < expit(logits / temperature)
    grid = Grid((40, 40, 16), np.eye(4))
    return Case(
        "logits", logits[:, None], np.ones(SHAPE, bool), labels.astype(np.uint8), own_scheme({"lesion": (1,)}), grid,
        nib.Nifti1Image(np.zeros(grid.shape), grid.affine), ("t1",),
    )  # fmt: skip


@pytest.mark.parametrize("known", [0.3, 1.0, 2.5])
def test_a_known_temperature_is_found(known):
    case = case_of_logits(known)
    found = best_temperature([likelihoods(PLAIN, nn.Identity(), case)])
    assert found.value == pytest.approx(known, rel=0.06)

    def loss(temperature):
        right = np.where(case.labels == 1, 1, -1) * case.image[:, 0]
        return np.log1p(np.exp(-right.astype(float) / temperature)).mean()

    near = found.value * np.linspace(0.97, 1.03, 601)
    assert found.value == pytest.approx(near[np.argmin([loss(each) for each in near])], rel=2e-3)
    assert (found.nll_before, found.nll_after) == pytest.approx((loss(1.0), loss(found.value)), rel=1e-4)


def test_cases_count_alike_whatever_their_size():
    first, second = np.square(np.log(TEMPERATURES) - 0.5), np.square(np.log(TEMPERATURES) + 0.1)
    found = best_temperature([first, second])
    assert found.value == pytest.approx(np.exp(0.2), rel=1e-4)
    assert found.nll_before == pytest.approx((0.25 + 0.01) / 2)
    assert found.nll_after == pytest.approx(0.09, rel=1e-4)


@pytest.mark.parametrize(("sign", "end"), [(1, 1 / 8), (-1, 8)])
def test_a_likelihood_that_only_falls_has_its_temperature_at_the_end(sign, end):
    assert best_temperature([sign * np.log(TEMPERATURES) + 3]).value == pytest.approx(end, rel=1e-3)


def test_the_likelihood_is_that_of_the_mean_that_prediction_gives(cohort, models):
    config, network = load_run(models["WT"])
    case = load_case(cohort[1], with_labels=True)
    parts = list(mean_probabilities(config, network, case, [0.5, 1.0, 4.0]))
    assert np.concatenate([slices for slices, _ in parts]).tolist() == np.flatnonzero(case.brain.any((1, 2))).tolist()
    for number, temperature in enumerate((0.5, 1.0, 4.0)):
        wanted = predict_case(replace(config, temperature=temperature), network, case, lambda _: None).probability
        for slices, means in parts:
            np.testing.assert_array_equal(means[number] * case.brain[slices], wanted[slices])
    hot = replace(config, temperature=7.0)
    np.testing.assert_array_equal(likelihoods(hot, network, case), likelihoods(config, network, case))


def test_a_temperature_divides_the_logits_and_1_changes_no_bit(models):
    config, network = load_run(models["WT"])
    views, image = make_views(config, (30, 30)), noise(1, 4, 30, 30)
    with torch.inference_mode():
        logits = network(views.project(image)[0])[None]
        for temperature in (0.5, 1.0, 3.0):
            found = view_probabilities(network, views, image, temperature=temperature)
            torch.testing.assert_close(found, torch.sigmoid(logits / temperature))
        assert torch.equal(view_probabilities(network, views, image), torch.sigmoid(logits))
        assert torch.equal(view_probabilities(network, views, image, temperature=1.0), torch.sigmoid(logits))


@pytest.fixture(scope="module")
def split(cohort, tmp_path_factory) -> Path:
    """The second case validates, the third one tests."""
    path = tmp_path_factory.mktemp("split") / "split.json"
    first, second, third = (folder.name for folder in cohort)
    write_splits(path, [Split((first,), (second,), (third,))], 0)
    return path


@pytest.fixture(scope="module")
def calibrated(one_thread, cohort, split, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("calibrated") / "run"
    return train(cohort[0].parent, "WT", run, method=METHOD, split=split, calibrate=True)


def record_of(run: Path):
    return json.loads((run / "training.json").read_text())


def test_a_calibrated_run_keeps_its_temperature_and_how_it_was_fitted(calibrated, cohort):
    config, network = load_run(calibrated)
    case = load_case(cohort[1], config.modalities, with_labels=True, clip=config.clip)
    expected = best_temperature([likelihoods(config, network, case)])
    record = record_of(calibrated)["calibration"]
    assert config.temperature == record["temperature"] == pytest.approx(expected.value)
    assert config.temperature != 1
    assert record["nll"] == pytest.approx({"before": expected.nll_before, "after": expected.nll_after})
    assert record["nll"]["after"] < record["nll"]["before"]
    assert record["cases"] == [cohort[1].name]
    assert record_of(calibrated)["metrics"]


def uncalibrated(run: Path, folder: Path) -> Path:
    """A copy of the run as it is after its training alone."""
    shutil.copytree(run, folder)
    record = record_of(run)
    del record["calibration"]
    (folder / "training.json").write_text(json.dumps(record))
    config = json.loads((run / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"temperature": 1.0}))
    return folder


def test_resuming_calibrates_a_finished_run_once_on_its_validation_case_alone(
    calibrated, cohort, split, tmp_path, monkeypatch, capsys
):
    run, read = uncalibrated(calibrated, tmp_path / "run"), []

    def recording(files, *arguments, **options):
        read.append(files.name)
        return load_case(files, *arguments, **options)

    monkeypatch.setattr(fitting, "load_case", recording)
    again = {"method": METHOD, "split": split, "resume": True}
    train(cohort[0].parent, "WT", run, **again)
    assert (load_run(run)[0].temperature, read) == (1, [])
    train(cohort[0].parent, "WT", run, calibrate=True, **again)
    assert load_run(run)[0] == load_run(calibrated)[0]
    assert record_of(run)["calibration"] == record_of(calibrated)["calibration"]
    assert read == [cohort[1].name]
    capsys.readouterr()
    train(cohort[0].parent, "WT", run, calibrate=True, **again)
    assert "there is nothing to resume" in capsys.readouterr().err
    assert read == [cohort[1].name]


def test_a_finished_run_is_calibrated_on_the_data_of_its_training_alone(calibrated, cohort, split, tmp_path):
    run, data = uncalibrated(calibrated, tmp_path / "run"), shutil.copytree(cohort[0].parent, tmp_path / "data")
    before = {path.name: path.read_bytes() for path in run.glob("*.json")}
    again: Any = {"method": METHOD, "resume": True, "calibrate": True}
    first, second, third = (folder.name for folder in cohort)
    write_splits(tmp_path / "other.json", [Split((second,), (first,), (third,))], 0)
    with pytest.raises(InputError, match=rf"data\.train\.cases must be \['{first}'\], as in .*got \['{second}'\]"):
        train(data, "WT", run, split=tmp_path / "other.json", **again)
    write_splits(tmp_path / "other.json", [Split((first,), (third,), (second,))], 0, force=True)
    with pytest.raises(InputError, match=rf"data\.validation\.cases must be \['{second}'\], .*got \['{third}'\]"):
        train(data, "WT", run, split=tmp_path / "other.json", **again)
    path = data / second / f"{second}_seg.nii.gz"
    labels = nib.Nifti1Image.from_filename(path)
    nib.save(nib.Nifti1Image(np.asarray(labels.dataobj)[::-1], labels.affine), path)
    with pytest.raises(
        InputError, match=r"data\.validation\.sha256 must be .*; resume it with the data .* it began with"
    ):
        train(data, "WT", run, split=split, **again)
    assert {path.name: path.read_bytes() for path in run.glob("*.json")} == before
    train(cohort[0].parent, "WT", run, split=split, **again)
    assert load_run(run)[0] == load_run(calibrated)[0]


def test_a_run_whose_record_names_no_validation_cases_cannot_be_calibrated(calibrated, cohort, split, tmp_path):
    run = uncalibrated(calibrated, tmp_path / "run")
    (run / "training.json").write_text("{}")
    with pytest.raises(InputError, match=r"training\.json must name the validation cases of 'spuproj train'"):
        train(cohort[0].parent, "WT", run, method=METHOD, split=split, resume=True, calibrate=True)


def test_an_interrupted_training_that_knows_no_temperature_can_be_resumed(calibrated, cohort, split, tmp_path):
    run = uncalibrated(calibrated, tmp_path / "run")
    (run / "model.safetensors").unlink()
    config = json.loads((run / "config.json").read_text())
    del config["temperature"]
    (run / "config.json").write_text(json.dumps(config))
    train(cohort[0].parent, "WT", run, method=METHOD, split=split, resume=True, calibrate=True)
    assert load_run(run)[0].temperature == pytest.approx(load_run(calibrated)[0].temperature)


def test_a_temperature_at_the_end_of_the_range_is_said(calibrated, cohort, split, tmp_path, monkeypatch, capsys):
    run = uncalibrated(calibrated, tmp_path / "run")
    monkeypatch.setattr(fitting, "likelihoods", lambda *_: np.log(TEMPERATURES) + 3)
    train(cohort[0].parent, "WT", run, method=METHOD, split=split, resume=True, calibrate=True)
    assert "warning: the temperature of WT is at the end of its range, 0.125 to 8" in capsys.readouterr().err


def test_the_command_calibrates(calibrated, cohort, split, tmp_path, spuproj):
    run, file = uncalibrated(calibrated, tmp_path / "run"), tmp_path / "own.json"
    values = json.loads((calibrated / "config.json").read_text())["method"]
    file.write_text(json.dumps(values))
    arguments = ["--data", cohort[0].parent, "--target", "WT", "--out", run, "--method", file, "--split", split]
    status, printed = spuproj("train", *arguments, "--resume", "--calibrate")
    assert status in (0, None), printed
    assert load_run(run)[0].temperature == load_run(calibrated)[0].temperature
