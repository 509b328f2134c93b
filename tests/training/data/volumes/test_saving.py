"""Written maps: header and affine of the image that they belong to, their own values, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.volumes.saving import save_nifti


@pytest.fixture(params=[nib.Nifti1Image, nib.Nifti2Image])
def like(request) -> nib.Nifti1Image:
    """An image whose header says all that outputs must keep, with a scaling and display range that they must not."""
    affine = np.array([[0, -2.0, 0, 11], [3.0, 0, 0, -7], [0, 0, 4.0, 5], [0, 0, 0, 1]])
    image = request.param(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine)
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="mni")
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_slope_inter(0.25, 10)
    image.header["cal_max"] = 1000
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_saved_map_keeps_the_header_and_its_own_values(tmp_path, like, dtype):
    voxels = np.random.default_rng(0).uniform(0, 9, (3, 4, 5)).astype(dtype)
    save_nifti(tmp_path / "map.nii.gz", voxels, like)
    saved = nib.Nifti1Image.from_filename(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(saved.affine, like.affine)
    np.testing.assert_array_equal(np.asarray(saved.dataobj), voxels)
    assert saved.get_data_dtype() == dtype
    stored: Any = saved.dataobj
    assert (stored.slope, stored.inter) == (1, 0)
    assert saved.header.get_zooms() == (3.0, 2.0, 4.0)
    assert saved.header.get_xyzt_units() == ("mm", "sec")
    assert (int(saved.header["qform_code"]), int(saved.header["sform_code"])) == (1, 4)
    assert float(saved.header["cal_max"]) == 0


def test_saving_leaves_the_header_it_copies_alone(tmp_path, like):
    before = like.header.copy()
    save_nifti(tmp_path / "map.nii", np.zeros((3, 4, 5), np.uint8), like)
    assert like.header == before


def test_a_map_of_a_single_volume_of_four_axes_has_three(tmp_path):
    like = nib.Nifti1Image(np.zeros((3, 4, 5, 1), np.int16), np.diag([-2.0, -3.0, 4.0, 1.0]))
    save_nifti(tmp_path / "map.nii", np.ones((3, 4, 5), np.float32), like)
    saved = nib.Nifti1Image.from_filename(tmp_path / "map.nii")
    assert saved.shape == (3, 4, 5)
    np.testing.assert_array_equal(saved.affine, like.affine)


def test_a_map_that_cannot_be_saved_leaves_nothing(tmp_path, like, monkeypatch):
    def fail(image, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_nifti(tmp_path / "map.nii", np.zeros((3, 4, 5), np.uint8), like)
    assert list(tmp_path.iterdir()) == []
