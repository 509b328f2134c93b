"""NIfTI volumes in any storage order, and files that are none."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.nifti import from_lps, load_nifti, lps_spacing, read_volume, save_nifti, to_lps
from spuproj.training.runtime.files import InputError

SIZES = {"L": 3, "P": 4, "S": 5}
OPPOSITE = {"L": "R", "P": "A", "S": "I", "R": "L", "A": "P", "I": "S"}
STORAGE_ORDERS = [
    "".join(axes)
    for order in itertools.permutations("LPS")
    for axes in itertools.product(*[(axis, OPPOSITE[axis]) for axis in order])
]


def stored(codes: str) -> nib.Nifti1Image:
    """A 3 x 4 x 5 (left, back, up) volume of distinct values in a storage order; the values count LPS voxels."""
    image = nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.diag([-2.0, -3.0, 4.0, 1.0]))
    return image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    )


def nifti_bytes() -> bytes:
    """An uncompressed NIfTI file of 12 x 13 x 14 random voxels."""
    voxels = np.random.default_rng(0).integers(0, 1000, (12, 13, 14)).astype(np.int16)
    return nib.Nifti1Image(voxels, np.eye(4)).to_bytes()


def with_unknown_datatype() -> bytes:
    content = bytearray(nifti_bytes())
    content[70:72] = (9999).to_bytes(2, "little")
    return bytes(content)


def coloured() -> bytes:
    colour = np.dtype([("R", np.uint8), ("G", np.uint8), ("B", np.uint8)])
    return nib.Nifti1Image(np.zeros((3, 4, 5), colour), np.eye(4)).to_bytes()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.nii\.gz must be a NIfTI file, but there is no such file"):
        load_nifti(tmp_path / "nowhere.nii.gz")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(InputError, match=r"folder\.nii must be a NIfTI file, but there is no such file"):
        load_nifti(tmp_path / "folder.nii")


BROKEN = {
    "empty.nii.gz": b"",
    "text.nii.gz": b"no image at all\n",
    "text.nii": b"no image at all\n",
    "compressed_text.nii.gz": gzip.compress(b"x" * 1000),
    "cut_in_the_header.nii.gz": gzip.compress(nifti_bytes())[:60],
    "cut_in_the_data.nii.gz": gzip.compress(nifti_bytes())[:1500],
    "cut_in_the_data.nii": nifti_bytes()[:1500],
    "garbled_stream.nii.gz": gzip.compress(nifti_bytes())[:15] + b"\xff" * 30 + gzip.compress(nifti_bytes())[45:],
    "unknown_datatype.nii": with_unknown_datatype(),
    "colours.nii": coloured(),
    "complex.nii": nib.Nifti1Image(np.ones((3, 4, 5), np.complex64), np.eye(4)).to_bytes(),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_an_input_error_that_names_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read_volume(load_nifti(path), path)


@pytest.mark.parametrize(
    ("kind", "name"), [(nib.AnalyzeImage, "a.img"), (nib.MGHImage, "a.mgz"), (nib.Nifti1Pair, "pair.img")]
)
def test_another_format_is_an_input_error_that_names_it(tmp_path, kind, name):
    nib.save(kind(np.ones((3, 3, 3), np.float32), np.eye(4)), tmp_path / name)
    with pytest.raises(InputError, match=rf"{name} must be a NIfTI file \(\.nii or \.nii\.gz\), got \w+"):
        load_nifti(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_volume_is_read_as_it_was_written(tmp_path, suffix):
    voxels = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"a{suffix}")
    read = read_volume(load_nifti(tmp_path / f"a{suffix}"), tmp_path)
    np.testing.assert_array_equal(read, voxels)
    assert read.dtype == np.float32


def test_stored_integers_are_read_with_slope_and_intercept(tmp_path):
    image = nib.Nifti1Image(np.arange(27, dtype=np.int16).reshape(3, 3, 3), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    path = tmp_path / "scaled.nii"
    path.write_bytes(image.to_bytes())
    stored: Any = nib.Nifti1Image.from_filename(path).dataobj
    assert stored.slope == 0.5
    np.testing.assert_array_equal(read_volume(load_nifti(path), path), np.arange(27).reshape(3, 3, 3) / 2 - 3)


def test_a_single_volume_of_four_axes_is_a_volume():
    voxels = np.arange(60, dtype=np.float32).reshape(3, 4, 5, 1)
    read = read_volume(nib.Nifti1Image(voxels, np.eye(4)), Path("a.nii"))
    np.testing.assert_array_equal(read, voxels[..., 0])


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5, 2), (3, 4, 5, 1, 3), (3, 4, 5, 1, 1)])
def test_another_rank_is_an_error_that_tells_the_shape(shape):
    image = nib.Nifti1Image(np.zeros(shape, np.float32), np.eye(4))
    with pytest.raises(InputError, match=r"a\.nii must hold a volume of three axes, got the shape \(") as error:
        read_volume(image, Path("a.nii"))
    assert str(shape) in str(error.value)


def test_there_are_48_storage_orders():
    assert len(set(STORAGE_ORDERS)) == 48
    assert {nib.aff2axcodes(stored(codes).affine) for codes in STORAGE_ORDERS} == set(map(tuple, STORAGE_ORDERS))


@pytest.mark.parametrize("codes", STORAGE_ORDERS)
def test_every_storage_order_turns_to_lps_and_back(codes):
    image = stored(codes)
    voxels = np.asarray(image.dataobj)
    turned = to_lps(voxels, image)
    np.testing.assert_array_equal(turned, np.arange(60).reshape(3, 4, 5))
    np.testing.assert_array_equal(from_lps(turned, image), voxels)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_a_marked_voxel_lands_where_its_millimetres_say(codes):
    image = stored(codes)
    voxels = np.zeros(image.shape, np.float32)
    mark = tuple(np.array(image.shape) - 1 - np.array([0, 1, 1]))
    voxels[mark] = 1
    right_anterior_up = image.affine @ [*mark, 1]
    found = np.argwhere(to_lps(voxels, image))
    assert len(found) == 1
    np.testing.assert_allclose(found[0] * [-2, -3, 4], right_anterior_up[:3])


@pytest.mark.parametrize("codes", STORAGE_ORDERS)
def test_the_spacing_follows_the_axes(codes):
    assert lps_spacing(stored(codes)) == (2.0, 3.0, 4.0)


def test_an_oblique_image_turns_to_its_closest_axes():
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 3.0, 4.0])
    image = nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), affine)
    np.testing.assert_array_equal(to_lps(image.get_fdata(), image), image.get_fdata()[::-1, ::-1])
    assert lps_spacing(image) == pytest.approx((2, 3, 4))


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
