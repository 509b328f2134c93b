"""Patients who lack modalities: predicted by models that were trained with augmentation, and refused by others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from training_helpers import changed, read

from spuproj.training.data.case import load_case
from spuproj.training.data.readers.case_files import MODALITIES
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.report.slice_images import shown_channels
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict, predict_cohort

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

NAME = "Phantom_002"
Make = Callable[[Path, Path, Sequence[str]], Path]


@pytest.fixture(scope="module")
def model(models, tmp_path_factory) -> Path:
    return changed(models["WT"], tmp_path_factory.mktemp("augmented") / "WT", augmented=True)


def copied(case: Path, paths: dict[str, Path], missing: Sequence[str]) -> None:
    """Copies the files of the modalities that are there to these paths."""
    for modality, path in paths.items():
        if modality not in missing:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(case / f"{case.name}_{modality}.nii.gz", path)


def brats(case: Path, folder: Path, missing: Sequence[str]) -> Path:
    copied(case, {name: folder / NAME / f"{NAME}_{name}.nii.gz" for name in MODALITIES}, missing)
    return folder


def plain(case: Path, folder: Path, missing: Sequence[str]) -> Path:
    copied(case, {name: folder / NAME / f"{name}.nii.gz" for name in MODALITIES}, missing)
    return folder


def bids(case: Path, folder: Path, missing: Sequence[str]) -> Path:
    words = {"t1": "T1w", "t1ce": "ce-gd_T1w", "t2": "T2w", "flair": "FLAIR"}
    copied(case, {name: folder / "sub-1/anat" / f"sub-1_{word}.nii.gz" for name, word in words.items()}, missing)
    return folder


def nnunet(case: Path, folder: Path, missing: Sequence[str]) -> Path:
    paths = {name: folder / "imagesTr" / f"p_{number:04d}.nii.gz" for number, name in enumerate(MODALITIES)}
    copied(case, paths, missing)
    (folder / "dataset.json").write_text(json.dumps({"channel_names": dict(enumerate(MODALITIES))}))
    return folder


def csv(case: Path, folder: Path, missing: Sequence[str]) -> Path:
    cells = ["" if name in missing else str(case / f"{NAME}_{name}.nii.gz") for name in MODALITIES]
    (folder / "set.csv").write_text(f"name,{','.join(MODALITIES)}\np,{','.join(cells)}\n")
    return folder / "set.csv"


def manifest(case: Path, folder: Path, missing: Sequence[str]) -> Path:
    images = {name: str(case / f"{NAME}_{name}.nii.gz") for name in MODALITIES if name not in missing}
    (folder / "set.json").write_text(json.dumps({"cases": [{"name": "p", "images": images}]}))
    return folder / "set.json"


MAKERS = (brats, plain, bids, nnunet, csv, manifest)


@pytest.fixture(scope="module")
def with_zeros(cohort, model, tmp_path_factory) -> Callable[[Sequence[str]], np.ndarray]:
    """The probability of the second case, where files of zeros stand for some modalities."""
    folder = tmp_path_factory.mktemp("zeros")

    def probability(missing: Sequence[str]) -> np.ndarray:
        case, out = folder / "-".join(missing) / NAME, folder / "-".join(missing) / "out"
        if not out.exists():
            shutil.copytree(cohort[1], case)
            for name in missing:
                path = case / f"{NAME}_{name}.nii.gz"
                image = nib.Nifti1Image.from_filename(path)
                nib.save(nib.Nifti1Image(np.zeros(image.shape, np.float32), image.affine), path)
            predict([model], case, out, maps=["prob"])
        return read(out, "WT_prob")

    return probability


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("missing", [("t1ce",), ("t1", "t2", "flair")], ids=" ".join)
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_what_is_missing_is_0_and_said_in_every_convention(
    cohort, model, with_zeros, tmp_path, capsys, make: Make, missing
):
    expected = with_zeros(missing)
    capsys.readouterr()
    (tmp_path / "data").mkdir()
    out, data = tmp_path / "out", make(cohort[1], tmp_path / "data", missing)
    outcome = predict_cohort([model], data, out, maps=["prob"])
    assert outcome.failed == {}
    (name,) = outcome.predicted
    np.testing.assert_array_equal(read(out, "WT_prob", name), expected)
    found = json.loads((out / f"{name}_summary.json").read_text())["entry"]["warnings"]
    (warning,) = (each["message"] for each in found if each["level"] == 1 and "missing" in each["message"])
    assert warning.startswith(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    assert "less reliable" in warning
    assert f"{name}: {warning}" in capsys.readouterr().err
    assert warning in (out / f"{name}_report.html").read_text()


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_model_that_was_not_augmented_needs_all_and_says_why(cohort, models, tmp_path, make: Make):
    (tmp_path / "data").mkdir()
    data = make(cohort[1], tmp_path / "data", ("t1ce",))
    ((_, reason),) = predict_cohort([models["WT"]], data, tmp_path / "out").failed.items()
    assert "t1ce" in reason.split(";")[0] or "0001" in reason.split(";")[0]
    assert reason.endswith(
        "only models that were trained with augmentation predict a patient without t1ce, and the model of WT was not"
    )


def test_one_model_of_several_that_was_not_augmented_is_named(cohort, models, model, tmp_path):
    data = brats(cohort[1], tmp_path / "data", ("flair",))
    with pytest.raises(InputError, match=r"without flair, and the model of ET was not$"):
        predict([model, models["ET"]], data / NAME, tmp_path / "out")


def test_patients_who_lack_different_modalities_are_predicted_in_one_call(cohort, model, tmp_path):
    data = tmp_path / "data"
    for case, missing in zip(cohort, (["t1"], ["t2", "flair"], []), strict=True):
        shutil.copytree(case, data / case.name)
        for name in missing:
            (data / case.name / f"{case.name}_{name}.nii.gz").unlink()
    outcome = predict_cohort([model], data, tmp_path / "out", maps=["prob"])
    assert (outcome.predicted, outcome.failed) == (["Phantom_001", NAME, "Phantom_003"], {})
    entry = json.loads((tmp_path / "out" / f"{NAME}_summary.json").read_text())["entry"]
    assert 0 <= entry["dice"]["WT"] <= 1


def test_a_patient_without_any_of_the_modalities_is_refused(cohort, model, tmp_path):
    images = {"dwi": str(cohort[1] / f"{NAME}_t1.nii.gz"), "t2": "nowhere.nii.gz"}
    (tmp_path / "set.json").write_text(json.dumps({"cases": [{"name": "p", "images": images}]}))
    outcome = predict_cohort([model], tmp_path / "set.json", tmp_path / "out")
    assert outcome.failed == {"p": "p must have at least one of the modalities t1, t1ce, t2, flair, but has dwi"}


@pytest.mark.parametrize("fault", ["link to nothing", "empty", "folder", "twice"])
def test_a_file_that_is_there_and_cannot_be_used_is_not_missing(cohort, model, tmp_path, fault):
    data = brats(cohort[1], tmp_path / "data", ("t1ce",))
    path = data / NAME / f"{NAME}_t1ce.nii.gz"
    if fault == "link to nothing":
        path.symlink_to(tmp_path / "nowhere")
    elif fault == "empty":
        path.touch()
    elif fault == "folder":
        path.mkdir()
    else:
        for name in ("t1ce.nii.gz", "T1-post.nii.gz"):
            shutil.copy(cohort[1] / f"{NAME}_t1ce.nii.gz", data / NAME / name)
    outcome = predict_cohort([model], data, tmp_path / "out")
    assert "t1ce" in outcome.failed[NAME]
    assert outcome.predicted == []


def test_the_report_and_the_figure_show_what_is_there(cohort, tmp_path):
    data = brats(cohort[1], tmp_path / "data", ("flair", "t1"))
    (files,) = cases_in(data)
    case = load_case(files, MODALITIES, may_lack=True)
    assert case.missing == ("t1", "flair")
    assert shown_channels(case) == {1: "t1ce", 2: "t2"}


def test_a_figure_without_the_usual_modalities_is_drawn(cohort, model, tmp_path, monkeypatch):
    monkeypatch.undo()
    data = brats(cohort[1], tmp_path / "data", ("flair", "t1ce", "t1"))
    predict([model], data / NAME, tmp_path / "out", maps=["prob"])
    assert (tmp_path / "out" / f"{NAME}.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_without_a_modality_can_be_evaluated(spuproj, cohort, model, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(cohort[1], data / NAME)
    (data / NAME / f"{NAME}_t2.nii.gz").unlink()
    predict_cohort([model], data, tmp_path / "maps")
    status, printed = spuproj(
        "evaluate", "--data", data, "--predictions", f"own={tmp_path / 'maps'}", "--out", tmp_path / "tables"
    )
    assert status == 0, printed


def test_check_and_training_need_every_modality(spuproj, cohort, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(cohort[0].parent, data)
    (data / NAME / f"{NAME}_t2.nii.gz").unlink()
    status, printed = spuproj("check", data)
    assert status != 0
    assert "without t2 it can only be predicted, by models that were trained with augmentation" in printed
    status, printed = spuproj("train", "--data", data, "--target", "WT", "--out", tmp_path / "run")
    assert status != 0
    assert f"must hold {NAME}_t2.nii.gz, but it is missing" in str(status) + printed
