"""NIfTI files whose headers nibabel misreads, or cannot read without help."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.findings import Level
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.runtime.errors import InputError

VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
KINDS = {"NIfTI-1": (nib.Nifti1Image, 348, 108, "<f"), "NIfTI-2": (nib.Nifti2Image, 540, 168, "<q")}
EXTENSION = struct.pack("<ii", 32, 6) + b"comment".ljust(24, b"\0")


def with_bytes(kind: str, begins: int, before: bytes, has_extension: bool) -> bytes:
    """A file whose voxels follow some bytes after the header, and where its header says that they begin."""
    image, size, field, form = KINDS[kind]
    content = image(VOXELS, AFFINE).to_bytes()
    header = bytearray(content[:size])
    header[field : field + struct.calcsize(form)] = struct.pack(form, begins)
    return bytes(header) + bytes([has_extension, 0, 0, 0]) + before + content[size + 4 :]


def read(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    volume = open_volume(ImageFile(path))
    return volume.values(), [found.message for found in volume.findings if found.level != Level.ERROR]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_voxels_whose_place_the_header_leaves_open_follow_it(tmp_path, kind, name):
    voxels, messages = read(tmp_path / name, with_bytes(kind, 0, b"", False))
    np.testing.assert_array_equal(voxels, VOXELS)
    (message,) = messages
    assert message.startswith(
        "{}: the header does not say where the voxels begin (vox_offset is 0): they are read from"
    )


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("begins", [1, 347, 351, -16])
def test_voxels_that_begin_in_the_header_are_refused(tmp_path, kind, begins):
    with pytest.raises(InputError, match=f"its voxels begin at byte {begins}, in the header of .* bytes; copy it"):
        read(tmp_path / "a.nii", with_bytes(kind, begins, b"", False))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "before", [EXTENSION, EXTENSION + EXTENSION, EXTENSION + bytes(8), struct.pack("<ii", 20, 6) + b"odd".ljust(12)]
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_extensions_are_passed_over(tmp_path, kind, name, before):
    begins = KINDS[kind][1] + 4 + len(before)
    voxels, messages = read(tmp_path / name, with_bytes(kind, begins, before, True))
    np.testing.assert_array_equal(voxels, VOXELS)
    # That SPM could not read the file is said once.
    assert len(messages) == (begins % 16 != 0)


@pytest.mark.parametrize(
    ("before", "begins"),
    [
        (EXTENSION + bytes(16), None),
        (bytes(48), None),
        (struct.pack("<ii", 3200, 6) + bytes(24), None),
        (struct.pack("<ii", -5, 6) + bytes(24), None),
        (struct.pack("<ii", 2**31 - 16, 6) + bytes(24), None),
        (EXTENSION, 0),
    ],
)
@pytest.mark.parametrize("kind", list(KINDS))
def test_extensions_that_do_not_end_where_the_voxels_begin_are_an_error_that_says_so(tmp_path, kind, before, begins):
    begins = KINDS[kind][1] + 4 + len(before) if begins is None else begins
    message = f"extensions that do not end where its voxels begin, at byte {begins}; copy it again, or convert"
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.nii", with_bytes(kind, begins, before, True))


@pytest.mark.parametrize(
    ("name", "is_compressed", "message"),
    [
        ("a.nii", True, r"it is compressed by gzip; rename it to a\.nii\.gz"),
        ("a.mgh", True, r"it is compressed by gzip; .* \.mgz where it is an MGH file"),
        ("a.nii.gz", False, r"it is not compressed, though its name ends as if it were; rename it to \.nii"),
    ],
)
def test_a_suffix_that_is_not_that_of_the_content_is_an_error_that_names_it(tmp_path, name, is_compressed, message):
    content = nib.Nifti1Image(VOXELS, AFFINE).to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if is_compressed else content)
    with pytest.raises(InputError, match=message):
        open_volume(ImageFile(tmp_path / name))


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>" * 50, nib.Nifti1Image(VOXELS, AFFINE).to_bytes()[:400]])
def test_a_file_that_cannot_be_read_ends_with_what_to_do(tmp_path, content):
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputError, match=r"; copy it again, or convert it again from its source$"):
        open_volume(ImageFile(tmp_path / "a.nii")).values()
