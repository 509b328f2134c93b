"""A model that nnU-Net has planned and trained predicts through views: segmentation, probability and variance."""

from __future__ import annotations

import io
import itertools
import json
import multiprocessing
import re
import runpy
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder2
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import nn

from helpers import ROOT
from spuproj import Views, wrap
from spuproj.nnunet import ViewsPredictor, load_predictor, make_views, nnUNetTrainerSPU
from spuproj.training.runtime.errors import InputError
from spuproj.wrapping import blending_weights
from spuproj_cli import entry

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")


def command(*arguments: object) -> tuple[object, str]:
    """Runs ``spuproj nnunet-predict``; returns its status or error, and what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed), redirect_stderr(io.StringIO()):
        patch.setattr(sys, "argv", ["spuproj", "nnunet-predict", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            entry.main()
    return end.value.code, printed.getvalue()


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory) -> SimpleNamespace:
    """What the command wrote and printed for both folds of the trained model."""
    out = tmp_path_factory.mktemp("out") / "new"
    options = ("-i", trained.images, "-o", out, "-d", 101, "-c", "2d", "-tr", trained.trainer)
    status, printed = command(*options, "-f", 0, 1, "--save_probabilities", "-device", "cpu")
    assert status == 0, status
    return SimpleNamespace(out=out, printed=printed, options=options, **vars(trained))


def network_output(predictor: ViewsPredictor, view: torch.Tensor) -> torch.Tensor:
    """Logits ``[K, h, w]`` of a view as large as the patch: the mean over folds and flips."""
    outputs = []
    for weights in predictor.list_of_parameters:
        predictor.network.load_state_dict(weights)
        predictor.network.eval()
        for axes in itertools.chain([()], [(1,), (2,)], [(1, 2)]):
            outputs.append(predictor.network(view.flip(axes)[None])[0].flip(axes))
    return torch.stack(outputs).mean(dim=0)


def expected_moments(predictor: ViewsPredictor, slices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance ``[K, Z, H, W]`` of slices ``[C, Z, H, W]``, from one view of one slice at a time."""
    patch = predictor.configuration_manager.patch_size
    missing = [wanted - there for wanted, there in zip(patch, slices.shape[-2:], strict=True)]
    assert min(missing) >= 0
    before = [each // 2 for each in missing]
    around = [(there, each - there) for there, each in zip(before, missing, strict=True)]
    padded = torch.from_numpy(np.pad(slices, [(0, 0), (0, 0), *around]))
    views = make_views(patch)
    weights = blending_weights(views).double().numpy()[:, None]
    moments = []
    for number in range(padded.shape[1]):
        with torch.inference_mode():
            stack = torch.stack([network_output(predictor, view) for view in views.project(padded[:, number])])
        found = views.unproject(stack.softmax(dim=1)).double().numpy()
        mean = (weights * found).sum(axis=0) / weights.sum(axis=0)
        moments.append((mean, (weights * (found - mean) ** 2).sum(axis=0) / weights.sum(axis=0)))
    height, width = (slice(start, start + side) for start, side in zip(before, slices.shape[-2:], strict=True))
    mean, variance = np.moveaxis(np.array(moments), 0, 2)[..., height, width]
    return mean, variance


def voxels(path: Path) -> np.ndarray:
    """In nnU-Net's axes (z, y, x)."""
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj).T


def test_the_files_hold_mean_and_variance_over_views(predicted):
    with redirect_stdout(io.StringIO()):
        predictor = load_predictor("101", "2d", trainer=predicted.trainer, folds=["0", "1"], device="cpu")
        files = [str(predicted.images / f"same_000{channel}.nii.gz") for channel in (0, 1)]
        data, _, properties = predictor.configuration_manager.preprocessor_class(verbose=False).run_case(
            files, None, predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
        )
    mean, variance = expected_moments(predictor, data)
    inside = tuple(slice(*bounds) for bounds in properties["bbox_used_for_cropping"])
    # nnU-Net adds windows up in 16 bits.
    with np.load(predicted.out / "same.npz") as saved:
        probabilities = saved["probabilities"]
    np.testing.assert_allclose(probabilities[(slice(None), *inside)], mean, atol=2e-3)
    segmentation = voxels(predicted.out / "same.nii.gz")
    first, second = np.sort(mean, axis=0)[[-1, -2]]
    clear = first - second > 4e-3
    assert clear.mean() > 0.5
    assert np.array_equal(segmentation[inside][clear], mean.argmax(axis=0)[clear])
    written = voxels(predicted.out / "variance" / "same_var.nii.gz")
    assert variance.max() > 1e-3
    np.testing.assert_allclose(written[inside], variance.max(axis=0), atol=2e-4)
    outside = np.ones(segmentation.shape, bool)
    outside[inside] = False
    assert outside.any()
    assert not segmentation[outside].any()
    assert not written[outside].any()


