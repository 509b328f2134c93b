"""Small files that promise or hold much more than they are: they are refused before memory or time is spent on them."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch

from fuzz_readers.readers import READERS, SEEDS
from fuzz_readers.test_kept_files import read
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.runtime.errors import InputError

HELD = 200_000_000


def zeros(stream, count: int) -> None:
    for _ in range(count // 10_000_000):
        stream.write(bytes(10_000_000))


def nifti(shape, voxels_begin: float = 352.0, kind=nib.Nifti1Header) -> bytes:
    header = kind()
    header.set_data_dtype(np.float64)
    header["dim"][: len(shape) + 1] = (len(shape), *shape)
    header["vox_offset"] = voxels_begin
    header["magic"] = b"n+1" if kind is nib.Nifti1Header else header["magic"]
    header.set_sform(np.eye(4), 1)
    return header.binaryblock


@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("shape", [(30_000, 30_000, 30_000), (-1, 4, 4), (4, 4, 0), (4, 4, 4, 30_000, 30_000)])
@pytest.mark.parametrize("name", ["nifti", "nifti_gz"])
def test_a_nifti_header_that_promises_terabytes_is_refused(name, shape, kind, tmp_path):
    error = read(name, tmp_path / "in", nifti(shape, kind=kind) + bytes(4))
    assert error is not None
    assert "must" in str(error)


@pytest.mark.parametrize("shape", [(30_000, 30_000, 30_000), (512, 512, 512)])
def test_voxels_that_are_not_there_are_no_reason_to_take_memory(shape, tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(nifti(shape) + bytes(100)))
    with pytest.raises(InputError, match=r"a\.nii\.gz (must have 1 to|is damaged)"):
        open_volume(ImageFile(tmp_path / "a.nii.gz")).values()


def test_a_nifti_extension_of_gigabytes_is_not_read(tmp_path):
    with gzip.open(tmp_path / "a.nii.gz", "wb", compresslevel=1) as stream:
        stream.write(nifti((4, 4, 4), float(HELD)) + b"\1\0\0\0" + struct.pack("<ii", HELD - 368, 4))
        zeros(stream, HELD)
    assert (tmp_path / "a.nii.gz").stat().st_size < 3_000_000
    with pytest.raises(InputError, match=r"its voxels begin at byte 200000000, after more than 67108864 others"):
        open_volume(ImageFile(tmp_path / "a.nii.gz"))


def test_a_nifti_extension_of_megabytes_is_read(tmp_path):
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", bytes(3_000_000)))
    nib.save(image, tmp_path / "a.nii.gz")
    assert open_volume(ImageFile(tmp_path / "a.nii.gz")).values().sum() == 64


def test_an_mgh_header_that_promises_terabytes_is_refused(tmp_path):
    assert (
        read("mgh", tmp_path / "in", struct.pack(">iiiiiii", 1, 2**20, 2**10, 2**10, 1, 0, 0) + bytes(256)) is not None
    )


NRRD = "NRRD0004\ntype: double\ndimension: {}\nsizes: {}\nencoding: {}\nendian: little\n\n"
META = "ObjectType = Image\nNDims = {}\nDimSize = {}\nElementType = MET_DOUBLE\n{}ElementDataFile = LOCAL\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        # SimpleITK crashes for 16 axes.
        *(("nrrd", NRRD.format(axes, "4 " * min(axes, 1000), "raw")) for axes in (0, 7, 16, 1000, 10**30)),
        ("nrrd", NRRD.format(3, "30000 30000 30000", "gzip")),
        ("nrrd", NRRD.format(4, "4 512 512 1000", "raw")),
        ("metaimage", META.format(3, "30000 30000 30000", "")),
        ("metaimage", META.format(100, "4 " * 100, "")),
        ("metaimage", META.format(3, "512 512 512", "ElementNumberOfChannels = 1000\n")),
        ("metaimage", META.format(3, "4 4 4", "CompressedData = True\nCompressedDataSize = 1000000000000\n")),
    ],
)
def test_an_itk_header_that_promises_too_much_is_refused(name, text, tmp_path):
    assert read(name, tmp_path / "in", text.encode() + bytes(64)) is not None


def test_a_deflated_dicom_file_is_not_inflated(tmp_path):
    plain = (SEEDS / "dicom" / "next").read_bytes()
    begins = 144 + pydicom.filereader.read_file_meta_info(SEEDS / "dicom" / "next").FileMetaInformationGroupLength
    packed = zlib.compressobj(1, zlib.DEFLATED, -15)
    parts = [packed.compress(plain[begins:] + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, HELD))]
    parts += [packed.compress(bytes(10_000_000)) for _ in range(HELD // 10_000_000)]
    meta = pydicom.filereader.read_file_meta_info(SEEDS / "dicom" / "next")
    meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    stream = pydicom.filebase.DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    pydicom.filewriter.write_file_meta_info(stream, meta)
    error = read("dicom", tmp_path / "in", bytes(128) + b"DICM" + stream.getvalue() + b"".join(parts) + packed.flush())
    assert "must not be deflated as a whole" in str(error)


def test_a_checkpoint_that_inflates_is_not_read(tmp_path):
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(SEEDS / "checkpoint" / "plain") as parts,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for part in parts.infolist():
            new.writestr(part.filename, parts.read(part))
        with new.open("plain/data/1", "w") as stream:
            zeros(stream, HELD)
    assert "it holds compressed data" in str(read("checkpoint", tmp_path / "in", packed.getvalue()))


class Long:
    """Unpickled as that many bytes."""

    def __reduce__(self):
        return bytearray, (HELD,)


def test_a_checkpoint_with_a_bytearray_of_any_length_is_not_read(tmp_path):
    torch.save({"epoch": Long()}, tmp_path / "made")
    assert (tmp_path / "made").stat().st_size < 2000
    assert "it holds a bytearray" in str(read("checkpoint", tmp_path / "in", (tmp_path / "made").read_bytes()))


def test_a_weights_file_whose_header_promises_terabytes_is_refused(tmp_path):
    for size in (2**62, 2**40, 2**27):
        content = (
            struct.pack("<Q", size) + b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
        )
        assert read("model_weights", tmp_path / str(size), content) is not None


def test_an_array_file_that_promises_terabytes_is_read_again(tmp_path):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f2", "fortran_order": False, "shape": (2**20, 2**10, 2**10)}
    )
    (tmp_path / "in").mkdir()
    assert READERS["cache"](tmp_path / "in", b"\0" + stream.getvalue())
