"""Image files of every format: what is read, what the header leaves open, and what cannot be used."""

from __future__ import annotations

import gzip
import os
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from spuproj.training.data.findings import Level
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.data.volumes.nibabel_file import open_header
from spuproj.training.runtime.errors import InputError

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)


def opened(path: Path, channel: int | None = None):
    return open_volume(ImageFile(path, channel))


def messages(path: Path, level: Level) -> list[str]:
    return [finding.message for finding in opened(path).findings if finding.level == level]


def nifti_bytes(voxels: np.ndarray | None = None) -> bytes:
    """An uncompressed NIfTI file of 12 x 13 x 14 random voxels."""
    random = np.random.default_rng(0).integers(0, 1000, (12, 13, 14)).astype(np.int16)
    return nib.Nifti1Image(random if voxels is None else voxels, np.eye(4)).to_bytes()


def changed(at: int, content: bytes) -> bytes:
    """The file with other bytes at a place of its header."""
    whole = bytearray(nifti_bytes())
    whole[at : at + len(content)] = content
    return bytes(whole)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_a_volume_is_read_as_it_was_written(tmp_path, suffix):
    voxels = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "a.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / f"b{suffix}").write_bytes(gzip.decompress(content) if suffix == ".nii" else content)
    read = opened(tmp_path / f"b{suffix}").values()
    np.testing.assert_array_equal(read, voxels)
    assert read.dtype == np.float32


def test_stored_integers_are_read_with_slope_and_intercept(tmp_path):
    image = nib.Nifti1Image(np.arange(27, dtype=np.int16).reshape(3, 3, 3), AFFINE)
    image.header.set_slope_inter(0.5, -3)
    path = tmp_path / "scaled.nii"
    path.write_bytes(image.to_bytes())
    stored: Any = nib.Nifti1Image.from_filename(path).dataobj
    assert stored.slope == 0.5
    np.testing.assert_array_equal(opened(path).values(), np.arange(27).reshape(3, 3, 3) / 2 - 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64, np.float64])
def test_numbers_keep_their_values_and_type(tmp_path, dtype):
    voxels = np.full((3, 4, 5), 2**53 if np.dtype(dtype).itemsize == 8 else 7, dtype)
    nib.save(nib.Nifti1Image(voxels, AFFINE, dtype=dtype), tmp_path / "a.nii")
    numbers = opened(tmp_path / "a.nii").numbers()
    assert numbers.dtype == dtype
    np.testing.assert_array_equal(numbers, voxels)


def compressed(path: Path) -> None:
    """Writes a compressed file whose damage would often give other voxels and no error."""
    voxels = np.round(np.random.default_rng(0).normal(100, 9, (12, 13, 14))).astype(np.int16)
    if path.suffix in (".gz", ".mgz"):
        kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
        nib.save(kind(voxels, AFFINE), path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), path, useCompression=True)


@pytest.mark.parametrize(
    ("name", "voxels"),
    [
        ("a.nii.gz", "a.nii.gz"), ("a.mgz", "a.mgz"), ("a.nrrd", "a.nrrd"), ("a.nhdr", "a.raw.gz"), ("a.mha", "a.mha"),
        ("a.mhd", "a.zraw"),
    ],
)  # fmt: skip
def test_one_wrong_bit_of_a_compressed_file_is_found(tmp_path, name, voxels):
    compressed(tmp_path / name)
    sound, file, path = opened(tmp_path / name).numbers(), tmp_path / name, tmp_path / voxels
    whole = path.read_bytes()
    start = len(whole) // 4
    for at in range(start, len(whole), (len(whole) - start) // 60):
        for damaged in (changed_bit(whole, at), whole[:at]):
            path.write_bytes(damaged)
            try:
                read = opened(file).numbers()
            except InputError:
                continue
            np.testing.assert_array_equal(read, sound)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.MGHImage])
def test_a_compressed_file_that_is_larger_than_its_content_is_read(tmp_path, kind):
    path = tmp_path / ("a.mgz" if kind is nib.MGHImage else "a.nii.gz")
    path.write_bytes(gzip.compress(kind(VOXELS, AFFINE).to_bytes(), compresslevel=0))
    np.testing.assert_array_equal(opened(path).grid.from_lps(opened(path).numbers()), VOXELS)


def changed_bit(whole: bytes, at: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]


