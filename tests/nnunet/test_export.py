"""Maps are written on the grid of the image that nnU-Net has read, whatever its orientation and reader."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient
from scipy.spatial.transform import Rotation

from spuproj.nnunet.export import save_map

READERS = (SimpleITKIO, SimpleITKIOWithReorient, NibabelIO, NibabelIOWithReorient)


@pytest.mark.parametrize("axes", ["RAS", "LPI", "ASR", "ILP"])
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_a_map_equal_to_the_image_becomes_the_image(reader, axes, tmp_path):
    voxels = np.random.default_rng(0).uniform(0, 0.25, (4, 5, 6)).astype(np.float32)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", (3, -5, 8), degrees=True).as_matrix() * (0.8, 1.1, 2.5)
    affine[:3, 3] = 4, -9, 30
    image = nib.Nifti1Image(voxels, affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    image = image.as_reoriented(turn)
    nib.save(image, tmp_path / "image.nii.gz")
    read, properties = reader().read_images([str(tmp_path / "image.nii.gz")])
    save_map(reader, read[0], tmp_path / "map.nii.gz", properties)
    saved = nib.Nifti1Image.from_filename(tmp_path / "map.nii.gz")
    assert saved.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(saved.dataobj), np.asarray(image.dataobj))
    np.testing.assert_allclose(saved.affine, image.affine, atol=1e-5)


def test_nan_and_small_values_are_kept(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4)), tmp_path / "image.nii.gz")
    _, properties = SimpleITKIO().read_images([str(tmp_path / "image.nii.gz")])
    values = np.full((5, 4, 3), np.nan, np.float32)
    values[0] = 1e-12
    save_map(SimpleITKIO, values, tmp_path / "map.nii.gz", properties)
    assert np.array_equal(
        np.asarray(nib.Nifti1Image.from_filename(tmp_path / "map.nii.gz").dataobj).T, values, equal_nan=True
    )


def test_a_picture_gives_a_map_of_its_pixels(tmp_path):
    values = np.random.default_rng(0).random((1, 4, 6), dtype=np.float32)
    save_map(NaturalImage2DIO, values, tmp_path / "map.nii.gz", {"spacing": (999, 1, 1)})
    saved = nib.Nifti1Image.from_filename(tmp_path / "map.nii.gz")
    assert saved.shape == (6, 4, 1)
    assert np.array_equal(np.asarray(saved.dataobj)[..., 0].T, values[0])
