"""Predictions belong to the images that they were made of: those of other images do not count as finished."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.content import content_hash, source_files
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows import write_prediction as predicting
from spuproj.training.workflows.predict import predict, predict_cohort

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

MODALITIES = ("t1", "t1ce", "t2", "flair")


@pytest.fixture
def data(cohort, tmp_path) -> Path:
    """Two cases, with brain masks and an image that no model takes, in a manifest."""
    cases = []
    for source in cohort[1:]:
        folder = tmp_path / "data" / source.name
        shutil.copytree(source, folder)
        flair = nib.Nifti1Image.from_filename(folder / f"{source.name}_flair.nii.gz")
        nib.save(nib.Nifti1Image((flair.get_fdata() > 0).astype(np.uint8), flair.affine), folder / "mask.nii.gz")
        shutil.copy(folder / f"{source.name}_t2.nii.gz", folder / "adc.nii.gz")
        images = {name: f"{folder}/{source.name}_{name}.nii.gz" for name in MODALITIES} | {
            "adc": f"{folder}/adc.nii.gz"
        }
        cases.append({"name": source.name, "images": images, "mask": f"{folder}/mask.nii.gz"})
    (tmp_path / "set.json").write_text(json.dumps({"labels": "brats2020", "cases": cases}))
    return tmp_path / "set.json"


def change(data: Path, file: str) -> None:
    """Sets a voxel of an image of the first case to another value."""
    path = next(data.parent.glob(f"data/Phantom_002/*{file}.nii.gz"))
    image = nib.Nifti1Image.from_filename(path)
    voxels = np.asarray(image.dataobj).copy()
    where = np.argwhere(voxels > 0)[0]
    voxels[tuple(where)] = 0
    nib.save(nib.Nifti1Image(voxels, image.affine, image.header), path)


@pytest.mark.parametrize(
    ("file", "words"),
    [("_t1", "of other images (t1)"), ("_flair", "of other images (flair)"), ("mask", "with another brain mask")],
)
def test_maps_of_other_images_fail_their_case_and_with_force_go(spuproj, data, models, tmp_path, file, words):
    out = tmp_path / "out"
    assert predict_cohort([models["WT"]], data, out).predicted == ["Phantom_002", "Phantom_003"]
    change(data, file)
    before = {path: path.read_bytes() for path in out.glob("Phantom*")}
    outcome = predict_cohort([models["WT"]], data, out)
    assert (outcome.predicted, outcome.skipped) == ([], ["Phantom_003"])
    assert outcome.failed == {
        "Phantom_002": f"{out} must hold no predictions {words}, but holds those of Phantom_002; choose another "
        "folder, remove its files there, or pass --force to write over them"
    }
    assert {path: path.read_bytes() for path in out.glob("Phantom*")} == before
    arguments = ("--model", models["WT"], "--data", data, "--out", out, "--maps", "seg", "--force")
    assert spuproj("predict", *arguments)[0] == 0
    # Those of the case whose images are the same stay.
    assert {path.name for path in out.glob("*002*.nii.gz")} == {"Phantom_002_WT_seg.nii.gz"}
    assert len(list(out.glob("*003*.nii.gz"))) == 5
    assert predict_cohort([models["WT"]], data, out, maps=["seg"]).skipped == ["Phantom_002", "Phantom_003"]


def test_an_image_that_no_model_takes_may_change(data, models, tmp_path):
    predict_cohort([models["WT"]], data, tmp_path / "out")
    change(data, "adc")
    assert predict_cohort([models["WT"]], data, tmp_path / "out").skipped == ["Phantom_002", "Phantom_003"]


def test_the_summary_lists_the_images_and_all_files(data, models, tmp_path):
    case = tmp_path / "data" / "Phantom_002"
    predict([models["WT"]], case, tmp_path / "out", maps=["prob"])
    predict([models["WT"]], case, tmp_path / "out", maps=["seg"], force=True)
    summary = json.loads((tmp_path / "out" / "Phantom_002_summary.json").read_text())
    paths = {path.name: path for path in (tmp_path / "out").iterdir() if path.name != "Phantom_002_summary.json"}
    assert summary["files"] == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    wanted = {
        name: {
            "sha256": hashlib.sha256((case / f"Phantom_002_{name}.nii.gz").read_bytes()).hexdigest(),
            "channel": None,
        }
        for name in MODALITIES
    }
    assert summary["recipe"]["images"] == wanted


HEADERS = {
    "nhdr": "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: ",
    "mhd": "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = ",
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("named", ["s000.raw", "LIST\ns000.raw\ns001.raw", "s%03d.raw 0 1 1"])
def test_the_hash_of_a_detached_header_covers_its_voxels(kind, named, tmp_path):
    path, last = tmp_path / f"t1.{kind}", tmp_path / ("s001.raw" if " " in named or "LIST" in named else "s000.raw")
    path.write_text(HEADERS[kind] + named + "\n")
    for name in ("s000.raw", "s001.raw"):
        (tmp_path / name).write_bytes(bytes(4 if last.name == "s001.raw" else 8))
    first = content_hash(path)
    assert open_volume(ImageFile(path)).numbers().sum() == 0
    last.write_bytes(bytes([1]) * last.stat().st_size)
    assert open_volume(ImageFile(path)).numbers().sum() > 0
    assert content_hash(path) != first


def test_other_words_of_a_header_are_not_read(tmp_path):
    path = tmp_path / "t1.mhd"
    path.write_text("Comment = other.raw\n" + HEADERS["mhd"] + "s000.raw\n")
    for name in ("other.raw", "s000.raw"):
        (tmp_path / name).write_bytes(bytes(8))
    assert source_files(path) == [os.fsencode(path), os.fsencode(tmp_path / "s000.raw")]
    path.write_text(HEADERS["mhd"] + "s%0999999999d.raw 0 2000000000 1\n")
    with pytest.raises(InputError, match="must be in files that are numbered like"):
        content_hash(path)


def test_what_is_no_file_has_no_hash(tmp_path):
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "folder.nhdr").mkdir()
    for name, reason in (
        ("pipe.nii", "it is not a regular file"),
        ("folder.nhdr", "it is a folder"),
        ("t2.nii", "no such"),
    ):
        with pytest.raises(InputError, match=f"{name} must be a file, but .*{reason}"):
            content_hash(tmp_path / name)


@pytest.mark.parametrize("change", ["another", "none", "added"])
def test_a_case_whose_segmentation_has_changed_gets_a_new_report_and_the_same_maps(cohort, models, tmp_path, change):
    case = shutil.copytree(cohort[1], tmp_path / "data" / "Phantom_002")
    path, out = case / "Phantom_002_seg.nii.gz", tmp_path / "out"
    kept = path.rename(tmp_path / "kept.nii.gz") if change == "added" else path
    predict_cohort([models["WT"]], tmp_path / "data", out)
    before = {each.name: each.read_bytes() for each in out.glob("*.nii.gz")}
    if change == "another":
        labels = nib.Nifti1Image.from_filename(path)
        nib.save(nib.Nifti1Image(np.asarray(labels.dataobj)[::-1], labels.affine), path)
    elif change == "none":
        path.unlink()
    else:
        kept.rename(path)
    assert predict_cohort([models["WT"]], tmp_path / "data", out).predicted == ["Phantom_002"]
    assert {each.name: each.read_bytes() for each in out.glob("*.nii.gz")} == before
    dice = json.loads((out / "Phantom_002_summary.json").read_text())["entry"]["dice"]
    assert (dice is None) == (change == "none")
    assert predict_cohort([models["WT"]], tmp_path / "data", out).skipped == ["Phantom_002"]


def test_what_changes_during_a_prediction_is_noticed_by_the_next(cohort, models, tmp_path, monkeypatch):
    case = shutil.copytree(cohort[1], tmp_path / "data" / "Phantom_002")
    real = predicting.case_for

    def change_after_reading(*arguments, **options):
        found = real(*arguments, **options)
        shutil.copy(case / "Phantom_002_t2.nii.gz", case / "Phantom_002_t1.nii.gz")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(predicting, "case_for", change_after_reading)
        predict_cohort([models["WT"]], tmp_path / "data", tmp_path / "out")
    outcome = predict_cohort([models["WT"]], tmp_path / "data", tmp_path / "out")
    assert "of other images (t1)" in outcome.failed["Phantom_002"]


def test_an_image_that_cannot_be_hashed_fails_its_case_alone(cohort, models, tmp_path):
    shutil.copytree(cohort[0].parent, tmp_path / "data")
    predict_cohort([models["WT"]], tmp_path / "data", tmp_path / "out")
    image = tmp_path / "data" / "Phantom_002" / "Phantom_002_t1.nii.gz"
    image.unlink()
    image.symlink_to("x" * 300)
    outcome = predict_cohort([models["WT"]], tmp_path / "data", tmp_path / "out")
    assert (outcome.skipped, [*outcome.failed]) == (["Phantom_001", "Phantom_003"], ["Phantom_002"])


def test_predictions_of_another_version_are_said_to_be_that(cohort, models, tmp_path):
    shutil.copytree(cohort[1], tmp_path / "data" / "Phantom_002")
    predict_cohort([models["WT"]], tmp_path / "data", tmp_path / "out")
    path = tmp_path / "out" / "Phantom_002_summary.json"
    content = json.loads(path.read_text())
    del content["recipe"]["images"], content["files"], content["segmentation"]
    path.write_text(json.dumps(content))
    with pytest.raises(
        InputError, match="must hold no predictions by another version of spuproj, but holds those of Ph"
    ):
        predict_cohort([models["WT"]], tmp_path / "data", tmp_path / "out")


def test_a_map_that_is_gone_is_no_longer_listed(cohort, models, tmp_path):
    predict([models["WT"]], cohort[1], tmp_path)
    (tmp_path / "Phantom_002_WT_entropy.nii.gz").unlink()
    predict([models["WT"]], cohort[1], tmp_path, maps=["prob"], force=True)
    summary = json.loads((tmp_path / "Phantom_002_summary.json").read_text())
    names = {path.name for path in tmp_path.iterdir() if path.name[0] != "."}
    assert summary["files"].keys() == names - {"Phantom_002_summary.json"}