# nibabel leaves closing an uncompressed file to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_freesurfer_volumes_are_read(tmp_path, suffix):
    nib.save(nib.MGHImage(VOXELS, AFFINE), tmp_path / f"a{suffix}")
    volume = opened(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.values(), VOXELS)
    np.testing.assert_allclose(volume.like.affine, AFFINE)
    assert volume.grid.spacing == pytest.approx((1, 1, 2))


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha"])
def test_itk_volumes_are_read_in_the_place_that_nifti_gives_them(tmp_path, suffix):
    nib.save(nib.Nifti1Image(VOXELS, AFFINE + np.eye(4, k=3) * 7), tmp_path / "a.nii.gz")
    image: Any = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    volume, same = opened(tmp_path / f"a{suffix}"), opened(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.values(), same.values())
    assert volume.grid.distance(same.grid) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(volume.like.affine, same.like.affine)
    assert volume.numbers().dtype == np.int16


def test_a_file_of_several_volumes_is_read_by_channel(tmp_path):
    voxels = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "four.nii.gz")
    nib.save(nib.Nifti1Image(voxels[:, :, :, None], AFFINE), tmp_path / "five.nii.gz")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels.T.copy()[0]), str(tmp_path / "one.mha"))
    vector: Any = SimpleITK.GetImageFromArray(voxels.transpose(2, 1, 0, 3).copy(), isVector=True)
    SimpleITK.WriteImage(vector, str(tmp_path / "vector.nrrd"))
    for name in ("four.nii.gz", "five.nii.gz", "vector.nrrd"):
        for channel in (0, 1):
            np.testing.assert_array_equal(opened(tmp_path / name, channel).values(), voxels[..., channel])
        with pytest.raises(InputError, match=rf"{name} must have the channel 2, but has 2, from 0"):
            opened(tmp_path / name, 2)
        with pytest.raises(InputError, match=r'one volume of three axes, got the shape .*, "channel": 0'):
            opened(tmp_path / name)
    with pytest.raises(InputError, match=r"one\.mha must hold several volumes, since a channel is named"):
        opened(tmp_path / "one.mha", 0)


@pytest.mark.parametrize("shape", [(3, 4, 5, 1), (3, 4, 5, 1, 1), (1, 3, 4, 5), (1, 1, 3, 4, 5)])
def test_axes_of_length_one_are_dropped(tmp_path, shape):
    nib.save(nib.Nifti1Image(VOXELS.reshape(shape), AFFINE), tmp_path / "a.nii")
    np.testing.assert_array_equal(opened(tmp_path / "a.nii").values(), VOXELS)
    told = [f"{{}}: leading axes of length one are dropped from the shape {shape}"] if shape[0] == 1 else []
    assert messages(tmp_path / "a.nii", Level.NOTE) == told


@pytest.mark.parametrize("shape", [(4, 5), (7,), (3, 4, 5, 2), (3, 4, 5, 1, 3)])
def test_another_rank_is_an_error_that_tells_the_shape(tmp_path, shape):
    (tmp_path / "a.nii").write_bytes(nib.Nifti1Image(np.zeros(shape, np.float32), AFFINE).to_bytes())
    with pytest.raises(InputError, match=r"a\.nii must hold (a|one) volume of three axes, got the shape \(") as error:
        opened(tmp_path / "a.nii")
    assert str(shape) in str(error.value)


NAN, HUGE = np.float32(np.nan).tobytes(), np.int16(2000).tobytes() * 3
COLOUR = np.dtype([("R", np.uint8), ("G", np.uint8), ("B", np.uint8)])
BROKEN = {
    "empty.nii.gz": b"",
    "text.nii.gz": b"no image at all\n",
    "text.nii": b"no image at all\n",
    "text.nrrd": b"no image at all\n",
    "text.mgz": b"no image at all\n",
    "compressed_text.nii.gz": gzip.compress(b"x" * 1000),
    "cut_in_the_header.nii.gz": gzip.compress(nifti_bytes())[:60],
    "cut_in_the_data.nii.gz": gzip.compress(nifti_bytes())[:1500],
    "cut_in_the_data.nii": nifti_bytes()[:1500],
    "garbled_stream.nii.gz": gzip.compress(nifti_bytes())[:15] + b"\xff" * 30 + gzip.compress(nifti_bytes())[45:],
    "unknown_datatype.nii": changed(70, (9999).to_bytes(2, "little")),
    "unknown_units.nii": changed(123, b"\x07"),
    "nan_affine.nii": changed(280, NAN * 12),
    "infinite_affine.nii": changed(280, np.float32(np.inf).tobytes() * 12),
    "nan_origin.nii": changed(292, NAN),
    "zero_affine.nii": changed(280, b"\0" * 48),
    "flat_affine.nii": changed(280, np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]], np.float32).tobytes()),
    "nan_quaternion.nii": changed(252, (1).to_bytes(2, "little") + b"\0\0" + NAN * 6),
    "no_voxels.nii": changed(42, b"\0\0"),
    "huge.nii": changed(42, HUGE),
    "negative.nii": changed(42, b"\xff\xff"),
    "offset_beyond_the_end.nii": changed(108, np.float32(1e9).tobytes()),
    "colours.nii": nifti_bytes(np.zeros((3, 4, 5), COLOUR)),
    "complex.nii": nifti_bytes(np.ones((3, 4, 5), np.complex64)),
    "not_fetched.nii.gz": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_an_input_error_that_names_it(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BROKEN[name])
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        opened(path).values()