@pytest.mark.parametrize("case", ["same", "finer"])
def test_maps_are_on_the_grid_of_the_image(predicted, case):
    image = nib.Nifti1Image.from_filename(predicted.images / f"{case}_0000.nii.gz")
    segmentation = nib.Nifti1Image.from_filename(predicted.out / f"{case}.nii.gz")
    variance = nib.Nifti1Image.from_filename(predicted.out / "variance" / f"{case}_var.nii.gz")
    for saved in (segmentation, variance):
        assert saved.shape == image.shape
        np.testing.assert_allclose(saved.affine, image.affine, atol=1e-5)
    assert set(np.unique(segmentation.dataobj)) <= {0, 1, 2}
    values = np.asarray(variance.dataobj)
    assert values.dtype == np.float32
    assert 0 <= values.min() < values.max() <= 0.25


def test_the_command_prints_the_variance_maps_alone(predicted):
    assert predicted.printed.splitlines() == [
        str(predicted.out / "variance" / f"{case}_var.nii.gz") for case in ("finer", "same")
    ]


def test_nnunets_evaluation_reads_the_segmentations(predicted, monkeypatch, tmp_path):
    monkeypatch.setattr(multiprocessing, "get_context", lambda kind: SimpleNamespace(Pool=ThreadPool))
    about = [str(predicted.out / name) for name in ("dataset.json", "plans.json")]
    summary = tmp_path / "summary.json"
    compute_metrics_on_folder2(str(predicted.truth), str(predicted.out), *about, str(summary), num_processes=1)
    assert len(json.loads(summary.read_text())["metric_per_case"]) == 2


@pytest.fixture
def fold_one(predicted, tmp_path) -> SimpleNamespace:
    """What the command wrote for fold 1 without mirroring, to be changed by one test."""
    options = (*predicted.options, "-o", tmp_path / "fold_one", "-device", "cpu")
    status, _ = command(*options, "-f", 1, "--disable_tta")
    assert status == 0, status
    return SimpleNamespace(out=tmp_path / "fold_one", images=predicted.images, options=options)


def test_finished_cases_are_left_alone_unless_forced(predicted, tmp_path):
    out = shutil.copytree(predicted.out, tmp_path / "out")
    options = (*predicted.options, "-o", out, "-device", "cpu")
    written = out / "same.nii.gz"
    written.write_bytes(b"mine")
    assert command(*options, "-f", 0, "-f", 1) == (0, "")
    assert written.read_bytes() == b"mine"
    status, printed = command(*options, "-f", 1, "--force", "--disable_tta")
    assert (status, len(printed.splitlines())) == (0, 2)
    assert voxels(written).max() <= 2


def test_a_case_without_its_segmentation_is_not_finished(fold_one):
    (fold_one.out / "same.nii.gz").unlink()
    status, printed = command(*fold_one.options, "-f", 1, "--disable_tta")
    assert (status, [Path(line).name for line in printed.splitlines()]) == (0, ["same_var.nii.gz"])
    assert (fold_one.out / "same.nii.gz").is_file()


def test_predictions_of_other_images_models_views_or_settings_are_refused(fold_one, tmp_path):
    images = shutil.copytree(fold_one.images, tmp_path / "images")
    shutil.copy(images / "finer_0000.nii.gz", images / "same_0000.nii.gz")
    before = {path: path.read_bytes() for path in fold_one.out.rglob("*") if path.is_file()}
    status, _ = command(*fold_one.options, "-i", images, "-f", 1, "--disable_tta")
    assert "must hold no predictions with other images, but holds those of same" in str(status)
    status, _ = command(*fold_one.options, "-f", 0, "--disable_tta")
    assert "must hold no predictions with other models, but holds those of " in str(status)
    status, _ = command(*fold_one.options, "-f", 1)
    assert "must hold no predictions with other mirroring, but holds those of " in str(status)
    assert {path: path.read_bytes() for path in fold_one.out.rglob("*") if path.is_file()} == before


