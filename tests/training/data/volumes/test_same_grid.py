"""Images of a case: on one voxel grid up to a small part of a voxel, or refused with all grids."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.findings import Level
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.data.volumes.same_grid import require_same_grid
from spuproj.training.runtime.errors import InputError

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


@pytest.fixture
def volume(tmp_path):
    def make(name, shape=(6, 7, 5), move=0.0, stretch=1.0):
        affine = AFFINE * [stretch, 1, 1, 1]
        affine[0, 3] = move
        nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), affine), tmp_path / f"{name}.nii")
        return open_volume(ImageFile(tmp_path / f"{name}.nii"))

    return make


def test_the_same_grid_and_rounding_of_it_are_silent(volume):
    assert require_same_grid([volume("t1"), volume("t2"), volume("flair", move=1e-5)]) == []


def test_a_small_part_of_a_voxel_is_accepted_and_told(volume):
    (finding,) = require_same_grid([volume("t1"), volume("t2", move=0.01)])
    assert finding.level == Level.NOTE
    assert finding.message == "t2.nii lies 0.01 voxels beside t1.nii: taken as the same place"


@pytest.mark.parametrize("change", [{"move": 1.5}, {"move": 0.06}, {"stretch": 1.02}, {"stretch": -1.0}])
def test_another_place_is_refused(volume, change):
    with pytest.raises(InputError, match=r"t2\.nii .*voxels away; register them to one grid first"):
        require_same_grid([volume("t1"), volume("t2", **change)])


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "SAL"])
def test_one_grid_in_another_order_of_axes_is_the_same_place(volume, tmp_path, axes):
    first = volume("t1")
    voxels = np.arange(6 * 7 * 5, dtype=np.int16).reshape(6, 7, 5)
    image = nib.Nifti1Image(voxels, AFFINE)
    turn = nib.orientations.ornt_transform(nib.io_orientation(AFFINE), nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(turn), tmp_path / "seg.nii")
    label = open_volume(ImageFile(tmp_path / "seg.nii"))
    assert require_same_grid([first, label]) == []
    np.testing.assert_array_equal(label.numbers(), voxels)


def test_native_grids_are_all_told_and_how_to_help(volume):
    grids = [volume("t1"), volume("t1ce"), volume("t2", shape=(12, 14, 5)), volume("flair", stretch=2)]
    with pytest.raises(InputError) as error:
        require_same_grid(grids)
    text = str(error.value)
    assert "t1.nii has 6 x 7 x 5 voxels of 1 x 1 x 2 mm; t1ce.nii the same, 0 voxels away; t2.nii 12 x 14 x 5" in text
    assert "flair.nii 6 x 7 x 5 voxels of 2 x 1 x 2 mm, 5 voxels away" in text
    assert "for example with ANTs" in text