def test_an_affine_that_places_nothing_says_what_to_correct(tmp_path):
    (tmp_path / "a.nii").write_bytes(BROKEN["zero_affine.nii"])
    with pytest.raises(InputError, match=r"finite and invertible affine, got .*; correct the header \(qform, sform"):
        opened(tmp_path / "a.nii")


def test_what_is_there_in_place_of_a_file_is_told(tmp_path):
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "full.nii").mkdir()
    (tmp_path / "full.nii" / "0001.nii").touch()
    (tmp_path / "dangling.nii.gz").symlink_to("../annex/objects/abc")
    (tmp_path / "loop.nii").symlink_to("loop.nii")
    os.mkfifo(tmp_path / "pipe.nii")
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "there.nii.gz")
    for name, message in {
        "nowhere.nii": r"must hold nowhere\.nii, but it is missing; images there: dangling.*, there\.nii\.gz",
        "folder.nii": "must be a file, but is a folder; put the image itself in its place$",
        "full.nii": r"is a folder, which holds 0001\.nii; put the image itself in its place",
        "dangling.nii.gz": r"is a link to \.\./annex/objects/abc, which does not exist; fetch the content",
        "loop.nii": r"loop\.nii",
        "pipe.nii": "must be a file, but is of another kind",
        "no/folder.nii": "but it is missing; images there: no folder",
    }.items():
        with pytest.raises(InputError, match=message):
            opened(tmp_path / name)


def test_a_file_that_may_not_be_read_is_an_input_error(tmp_path, monkeypatch):
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "a.nii")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(nib, "load", refuse)
    with pytest.raises(InputError, match=r"a\.nii must be an image .*Permission denied"):
        opened(tmp_path / "a.nii")


