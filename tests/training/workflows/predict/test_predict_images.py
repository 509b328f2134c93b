"""Predictions belong to the images that they were made of: those of other images do not count as finished."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.volumes.content import content_hash
from spuproj.training.runtime.files import InputError
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
    assert sorted(summary["files"]) == sorted(path.name for path in (tmp_path / "out").iterdir())
    wanted = {
        name: {
            "sha256": hashlib.sha256((case / f"Phantom_002_{name}.nii.gz").read_bytes()).hexdigest(),
            "channel": None,
        }
        for name in MODALITIES
    }
    assert summary["recipe"]["images"] == wanted


@pytest.mark.parametrize("header", ["NRRD0004\n\n", "ObjectType = Image\n"])
def test_the_hash_of_a_detached_header_covers_its_voxels(header, tmp_path):
    field = "data file:" if header.startswith("NRRD") else "ElementDataFile ="
    path = tmp_path / ("t1.nhdr" if header.startswith("NRRD") else "t1.mhd")
    path.write_text(header.strip() + f"\n{field} t1.raw\n")
    (tmp_path / "t1.raw").write_bytes(b"one")
    first = content_hash(path)
    (tmp_path / "t1.raw").write_bytes(b"two")
    assert content_hash(path) != first
    with pytest.raises(InputError, match=r"t2\.nii must be there, but cannot be read"):
        content_hash(tmp_path / "t2.nii")


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
