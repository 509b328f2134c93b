"""Which maps of a prediction are written, and that those of another model do not stay beside them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from training_helpers import read

from spuproj.training.workflows.predict import predict

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

PAGES = {"Phantom_002_report.html", "Phantom_002_summary.json", "Phantom_002.png"}


def written(folder: Path) -> set[str]:
    """The endings of the maps in a folder."""
    return {path.name.removeprefix("Phantom_002").removesuffix(".nii.gz") for path in folder.glob("*.nii.gz")}


@pytest.mark.parametrize("maps", ["seg", "prob,var", "seg,members", "entropy,mi"])
def test_maps_chooses_what_is_written(spuproj, cohort, models, tmp_path, maps):
    out = tmp_path / "out"
    assert spuproj("predict", "--model", models["WT"], "--case", cohort[1], "--out", out, "--maps", maps)[0] == 0
    assert written(out) == {f"_WT_{kind}" for kind in maps.split(",")}
    assert {path.name for path in out.iterdir()} >= PAGES


def test_merged_files_can_be_all_that_is_written(cohort, models, tmp_path):
    both, apart = tmp_path / "both", tmp_path / "apart"
    predict(list(models.values()), cohort[1], both)
    for kind, endings in (("labels", {"_labels"}), ("qubrats", {"", "_unc_whole", "_unc_core", "_unc_enhance"})):
        predict(list(models.values()), cohort[1], apart / kind, maps=[kind])
        assert written(apart / kind) == endings
        for ending in endings:
            one, other = (
                np.asarray(nib.Nifti1Image.from_filename(folder / f"Phantom_002{ending}.nii.gz").dataobj)
                for folder in (apart / kind, both)
            )
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ("probs", "maps must be of prob, seg, var, entropy, mi, members, labels, qubrats, got 'probs'"),
        ("prob,", "maps must be of prob, seg, var, entropy, mi, members, labels, qubrats, got ''"),
        ("labels", "maps labels need models of the targets WT, TC, ET, got WT; choose others"),
        ("seg,labels,prob", "maps labels need models of the targets WT, TC, ET, got WT; choose others"),
    ],
)
def test_maps_that_cannot_be_written_are_refused_before_any_work(spuproj, cohort, models, tmp_path, maps, message):
    status, _ = spuproj(
        "predict", "--model", models["WT"], "--case", cohort[1], "--out", tmp_path / "out", "--maps", maps
    )
    assert status == f"error: {message}"
    assert not (tmp_path / "out").exists()


def test_maps_of_another_model_do_not_stay_beside_the_new_ones(cohort, models, tmp_path):
    predict(list(models.values()), cohort[1], tmp_path)
    (tmp_path / "Phantom_002_mine.nii.gz").touch()
    predict([models["WT"]], cohort[1], tmp_path, maps=["seg"], force=True)
    assert written(tmp_path) == {"_WT_seg", "_mine"}


def test_other_maps_of_the_same_model_stay(cohort, models, tmp_path):
    predict([models["WT"]], cohort[1], tmp_path, maps=["prob"])
    predict([models["WT"]], cohort[1], tmp_path, maps=["seg"], force=True)
    assert written(tmp_path) == {"_WT_prob", "_WT_seg"}


def test_members_of_outer_targets_follow_the_inner_ones(cohort, models, tmp_path):
    predict(list(models.values()), cohort[1], tmp_path, maps=("prob", "var", "members"))
    for target in ("ET", "TC", "WT"):
        each = read(tmp_path, f"{target}_members").astype(np.float64)
        seen = np.isfinite(each).any(axis=-1)
        np.testing.assert_allclose(read(tmp_path, f"{target}_prob")[seen], np.nanmean(each[seen], axis=-1), atol=1e-6)
        np.testing.assert_allclose(read(tmp_path, f"{target}_var")[seen], np.nanvar(each[seen], axis=-1), atol=1e-6)