def test_a_header_of_too_many_voxels_is_refused_before_any_is_read(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((1000, 1000, 1000))
    header.set_data_dtype(np.float32)
    with gzip.open(tmp_path / "a.nii.gz", "wb", compresslevel=1) as file:
        file.write(header.binaryblock + b"\0" * 4 + b"\0" * 10_000_000)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"must have 1 to 134217728 voxels .*, got \(1000, 1000, 1000\)"):
        opened(tmp_path / "a.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1000.0), ("meter", 0.001)])
def test_other_units_of_length_become_millimetres(tmp_path, unit, factor):
    image = nib.Nifti1Image(VOXELS, np.diag([-factor, -factor, 2 * factor, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    assert opened(tmp_path / "a.nii").grid.spacing == pytest.approx((1, 1, 2))
    assert messages(tmp_path / "a.nii", Level.WARNING) == []
    (note,) = messages(tmp_path / "a.nii", Level.NOTE)
    assert note == f"{{}}: the header says that lengths are in {unit}s: they are read as {1 / factor:g} mm each"


def test_voxels_of_an_unusual_size_are_a_warning(tmp_path):
    nib.save(nib.Nifti1Image(VOXELS, np.diag([1000.0, 1000.0, 1000.0, 1.0])), tmp_path / "a.nii")
    (message,) = messages(tmp_path / "a.nii", Level.WARNING)
    assert (
        message == "{}: 3 x 4 x 5 voxels of 1000 x 1000 x 1000 mm are unusual: check the sizes and units in the header"
    )


@pytest.mark.parametrize(("shear", "percent"), [(0.3, "4.4"), (-0.1, "0.499"), (0.02, None), (0, None)])
def test_axes_that_are_not_at_right_angles_are_a_warning(tmp_path, shear, percent):
    sheared = AFFINE.copy()
    sheared[0, 1] = shear * AFFINE[1, 1]
    nib.save(nib.Nifti1Image(VOXELS, sheared), tmp_path / "a.nii")
    found = [message for message in messages(tmp_path / "a.nii", Level.WARNING) if "right angles" in message]
    assert len(found) == (percent is not None)
    assert all(f"volumes are {percent} % too large" in message for message in found)


def test_an_orientation_that_is_guessed_is_a_warning(tmp_path):
    nib.save(nib.Nifti1Image(VOXELS, None), tmp_path / "a.nii")
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), tmp_path / "b.nii")
    assert messages(tmp_path / "b.nii", Level.WARNING) == []
    (message,) = messages(tmp_path / "a.nii", Level.WARNING)
    assert "qform and sform code are 0" in message
    assert "run to the left, the front and the top" in message
    assert nib.aff2axcodes(opened(tmp_path / "a.nii").grid.affine) == ("L", "A", "S")


def test_a_qform_alone_places_the_image(tmp_path):
    image = nib.Nifti1Image(VOXELS, None)
    image.set_qform(AFFINE, code=1)
    nib.save(image, tmp_path / "a.nii")
    assert messages(tmp_path / "a.nii", Level.WARNING) == []
    np.testing.assert_allclose(opened(tmp_path / "a.nii").grid.affine, AFFINE)


def test_a_qform_that_contradicts_the_sform_is_a_warning(tmp_path):
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.set_qform(AFFINE + np.eye(4, k=3) * 0.01, code=1)
    nib.save(image, tmp_path / "a.nii")
    assert messages(tmp_path / "a.nii", Level.WARNING) == []
    image.set_qform(np.diag([1.0, -1.0, 2.0, 1.0]), code=1)
    nib.save(image, tmp_path / "a.nii")
    (message,) = messages(tmp_path / "a.nii", Level.WARNING)
    assert "qform and sform place the image 4 voxels apart: the sform is taken" in message


def test_voxel_sizes_that_contradict_the_sform_are_a_warning(tmp_path):
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.header.set_zooms((1, 1, 5))
    (tmp_path / "a.nii").write_bytes(image.to_bytes())
    (message,) = messages(tmp_path / "a.nii", Level.WARNING)
    assert "sform and pixdim give voxels of different sizes, 1 x 1 x 2 and 1 x 1 x 5: the sform is taken" in message


@settings(max_examples=250)
@given(st.lists(st.tuples(st.integers(0, 351), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_no_corruption_of_a_header_ends_in_another_exception(tmp_path_factory, changes):
    whole = bytearray(FUZZED)
    for at, content in changes:
        whole[at : at + len(content)] = content
    path = tmp_path_factory.getbasetemp() / f"fuzzed-{os.getpid()}.nii"
    path.write_bytes(whole)
    began = time.monotonic()
    with suppress(InputError):
        volume = opened(path)
        assert np.isfinite(volume.values()).all()
        assert np.isfinite(volume.grid.spacing).all()
    assert time.monotonic() - began < 5


FUZZED = nifti_bytes(VOXELS)


@pytest.mark.parametrize(
    ("at", "content", "message"),
    [
        (80, np.zeros(3, "<f4").tobytes(), "pixdim[1,2,3] should be non-zero"),
        (80, np.full(3, -1, "<f4").tobytes(), "pixdim[1,2,3] should be positive"),
        (252, b"\x63\0", "qform_code 99 not valid"),
    ],
)
def test_faults_that_reading_repairs_are_findings_and_not_printed(tmp_path, capfd, at, content, message):
    (tmp_path / "a.nii").write_bytes(changed(at, content))
    (found,) = [text for text in messages(tmp_path / "a.nii", Level.WARNING) if "has a fault" in text]
    assert message in found
    assert capfd.readouterr() == ("", "")


def test_an_unknown_unit_of_length_is_refused_with_its_number(tmp_path):
    (tmp_path / "a.nii").write_bytes(changed(123, b"\x07"))
    with pytest.raises(InputError, match=r"a\.nii .* unknown unit of length \(xyzt_units is 7\); set that of mm, 2"):
        opened(tmp_path / "a.nii")


def test_voxels_that_are_not_asked_for_are_not_taken_for_bytes_after_the_voxels(tmp_path, monkeypatch):
    monkeypatch.setattr("spuproj.training.data.volumes.nibabel_file.MOST_BESIDE_VOXELS", 400)
    voxels = np.arange(20**3, dtype=np.uint16).reshape(20, 20, 20)
    content = nib.Nifti1Image(voxels, np.eye(4)).to_bytes()
    for beside, refused in ((0, False), (400, False), (401, True)):
        (tmp_path / "image.nii.gz").write_bytes(gzip.compress(content + bytes(beside)))
        header = open_header(tmp_path / "image.nii.gz")
        if refused:
            with pytest.raises(ValueError, match="more than 400 bytes follow its voxels"):
                header.read((slice(None), slice(None), 0))
        else:
            np.testing.assert_array_equal(header.read((slice(None), slice(None), 0)), voxels[..., 0])
