"""What evaluate takes: the brain of the predicted images, maps of any order of axes, and no segmentation for a map."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from training_helpers import digest

from spuproj.training.data.case import load_case
from spuproj.training.data.findings import Level
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.workflows.predict import predict, predict_cohort

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

MODALITIES = ("t1", "t1ce", "t2", "flair")


@pytest.fixture
def data(cohort, tmp_path) -> Path:
    """A case with a fifth image, in which all voxels count as brain, on a grid of its own where "grid" is asked for."""
    source = cohort[1]
    shutil.copytree(source, tmp_path / source.name)
    flair = nib.Nifti1Image.from_filename(source / f"{source.name}_flair.nii.gz")
    whole = np.random.default_rng(0).uniform(50, 100, flair.shape).astype(np.float32)
    nib.save(nib.Nifti1Image(whole, flair.affine), tmp_path / source.name / "whole.nii.gz")
    nib.save(nib.Nifti1Image(whole[:-1], flair.affine), tmp_path / source.name / "small.nii.gz")
    return tmp_path / source.name


def manifest(data: Path, *others: str) -> Path:
    images = {name: f"{data}/{data.name}_{name}.nii.gz" for name in MODALITIES}
    case = {
        "name": data.name,
        "images": {**{name: f"{data}/{name}.nii.gz" for name in others}, **images},
        "label": f"{data}/{data.name}_seg.nii.gz",
    }
    path = data.parent / f"{len(others)}{''.join(others)}.json"
    path.write_text(json.dumps({"labels": "brats2020", "cases": [case]}))
    return path


def rows(spuproj, data: Path, out: Path, *methods: str) -> list[dict[str, str]]:
    predictions = [word for method in methods for word in ("--predictions", method)]
    status, printed = spuproj("evaluate", "--data", data, *predictions, "--out", out)
    assert status == 0, printed
    with (out / "per_case.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("other", ["whole", "small"])
def test_an_image_that_no_model_took_changes_no_measure(spuproj, data, models, tmp_path, other):
    predict_cohort([models["WT"]], manifest(data), tmp_path / "maps")
    wanted = rows(spuproj, manifest(data), tmp_path / "a", f"m={tmp_path / 'maps'}")
    assert rows(spuproj, manifest(data, other), tmp_path / "b", f"m={tmp_path / 'maps'}") == wanted


def test_methods_of_other_images_are_measured_in_the_brain_of_all(spuproj, data, models, tmp_path):
    """Voxels that one method saw alone count for both: measures are compared on the same voxels."""
    shutil.copytree(models["WT"], tmp_path / "five")
    config = json.loads((tmp_path / "five" / "config.json").read_text())
    config["modalities"] = ["t1", "t1ce", "t2", "whole"]
    (tmp_path / "five" / "config.json").write_text(json.dumps(config))
    predict_cohort([models["WT"]], manifest(data), tmp_path / "maps")
    predict_cohort([tmp_path / "five"], manifest(data, "whole"), tmp_path / "other")
    both = rows(spuproj, manifest(data, "whole"), tmp_path / "a", f"m={tmp_path / 'maps'}", f"n={tmp_path / 'other'}")
    alone = rows(spuproj, manifest(data, "whole"), tmp_path / "b", f"n={tmp_path / 'other'}")
    assert [row for row in both if row["method"] == "n"] == alone


def test_maps_without_a_summary_are_measured_in_the_brain_of_all_images(spuproj, data, models, tmp_path):
    predict_cohort([models["WT"]], manifest(data), tmp_path / "maps")
    wanted = rows(spuproj, manifest(data), tmp_path / "a", f"m={tmp_path / 'maps'}")
    (tmp_path / "maps" / f"{data.name}_summary.json").unlink()
    assert rows(spuproj, manifest(data), tmp_path / "b", f"m={tmp_path / 'maps'}") == wanted
    assert rows(spuproj, manifest(data, "whole"), tmp_path / "c", f"m={tmp_path / 'maps'}") != wanted


def test_a_reference_segmentation_beside_the_maps_is_not_taken_for_a_map(spuproj, cohort, models, tmp_path):
    folder = shutil.copytree(cohort[1], tmp_path / "data" / cohort[1].name)
    predict_cohort([models["WT"]], tmp_path / "data", folder)
    methods = ("--predictions", f"m={folder}")
    status, printed = spuproj("evaluate", "--data", tmp_path / "data", *methods, "--out", tmp_path / "out")
    assert (status, "not evaluated" in printed) == (0, False)


def test_maps_of_another_order_of_axes_measure_the_same(spuproj, cohort, models, tmp_path):
    """Maps have the axes of the first image that a model uses, which need not be the first of the case."""
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


def test_distances_are_in_the_millimetres_of_each_axis(spuproj, cohort, models, tmp_path):
    """Boxes that lie three voxels apart along x, where voxels have 1 x 2 x 4 mm."""
    data, maps = shutil.copytree(cohort[1], tmp_path / "data" / cohort[1].name), tmp_path / "maps"
    predict([models["TC"]], cohort[1], maps)
    (maps / f"{data.name}_summary.json").unlink()
    for path in (*data.glob("*.nii.gz"), *maps.glob("*.nii.gz")):
        image = nib.Nifti1Image.from_filename(path)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        voxels, start = np.asarray(image.dataobj).copy(), {f"{data.name}_seg": 8, f"{data.name}_TC_seg": 11}
        if (first := start.get(path.name.removesuffix(".nii.gz"))) is not None:
            voxels[:] = 0
            voxels[first : first + 9, 9:18, 6:12] = 1
        path.write_bytes(gzip.compress(nib.Nifti1Image(voxels, np.diag([-1.0, -2.0, 4.0, 1.0])).to_bytes()))
    (row,) = rows(spuproj, tmp_path / "data", tmp_path / "out", f"m={maps}")
    assert float(row["hd95"]) == pytest.approx(3)


def test_maps_of_images_that_have_changed_are_said(spuproj, data, models, tmp_path):
    predict_cohort([models["WT"]], manifest(data), tmp_path / "maps")
    shutil.copy(data / f"{data.name}_t2.nii.gz", data / f"{data.name}_t1.nii.gz")
    wanted = "the maps by m are of other images (t1) than the data hold now"
    methods = ("--predictions", f"m={tmp_path / 'maps'}")
    status, printed = spuproj("evaluate", "--data", manifest(data), *methods, "--out", tmp_path / "out")
    assert (status, f"warning: {wanted}: {data.name}" in printed) == (0, True)
    assert json.loads((tmp_path / "out" / "table.json").read_text())["warnings"][wanted] == [data.name]


def test_maps_that_have_changed_are_said(spuproj, data, models, tmp_path):
    predict_cohort([models["WT"]], manifest(data), tmp_path / "maps")
    path = tmp_path / "maps" / f"{data.name}_WT_seg.nii.gz"
    image = nib.Nifti1Image.from_filename(path)
    nib.save(nib.Nifti1Image(np.zeros_like(np.asarray(image.dataobj)), image.affine, image.header), path)
    methods = ("--predictions", f"m={tmp_path / 'maps'}")
    status, printed = spuproj("evaluate", "--data", manifest(data), *methods, "--out", tmp_path / "out")
    wanted = f"warning: maps by m have changed since they were predicted (WT_seg): {data.name}"
    assert (status, wanted in printed) == (0, True)


def test_maps_of_several_models_in_one_folder_are_said(spuproj, cohort, models, tmp_path):
    other = shutil.copytree(models["WT"], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "temperature": 2.0}))
    for model, case in ((models["WT"], cohort[1]), (other, cohort[2])):
        predict([model], case, tmp_path / "maps")
    arguments = ("--data", cohort[0].parent, "--predictions", f"m={tmp_path / 'maps'}", "--out", tmp_path / "out")
    status, printed = spuproj("evaluate", *arguments)
    told = "; ".join(
        f"{digest(model)[:12]}: {case.name}" for model, case in ((models["WT"], cohort[1]), (other, cohort[2]))
    )
    assert (status, f"warning: the maps of WT by m are of 2 models ({told})" in printed) == (0, True)
    models_told = json.loads((tmp_path / "out" / "table.json").read_text())["models"]
    assert models_told == {"m WT": [digest(models["WT"]), digest(other)]}


def test_what_is_unusual_about_a_case_is_said(spuproj, data, models, tmp_path):
    """A brain that fills the image is one that was not skull-stripped, for example."""
    predict_cohort([models["WT"]], manifest(data), tmp_path / "maps")
    content = json.loads(manifest(data).read_text())
    mask = nib.Nifti1Image.from_filename(data / f"{data.name}_flair.nii.gz")
    nib.save(nib.Nifti1Image(np.ones(mask.shape, np.uint8), mask.affine), tmp_path / "all.nii.gz")
    content["cases"][0]["mask"] = str(tmp_path / "all.nii.gz")
    (tmp_path / "masked.json").write_text(json.dumps(content))
    methods = ("--predictions", f"m={tmp_path / 'maps'}")
    _, printed = spuproj("evaluate", "--data", tmp_path / "masked.json", *methods, "--out", tmp_path / "out")
    findings = load_case(cases_in(tmp_path / "masked.json")[0], MODALITIES).findings
    serious = [finding.message for finding in findings if finding.level <= Level.WARNING]
    assert serious
    assert all(f"warning: {message}: {data.name}" in printed for message in serious)


def test_maps_made_with_another_brain_mask_are_said(spuproj, data, models, tmp_path):
    predict_cohort([models["WT"]], manifest(data), tmp_path / "maps")
    content = json.loads(manifest(data).read_text())
    content["cases"][0]["mask"] = f"{data}/{data.name}_seg.nii.gz"
    (tmp_path / "masked.json").write_text(json.dumps(content))
    methods = ("--predictions", f"m={tmp_path / 'maps'}")
    _, printed = spuproj("evaluate", "--data", tmp_path / "masked.json", *methods, "--out", tmp_path / "out")
    assert f"warning: the maps by m are with another brain mask than the data hold now: {data.name}" in printed


def test_a_summary_of_another_program_does_not_matter(spuproj, data, models, tmp_path):
    predict_cohort([models["WT"]], manifest(data), tmp_path / "maps")
    wanted = rows(spuproj, manifest(data), tmp_path / "a", f"m={tmp_path / 'maps'}")
    (tmp_path / "maps" / f"{data.name}_summary.json").write_text('{"by": "another"}')
    assert rows(spuproj, manifest(data), tmp_path / "b", f"m={tmp_path / 'maps'}") == wanted


@pytest.mark.parametrize("fault", ["unfinished", "truncated"])
def test_maps_of_a_prediction_that_was_interrupted_are_not_measured(spuproj, data, models, tmp_path, fault):
    predict_cohort([models["WT"]], manifest(data), tmp_path / "maps")
    path = tmp_path / "maps" / f"{data.name}_summary.json"
    text = path.read_text()
    path.write_text(text[:200] if fault == "truncated" else text.replace('"finished": true', '"finished": false'))
    out = tmp_path / "out"
    status, _ = spuproj("evaluate", "--data", manifest(data), "--out", out, "--predictions", f"m={tmp_path / 'maps'}")
    words = {"unfinished": "is being written, or was interrupted then", "truncated": "must be a JSON file, but cannot"}
    assert words[fault] in str(status)
    assert not out.exists()
