"""Predictions with models of nnU-Net that must be refused, must go on, or must not be taken for others."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from spuproj import Views
from spuproj.nnunet import ViewsPredictor, load_predictor, predict_folder, prediction
from spuproj.training.runtime.errors import InputError

OTHER_SETTINGS: dict[str, Callable[[ViewsPredictor], object]] = {
    "views": lambda p: setattr(p, "views", Views.factory("rigid", degrees=[0, 10])),
    "tile_step_size": lambda p: setattr(p, "tile_step_size", 0.9),
    "use_gaussian": lambda p: setattr(p, "use_gaussian", False),
    "plans": lambda p: p.dataset_json.update(labels={"background": 0, "other": 1, "one": 2}),
}


@pytest.mark.parametrize("name", OTHER_SETTINGS)
def test_settings_in_python_are_part_of_what_is_compared(plain, trained, tmp_path, name):
    plain.dataset_json = dict(plain.dataset_json)
    assert len(list(predict_folder(plain, trained.images, tmp_path))) == 2
    assert list(predict_folder(plain, str(trained.images), str(tmp_path))) == []
    OTHER_SETTINGS[name](plain)
    about = (tmp_path / "dataset.json").read_bytes()
    with pytest.raises(InputError, match=f"must hold no predictions with other {name}, but holds those of finer"):
        list(predict_folder(plain, trained.images, tmp_path))
    assert (tmp_path / "dataset.json").read_bytes() == about


def test_a_case_that_is_interrupted_while_it_is_written_is_not_finished(plain, trained, tmp_path, monkeypatch):
    assert len(list(predict_folder(plain, trained.images, tmp_path))) == 2
    with monkeypatch.context() as patch:
        patch.setattr("spuproj.nnunet.prediction.save_map", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(predict_folder(plain, trained.images, tmp_path, force=True))
    assert [path.name for path in predict_folder(plain, trained.images, tmp_path)] == ["finer_var.nii.gz"]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["_predict_case", "export_prediction_from_logits", "save_map", "write_json"])
def test_a_process_killed_at_any_moment_leaves_whole_files_and_goes_on(plain, trained, tmp_path, monkeypatch, moment):
    wanted = tmp_path / "wanted"
    assert len(list(predict_folder(plain, trained.images, wanted, save_probabilities=True))) == 2
    out = tmp_path / "out"
    real, calls = getattr(prediction, moment), []

    def killed(*arguments: object, **named: object) -> object:
        calls.append(moment)
        # Three times more than the first case asks for JSON files: of the data set, plans and its mark.
        if len(calls) == (4 if moment == "write_json" else 2):
            if moment == "export_prediction_from_logits":
                Path(f"{arguments[5]}.nii.gz").write_bytes(b"half of a file")
            raise KeyboardInterrupt
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(prediction, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            list(predict_folder(plain, trained.images, out, save_probabilities=True))
    for path in out.rglob("*.nii.gz"):
        np.testing.assert_array_equal(load(path), load(wanted / path.relative_to(out)))
    list(predict_folder(plain, trained.images, out, save_probabilities=True))
    assert sorted(path.name for path in out.rglob("*")) == sorted(path.name for path in wanted.rglob("*"))
    for path in wanted.rglob("*.nii.gz"):
        np.testing.assert_array_equal(load(out / path.relative_to(wanted)), load(path))


def load(path: Path) -> np.ndarray:
    return nib.Nifti1Image.from_filename(path).get_fdata()


def test_one_process_at_a_time_predicts_into_a_folder(plain, trained, tmp_path):
    first = predict_folder(plain, trained.images, tmp_path)
    next(first)
    with pytest.raises(InputError, match="must be written by one process at a time"):
        next(predict_folder(plain, trained.images, tmp_path))
    assert len(list(first)) == 1


def test_predictions_of_another_program_are_not_written_over(plain, trained, tmp_path):
    (tmp_path / "same.nii.gz").write_bytes(b"of nnUNetv2_predict")
    with pytest.raises(InputError, match=r"same.nii.gz exists already; pass --force to write over it"):
        list(predict_folder(plain, trained.images, tmp_path))
    assert (tmp_path / "same.nii.gz").read_bytes() == b"of nnUNetv2_predict"
    assert len(list(predict_folder(plain, trained.images, tmp_path, force=True))) == 2


def test_probabilities_of_an_older_prediction_do_not_stay_beside_another_segmentation(plain, trained, tmp_path):
    list(predict_folder(plain, trained.images, tmp_path, save_probabilities=True))
    plain.tile_step_size = 0.9
    list(predict_folder(plain, trained.images, tmp_path, force=True))
    assert not [*tmp_path.glob("*.npz"), *tmp_path.glob("*.pkl")]


def test_a_network_that_returns_nan_fails(plain, trained, tmp_path):
    weights = plain.list_of_parameters
    plain.list_of_parameters = [{name: torch.full_like(each, torch.nan) for name, each in weights[0].items()}]
    with pytest.raises(InputError, match=r"2 of 2 cases failed: .*probabilities must be numbers, got NaN"):
        list(predict_folder(plain, trained.images, tmp_path))
    assert not list(tmp_path.rglob("*.nii.gz"))


def channels(folder: Path, case: str, *numbers: int) -> None:
    """Writes channels of a case with these numbers: copies of those of "same"."""
    for place, number in enumerate(numbers):
        shutil.copy(folder / f"same_000{place % 2}.nii.gz", folder / f"{case}_{number:04}.nii.gz")


@pytest.mark.parametrize("numbers", [(0, 3), (1,), (1, 2), (0, 1, 2)])
def test_files_of_other_channels_are_refused_before_anything_is_predicted(plain, trained, tmp_path, numbers):
    images = shutil.copytree(trained.images, tmp_path / "images")
    channels(images, "z", *numbers)
    with pytest.raises(
        InputError, match=r"z must have a file for each channel of the training data \(.*, but has z_000"
    ):
        list(predict_folder(plain, images, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def broken_case(images: Path, kind: str) -> None:
    channels(images, "a", 0, 1)
    path = images / "a_0001.nii.gz"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    elif kind == "another shape":
        shutil.copy(images / "finer_0001.nii.gz", path)
    elif kind == "one channel":
        path.unlink()
    else:
        image = nib.Nifti1Image.from_filename(path)
        nib.save(nib.Nifti1Image(np.stack([image.get_fdata()] * 2, axis=-1), image.affine), path)


@pytest.mark.parametrize("kind", ["truncated", "another shape", "one channel", "four axes"])
def test_a_case_that_cannot_be_read_fails_alone(plain, trained, tmp_path, kind):
    images = shutil.copytree(trained.images, tmp_path / "images")
    (images / "._same_0000.nii.gz").write_bytes(b"macOS")
    broken_case(images, kind)
    with pytest.raises(InputError, match=r"1 of 3 cases failed: a; a: .*\w"):
        list(predict_folder(plain, images, tmp_path / "out"))
    written = sorted(path.name for path in (tmp_path / "out" / "variance").glob("*.nii.gz"))
    assert written == ["finer_var.nii.gz", "same_var.nii.gz"]


def test_a_finished_case_whose_image_breaks_fails_alone(plain, trained, tmp_path):
    images = shutil.copytree(trained.images, tmp_path / "images")
    channels(images, "a", 0, 1)
    assert len(list(predict_folder(plain, images, tmp_path / "out"))) == 3
    broken_case(images, "truncated")
    (tmp_path / "out" / "same.nii.gz").unlink()
    with pytest.raises(InputError, match=r"1 of 3 cases failed: a; a: .*a_0001\.nii\.gz is damaged"):
        list(predict_folder(plain, images, tmp_path / "out"))
    assert (tmp_path / "out" / "same.nii.gz").is_file()


@pytest.mark.parametrize("device", ["cuda", "gpu", "cuda:0", "xpu", "mps"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="cuda is there")
def test_a_device_that_is_not_there_is_refused_before_the_model_is_read(device):
    with pytest.raises(InputError, match=f"device must be one that torch can use here, cpu, got '{device}'"):
        load_predictor("no such", "2d", device=device)


def test_a_cascade_is_refused(trained, tmp_path, monkeypatch):
    folder = trained.models / "nnUNetTrainer__nnUNetPlans__2d"
    copy = shutil.copytree(folder, trained.models / "nnUNetTrainer__cascPlans__2d")
    plans = json.loads((copy / "plans.json").read_text())
    plans["configurations"]["2d"]["previous_stage"] = "2d_low"
    (copy / "plans.json").write_text(json.dumps(plans))
    try:
        with pytest.raises(InputError, match="also takes the segmentation of 2d_low; give a model trained with 2d"):
            load_predictor("101", "2d", plans="cascPlans", device="cpu")
    finally:
        shutil.rmtree(copy)


@pytest.mark.parametrize("views", [None, Views.rigid((32, 32)), 3])
def test_views_that_are_no_function_of_the_size_are_refused(views):
    with pytest.raises(TypeError, match=r"views must be a function of the size \(H, W\), such as Views.factory"):
        ViewsPredictor(views)


def test_folds_may_be_named_by_one_text(trained):
    with redirect_stdout(io.StringIO()):
        assert len(load_predictor("101", "2d", device="cpu", folds="0").list_of_parameters) == 1
    with pytest.raises(InputError, match="of fold all, but has it of 0"):
        load_predictor("101", "2d", device="cpu", folds="all")
