"""The command that makes the models of the package: its phantoms are the seed's, and what is there already is kept."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.phantom.cohort import make_phantom
from spuproj.training.workflows import make_models as subject

SPACING = 8.0


@pytest.fixture
def out(monkeypatch, tmp_path):
    for name, value in {"CASES": 2, "SPACING": SPACING, "CORES": 2}.items():
        monkeypatch.setattr(subject, name, value)
    subject.grow_cohort(tmp_path)
    return tmp_path


def test_phantoms_grown_side_by_side_are_those_of_the_seed(out):
    wanted = make_phantom(subject.SEED, 1, SPACING)
    folder = out / subject.COHORT / "Phantom_002"
    for name, voxels in {**wanted.images, "seg": wanted.labels}.items():
        image = nib.Nifti1Image.from_filename(folder / f"Phantom_002_{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(image.dataobj), voxels)


def test_phantoms_and_slices_that_are_there_are_kept(out):
    files = [*(out / subject.COHORT).rglob("*.nii.gz"), *(out / subject.CACHE).iterdir()]
    assert len(files) == 2 * (5 + 3)
    before = {path: path.stat().st_mtime_ns for path in files}
    subject.grow_cohort(out)
    assert {path: path.stat().st_mtime_ns for path in files} == before