def test_the_order_of_folds_makes_no_other_model(predicted, tmp_path):
    options = (*predicted.options, "-o", tmp_path, "--disable_tta", "-device", "cpu")
    assert command(*options, "-f", 0, 1)[0] == 0
    assert command(*options, "-f", 1, 0) == (0, "")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_that_would_run_code_is_refused(trained, tmp_path):
    folder = trained.models / "nnUNetTrainer__nnUNetPlans__2d"
    state = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=False)
    torch.save({**state, "logging": Trap(tmp_path / "sprung")}, folder / "fold_0" / "trap.pth")
    with pytest.raises(InputError, match=r"trap\.pth must hold tensors and numbers alone"):
        load_predictor("101", "2d", device="cpu", checkpoint="trap.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("checkpoint", ["../fold_0/checkpoint_final.pth", "../../../evil.pth"])
def test_a_checkpoint_elsewhere_is_refused(trained, checkpoint):
    with pytest.raises(InputError, match=r"leads out of it|but has it of none"):
        load_predictor("101", "2d", device="cpu", checkpoint=checkpoint)


def test_a_model_of_nnunets_own_trainer_predicts(plain):
    assert plain.trainer_name == "nnUNetTrainer"
    data = torch.randn(2, 1, 40, 36, generator=torch.Generator().manual_seed(0))
    mean, variance = plain.predict_moments(data)
    assert mean.shape == variance.shape == (3, 1, 40, 36)
    torch.testing.assert_close(mean.sum(dim=0), torch.ones(1, 40, 36))
    assert 0 <= variance.min() < variance.max() <= 0.25


def each_pixel(predictor: ViewsPredictor) -> torch.nn.Module:
    """Gives the predictor a network that looks at each pixel alone, so that windows make no difference."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(2, 3, 1)
    predictor.network, predictor.list_of_parameters = network, [network.state_dict()]
    return network


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("size", [(70, 61), (25, 61), (30, 20)])
def test_slices_of_any_size_are_seen_as_a_whole(plain, size, regions):
    network = each_pixel(plain)
    if regions:
        plain.label_manager = LabelManager({"background": 0, "a": [1, 2, 3], "b": [2, 3], "c": [3]}, [1, 2, 3])
    data = torch.randn(2, 10, *size, generator=torch.Generator().manual_seed(1))
    mean, variance = plain.predict_moments(data)
    patch = plain.configuration_manager.patch_size
    missing = [max(wanted - there, 0) for wanted, there in zip(patch, size, strict=True)]
    top, left = (each // 2 for each in missing)
    padded = torch.nn.functional.pad(data, (left, missing[1] - left, top, missing[0] - top)).transpose(0, 1)
    views = make_views(padded.shape[-2:])
    with torch.inference_mode():
        logits = network(views.project(padded).flatten(0, 1)).unflatten(0, (10, 9))
        seen = logits.sigmoid() if regions else logits.softmax(dim=2)
    weights = blending_weights(views)
    whole = [part.transpose(0, 1)[..., top : top + size[0], left : left + size[1]] for part in
             views.reduce(seen, weights=weights)[:2]]  # fmt: skip
    torch.testing.assert_close(mean, whole[0], atol=2e-3, rtol=0)
    torch.testing.assert_close(variance, whole[1], atol=1e-3, rtol=0)
    back = plain.label_manager.apply_inference_nonlin(plain.as_logits(mean))
    torch.testing.assert_close(back, mean, atol=1e-6, rtol=0)


def test_certain_probabilities_have_finite_logits(plain):
    certain = torch.tensor([1.0, 0.0, 0.0])[:, None, None, None]
    logits = plain.as_logits(certain)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits.softmax(dim=0), certain, atol=1e-6, rtol=0)


def test_a_pixel_that_no_view_shows_is_background_without_a_variance(plain):
    each_pixel(plain)
    plain.views = lambda size: Views.zoom(size, centers=[(10, 10)], factor=3)
    mean, variance = plain.predict_moments(torch.randn(2, 1, 40, 36))
    assert mean[:, 0, -1, -1].tolist() == [1, 0, 0]
    assert variance[:, 0, -1, -1].isnan().all()
    # One view alone cannot disagree.
    assert variance.isnan().all()


def test_where_too_few_views_show_a_pixel_it_has_no_variance(plain):
    each_pixel(plain)
    plain.views = Views.factory("zoom", grid=(2, 2), factor=1.6)
    size = tuple(plain.configuration_manager.patch_size)
    mean, variance = plain.predict_moments(torch.randn(2, 1, *size))
    views = plain.views(size)
    wrapped = wrap(nn.Conv2d(2, 3, 1), views, "softmax")(torch.zeros(1, 2, *size))
    assert 0 < wrapped.variance.isnan().float().mean() < 1
    assert torch.equal(variance.isnan().transpose(0, 1), wrapped.variance.isnan())
    assert mean.isfinite().all()


def test_nnunet_finds_the_trainer_in_the_folder(trained):
    with redirect_stdout(io.StringIO()):
        assert recursive_find_trainer_class_by_name("nnUNetTrainerSPU") is nnUNetTrainerSPU


def test_the_example_prints_the_variance_of_each_case(trained, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["nnunet_variance.py", str(trained.images), str(tmp_path), "101"])
    with redirect_stdout(io.StringIO()) as printed:
        runpy.run_path(str(ROOT / "examples" / "nnunet_variance.py"))
    variance = nib.Nifti1Image.from_filename(tmp_path / "variance" / "same_var.nii.gz").get_fdata()
    found = nib.Nifti1Image.from_filename(tmp_path / "same.nii.gz").get_fdata() > 0
    # A network that was trained so shortly may segment nothing.
    mean = variance[found].mean() if found.any() else 0.0
    assert f"{found.sum()} voxels are segmented, with a mean variance of {mean:.5f}" in printed.getvalue()


def test_the_command_in_the_documents_runs(trained, tmp_path):
    text = (ROOT / "docs" / "how-to" / "nnunet.md").read_text()
    (shown,) = re.findall(r"^    spuproj nnunet-predict (.* -c 2d)$", text, re.MULTILINE)
    options = [{"IMAGES": trained.images, "OUT": tmp_path}.get(word, word) for word in shown.split()]
    assert command(*options, "--disable_tta")[0] == 0
    assert (tmp_path / "variance" / "same_var.nii.gz").is_file()


def refusals(trained, out: Path) -> dict[str, tuple[tuple[object, ...], str]]:
    """Options, and what the error must say."""
    options = ("-i", trained.images, "-o", out, "-d", 101)
    name = trained.models.name
    return {
        "trainer": ((*options, "-tr", "nnUNetTrainerOther"), "there is none; trained on this data set"),
        "fold": ((*options, "-f", 3), "must have checkpoint_final.pth of fold 3, but has it of 0"),
        "checkpoint": ((*options, "-chk", "best.pth"), "must have best.pth of fold"),
        "3d": ((*options, "-c", "3d_fullres"), "must be a 2-D model"),
        "images": (("-i", out / "none", "-o", out, "-d", name), "must be a folder of images with nnU-Net's names"),
        "data set": (("-i", out, "-o", out, "-d", 77), "Could not find a dataset with the ID 77"),
    }


@pytest.mark.parametrize("case", ["trainer", "fold", "checkpoint", "3d", "images", "data set"])
def test_what_cannot_be_predicted_is_named(trained, tmp_path, case):
    other = trained.models / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    shutil.copytree(trained.models / "nnUNetTrainer__nnUNetPlans__2d", other, dirs_exist_ok=True)
    options, message = refusals(trained, tmp_path)[case]
    status, _ = command(*options, "-device", "cpu")
    assert str(status).startswith("error: ")
    assert message in str(status)


def test_a_missing_channel_is_named(trained, tmp_path):
    shutil.copy(trained.images / "same_0000.nii.gz", tmp_path / "alone_0000.nii.gz")
    status, _ = command("-i", tmp_path, "-o", tmp_path / "out", "-d", 101, "-device", "cpu")
    assert "alone must have the 2 channels of the training data (T1, FLAIR), but has 1" in str(status)


def test_nnunet_results_must_be_set(trained, tmp_path, monkeypatch):
    monkeypatch.delenv("nnUNet_results")
    status, _ = command("-i", tmp_path, "-o", tmp_path, "-d", 101)
    assert str(status).startswith("error: nnUNet_results must name the folder of nnU-Net's trained models")


def test_words_that_are_no_option_are_refused(tmp_path):
    assert command("-i", tmp_path, "-o", tmp_path, "-d", 101, "word")[0] == 2


def test_without_nnunet_the_command_names_the_extra(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("spuproj.nnunet")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("spuproj.nnunet", raising=False)
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    status, _ = command("-i", tmp_path, "-o", tmp_path, "-d", 101)
    assert 'pip install "spuproj[nnunet]"' in str(status)
