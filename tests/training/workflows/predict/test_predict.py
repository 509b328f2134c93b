"""Prediction: the maps against a loop over views, the files it writes, and inputs that it refuses."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from skimage.filters import threshold_otsu
from training_helpers import changed, read

from spuproj.training.data.case import load_case
from spuproj.training.inference.case_prediction import view_probabilities
from spuproj.training.models.config import make_views
from spuproj.training.models.method import Method
from spuproj.training.models.network import make_network
from spuproj.training.models.run import load_run, save_run
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict
from spuproj.wrapping import blend, blending_weights

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("prob", "seg", "var", "entropy", "mi")
MAPS = [f"{target}_{kind}" for target in ("ET", "TC", "WT") for kind in KINDS]
UNCERTAINTIES = {"WT": "unc_whole", "TC": "unc_core", "ET": "unc_enhance"}
PAGES = {"Phantom_002_report.html", "Phantom_002_summary.json", "Phantom_002.png"}
MERGED = ["labels", *UNCERTAINTIES.values()]


@pytest.fixture(scope="module")
def predicted(one_thread, cohort, models, tmp_path_factory) -> tuple[list[Path], Path]:
    """What all three models make of the second case, and the folder."""
    out = tmp_path_factory.mktemp("predicted") / "new"
    return predict([models["WT"], models["ET"], models["TC"]], cohort[1], out), out


def brain(folder: Path) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_filename(folder / f"{folder.name}_t1.nii.gz").dataobj) != 0


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_three_models_write_the_documented_files_and_return_them(predicted):
    written, out = predicted
    expected = {f"Phantom_002_{kind}.nii.gz" for kind in (*MAPS, *MERGED)} | {"Phantom_002.nii.gz"} | PAGES
    assert {path.name for path in out.iterdir()} == expected
    assert sorted(written) == sorted(out.iterdir())
    assert written[-1].name == "Phantom_002.png"


def test_one_model_writes_no_merged_labels(cohort, models, tmp_path, no_picture):
    predict([models["TC"]], cohort[1], tmp_path)
    expected = {f"Phantom_002_TC_{kind}.nii.gz" for kind in KINDS} | PAGES
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("kind", [*MAPS, *MERGED])
def test_a_map_has_shape_and_affine_of_the_input_and_its_own_dtype(predicted, cohort, kind):
    image = nib.Nifti1Image.from_filename(predicted[1] / f"Phantom_002_{kind}.nii.gz")
    like = nib.Nifti1Image.from_filename(cohort[1] / "Phantom_002_t1.nii.gz")
    assert image.shape == like.shape
    np.testing.assert_array_equal(image.affine, like.affine)
    assert image.header.get_xyzt_units() == like.header.get_xyzt_units()
    assert image.get_data_dtype() == (np.uint8 if kind.endswith("seg") or kind in MERGED else np.float32)


def test_a_submission_holds_the_label_map_and_the_uncertainties_in_percent(predicted):
    _, out = predicted
    submitted = np.asarray(nib.Nifti1Image.from_filename(out / "Phantom_002.nii.gz").dataobj)
    np.testing.assert_array_equal(submitted, read(out, "labels"))
    for target, kind in UNCERTAINTIES.items():
        np.testing.assert_array_equal(read(out, kind), np.rint(100 * read(out, f"{target}_var").astype(float) / 0.25))
        assert 0 < read(out, kind).max() <= 100


def test_the_merged_map_is_in_the_scheme_of_the_case(cohort, models, tmp_path, no_picture):
    case = tmp_path / "Phantom_002"
    case.mkdir()
    for old, new in (("t1", "t1n"), ("t1ce", "t1c"), ("t2", "t2w"), ("flair", "t2f")):
        shutil.copy(cohort[1] / f"Phantom_002_{old}.nii.gz", case / f"Phantom_002-{new}.nii.gz")
    predict(list(models.values()), case, tmp_path / "out")
    labels, enhancing = read(tmp_path / "out", "labels"), read(tmp_path / "out", "ET_seg")
    assert set(np.unique(labels)) <= {0, 1, 2, 3}
    np.testing.assert_array_equal(labels == 3, enhancing == 1)


@pytest.mark.parametrize("target", ["ET", "TC", "WT"])
def test_maps_lie_in_their_ranges_and_are_zero_outside_the_brain(predicted, cohort, target):
    probability, segmentation, variance, entropy, shared = (read(predicted[1], f"{target}_{kind}") for kind in KINDS)
    inside = brain(cohort[1])
    for values, highest in (
        (probability, 1),
        (variance, 0.25),
        (entropy, np.log(2) + 1e-6),
        (shared, np.log(2) + 1e-6),
    ):
        assert values.min() >= 0
        assert values.max() <= highest
        assert np.ptp(values[inside]) > 0.001
    for values in (probability, segmentation, variance, entropy):
        assert (values[~inside] == 0).all()
    np.testing.assert_array_equal(segmentation, probability > 0.5)
    assert 0 < segmentation.sum() < inside.sum()


def test_the_entropy_is_that_of_the_probability(predicted):
    probability = read(predicted[1], "WT_prob").astype(np.float64)
    expected = scipy_entropy(np.stack([probability, 1 - probability]))
    np.testing.assert_allclose(read(predicted[1], "WT_entropy"), expected, atol=1e-6)


def test_the_merged_map_is_painted_from_the_outside_in(predicted):
    _, out = predicted
    expected = np.zeros((30, 30, 19))
    for target, label in (("WT", 2), ("TC", 1), ("ET", 4)):
        expected[read(out, f"{target}_seg") > 0] = label
    merged = read(out, "labels")
    np.testing.assert_array_equal(merged, expected)
    assert set(np.unique(merged)) == {0, 1, 2, 4}


def test_the_outer_targets_include_the_inner_ones(predicted):
    _, out = predicted
    for outer, inner in (("WT", "TC"), ("TC", "ET")):
        for kind in ("prob", "seg"):
            assert (read(out, f"{outer}_{kind}") >= read(out, f"{inner}_{kind}")).all()
    labels = read(out, "labels")
    for target, values in (("WT", (1, 2, 4)), ("TC", (1, 4)), ("ET", (4,))):
        np.testing.assert_array_equal(np.isin(labels, values), read(out, f"{target}_seg") > 0)


def test_an_outer_target_is_its_own_model_where_no_inner_one_is_more_probable(predicted, cohort, models, tmp_path):
    _, out = predicted
    predict([models["WT"]], cohort[1], tmp_path)
    alone, inner = read(tmp_path, "WT_prob"), read(out, "TC_prob")
    assert 0 < (inner > alone).mean() < 0.5
    for kind in KINDS[:1] + KINDS[2:]:
        expected = np.where(inner > alone, read(out, f"TC_{kind}"), read(tmp_path, f"WT_{kind}"))
        np.testing.assert_array_equal(read(out, f"WT_{kind}"), expected)


def test_the_maps_are_the_reduction_of_every_slice(predicted, cohort, models):
    config, network = load_run(models["ET"])
    case = load_case(cohort[1], clip=config.clip)
    views = make_views(config, (30, 30))
    with torch.inference_mode():
        seen = view_probabilities(network, views, torch.from_numpy(case.image))
        weights = blending_weights(views)
        mean, variance, _ = blend(views, seen, weights)
        shown = views.unproject(seen)[:, :, 0].numpy()
    own = np.average(
        scipy_entropy([shown, 1 - shown], axis=0), weights=weights.numpy()[None].repeat(len(shown), 0), axis=1
    )
    shared = (scipy_entropy(torch.cat([mean, 1 - mean], 1).numpy(), axis=1) - own).clip(0)[:, None]
    for kind, expected in (("prob", mean), ("var", variance), ("mi", torch.from_numpy(shared))):
        slices = read(predicted[1], f"ET_{kind}").transpose(2, 1, 0)
        np.testing.assert_allclose(slices, np.where(case.brain, expected[:, 0].numpy(), 0), atol=1e-5)


@pytest.mark.parametrize("codes", ["RAS", "PIR"])
def test_another_storage_order_gives_the_same_maps(predicted, cohort, models, tmp_path, no_picture, codes):
    folder = tmp_path / "turned" / "Phantom_002"
    folder.mkdir(parents=True)
    for path in cohort[1].iterdir():
        image = nib.Nifti1Image.from_filename(path)
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
        nib.save(image.as_reoriented(turn), folder / path.name)
    predict([models["ET"]], folder, tmp_path / "out")
    like = nib.Nifti1Image.from_filename(folder / "Phantom_002_t1.nii.gz")
    for kind in KINDS:
        image, original = (
            nib.Nifti1Image.from_filename(out / f"Phantom_002_ET_{kind}.nii.gz")
            for out in (tmp_path / "out", predicted[1])
        )
        assert image.shape == like.shape
        np.testing.assert_allclose(image.affine, like.affine)
        back = image.as_reoriented(
            nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.io_orientation(original.affine))
        )
        np.testing.assert_allclose(back.affine, original.affine, atol=1e-4)
        np.testing.assert_allclose(np.asarray(back.dataobj), np.asarray(original.dataobj), atol=1e-5)


def test_a_case_of_another_resolution_is_predicted_on_its_own_voxels(fine_case, models, tmp_path, no_picture):
    predict([models["WT"]], fine_case, tmp_path)
    probability = read(tmp_path, "WT_prob", "Phantom_001")
    assert probability.shape == (60, 60, 39)
    assert np.ptp(probability[brain(fine_case)]) > 0.01
    assert (probability[~brain(fine_case)] == 0).all()


def test_a_case_without_segmentation_is_predicted(cohort, models, tmp_path, no_picture):
    folder = tmp_path / "Phantom_002"
    shutil.copytree(cohort[1], folder)
    (folder / "Phantom_002_seg.nii.gz").unlink()
    predict([models["WT"]], folder, tmp_path / "out")
    assert (tmp_path / "out" / "Phantom_002_WT_prob.nii.gz").is_file()


def test_the_truth_is_handed_to_the_picture_only_where_there_is_one(cohort, models, tmp_path, monkeypatch):
    truths = []

    def keep(case, predictions, config, path, truth):
        truths.append(truth)
        return path

    monkeypatch.setattr("spuproj.training.workflows.write_prediction.case_figure", keep)
    bare = tmp_path / "Phantom_002"
    shutil.copytree(cohort[1], bare, ignore=shutil.ignore_patterns("*_seg*"))
    for number, folder in enumerate((cohort[1], bare)):
        predict([models["TC"]], folder, tmp_path / str(number))
    assert truths[1] is None
    labels = np.asarray(nib.Nifti1Image.from_filename(cohort[1] / "Phantom_002_seg.nii.gz").dataobj).transpose(2, 1, 0)
    assert list(truths[0]) == ["TC"]
    np.testing.assert_array_equal(truths[0]["TC"], np.isin(labels, (1, 4)))


def test_two_models_of_one_target_are_an_error(cohort, models, tmp_path):
    with pytest.raises(InputError, match="models must be of different targets, got WT, WT"):
        predict([models["WT"], models["WT"]], cohort[1], tmp_path)


def test_no_model_is_an_error(cohort, tmp_path):
    with pytest.raises(InputError, match="models must be of different targets, got none"):
        predict([], cohort[1], tmp_path)


def test_models_of_other_modalities_are_an_error(cohort, models, tmp_path):
    config = replace(load_run(models["ET"])[0], modalities=("t1", "t2"))
    save_run(tmp_path / "other", config, make_network(config))
    with pytest.raises(InputError, match=r"models must take the same modalities, got .*; \('t1', 't2'\)"):
        predict([models["WT"], tmp_path / "other"], cohort[1], tmp_path)


def test_a_model_of_fewer_modalities_needs_no_others(cohort, models, tmp_path, no_picture):
    config = replace(load_run(models["ET"])[0], modalities=("t2",))
    save_run(tmp_path / "model", config, make_network(config))
    folder = tmp_path / "Phantom_002"
    shutil.copytree(cohort[1], folder, ignore=shutil.ignore_patterns("*_t1*", "*_flair*"))
    predict([tmp_path / "model"], folder, tmp_path / "out")
    assert (tmp_path / "out" / "Phantom_002_ET_prob.nii.gz").is_file()


def test_a_case_of_another_field_of_view_than_the_models_is_predicted_on_its_own_grid(cohort, models, tmp_path):
    model = changed(models["WT"], tmp_path / "model", field=[240.0, 200.0])
    predict([model], cohort[1], tmp_path / "out")
    found = nib.Nifti1Image.from_filename(tmp_path / "out" / "Phantom_002_WT_prob.nii.gz")
    source = nib.Nifti1Image.from_filename(cohort[1] / "Phantom_002_t1.nii.gz")
    assert found.shape == source.shape
    np.testing.assert_array_equal(found.affine, source.affine)


@pytest.mark.parametrize("name", ["Phantom_002.png", "Phantom_002_WT_var.nii.gz"])
def test_existing_outputs_are_refused_and_nothing_changes(cohort, models, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=rf"{name} exists already; pass --force"):
        predict([models["WT"]], cohort[1], tmp_path)
    assert contents(tmp_path) == {name: b"mine"}


def test_existing_outputs_are_replaced_with_force(cohort, models, tmp_path, no_picture):
    (tmp_path / "Phantom_002_WT_var.nii.gz").write_text("mine")
    predict([models["WT"]], cohort[1], tmp_path, force=True)
    assert read(tmp_path, "WT_var").shape == (30, 30, 19)


def test_a_failure_midway_leaves_nothing(cohort, models, tmp_path, no_picture, monkeypatch):
    save = nib.save
    saved: list[Path] = []

    def fail_at_the_third(image, path):
        if len(saved) == 2:
            Path(path).write_bytes(b"half")
            raise OSError("disk full")
        saved.append(path)
        save(image, path)

    monkeypatch.setattr(nib, "save", fail_at_the_third)
    with pytest.raises(OSError, match="disk full"):
        predict([models["WT"]], cohort[1], tmp_path)
    assert contents(tmp_path) == {}


def test_a_failing_network_leaves_nothing(cohort, models, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken network")

    monkeypatch.setattr("spuproj.training.inference.case_prediction.view_probabilities", fail)
    with pytest.raises(RuntimeError, match="broken network"):
        predict([models["WT"]], cohort[1], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def with_members(one_thread, cohort, models, tmp_path_factory) -> tuple[Path, Path]:
    """A case turned to another storage order, and its outputs by views that show a part of the slice each."""
    folder = tmp_path_factory.mktemp("turned") / "Phantom_002"
    folder.mkdir()
    for path in cohort[1].iterdir():
        image = nib.Nifti1Image.from_filename(path)
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("PIR"))
        nib.save(image.as_reoriented(turn), folder / path.name)
    config, network = load_run(models["WT"])
    model = folder.parent / "model"
    parts = Spherical(grid=(2, 2), radius=2.0, magnification=1.8)
    save_run(model, replace(config, method=Method("parts", parts, channels=(4, 8))), network)
    predict([model], folder, folder.parent / "out", maps=("prob", "var", "members"))
    return folder, folder.parent / "out"


def test_members_are_four_axes_on_the_grid_of_the_input(with_members):
    folder, out = with_members
    image, like = (
        nib.Nifti1Image.from_filename(out / "Phantom_002_WT_members.nii.gz"),
        nib.Nifti1Image.from_filename(folder / "Phantom_002_t1.nii.gz"),
    )
    assert image.shape == (*like.shape, 4)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.affine, like.affine)


def test_mean_and_variance_of_the_members_are_those_of_the_maps(with_members):
    folder, out = with_members
    each = read(out, "WT_members").astype(np.float64)
    seen = np.isfinite(each).any(axis=-1)
    assert 0 < np.isnan(each).mean() < 1
    assert 0 < seen.mean() < 1
    views = make_views(load_run(folder.parent / "model")[0], (30, 30))
    # Slices are [y, x] with x to the left; the file is stored with its axes to the back, to the feet and to the right.
    weights = blending_weights(views).permute(1, 2, 0).flip(1)[:, None].double().numpy() * np.isfinite(each)
    count = weights.sum(axis=-1)
    mean = (weights * np.nan_to_num(each)).sum(axis=-1) / np.maximum(count, 1e-9)
    variance = (weights * (np.nan_to_num(each) - mean[..., None]) ** 2).sum(axis=-1) / np.maximum(count, 1e-9)
    known = seen & (count >= 2)
    assert 0 < known.sum() < seen.sum()
    np.testing.assert_allclose(read(out, "WT_prob")[seen], mean[seen], atol=1e-6)
    np.testing.assert_allclose(read(out, "WT_var")[known], variance[known], atol=1e-6)
    assert (read(out, "WT_prob")[~seen] == 0).all()


def test_otsu_changes_the_segmentation_alone(predicted, cohort, models, tmp_path, no_picture):
    predict([models["ET"]], cohort[1], tmp_path, aggregation="otsu")
    inside, probability = brain(cohort[1]), read(tmp_path, "ET_prob")
    np.testing.assert_array_equal(probability, read(predicted[1], "ET_prob"))
    expected = (probability > threshold_otsu(probability[inside])) & inside
    np.testing.assert_array_equal(read(tmp_path, "ET_seg"), expected)
    assert (expected != (probability > 0.5)).any()


def test_an_unknown_aggregation_is_an_error_before_anything_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"aggregation must be one of .*mean.*otsu.*, got 'median'"):
        predict([tmp_path / "none"], tmp_path / "none", tmp_path / "out", aggregation="median")


def test_a_target_of_ones_own_is_drawn_and_reported(cohort, models, tmp_path):
    predict([changed(models["WT"], tmp_path / "model", target="lesion")], cohort[1], tmp_path / "out")
    assert (tmp_path / "out" / "Phantom_002.png").read_bytes().startswith(b"\x89PNG")
    assert "lesion uncertainty" in (tmp_path / "out" / "Phantom_002_report.html").read_text()
