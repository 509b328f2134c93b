"""NRRD and MetaImage: voxels that are not all there are refused, and what the header leaves open is told."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from spuproj.training.data.findings import Level
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.content import content_hash, source_files
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.runtime.errors import InputError

VOXELS = np.arange(24, dtype="<i2").reshape(2, 3, 4, order="F")
RAW = VOXELS.tobytes(order="F")
PACKED = zlib.compress(RAW)
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = 1 1 2\n"
    "DimSize = 2 3 4\nElementType = MET_SHORT\n"
)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 2 3 4\nspace directions: (1,0,0) (0,1,0) (0,0,2)\n"
    "endian: little\nencoding: raw\n"
)
GZIP = NRRD.replace("raw", "gzip")


def volume(folder: Path, name: str, header: str, voxels: bytes = b""):
    (folder / name).write_bytes(header.encode() + voxels)
    return open_volume(ImageFile(folder / name))


def warnings(folder: Path, name: str, header: str) -> list[str]:
    """Of a file whose voxels are read, whatever the header says of their place."""
    end = "\n" if header.startswith("NRRD") else "ElementDataFile = LOCAL\n"
    found = volume(folder, name, header + end, RAW)
    np.testing.assert_array_equal(found.grid.from_lps(found.numbers()), VOXELS)
    return [finding.message for finding in found.findings if finding.level == Level.WARNING]


FLAT = "ObjectType = Image\nNDims = 2\nElementSpacing = 1 1\nDimSize = 4 6\nElementType = MET_SHORT\n"
LOCAL = "ElementDataFile = LOCAL\n"
SHORT = zlib.compress(RAW[:30])


def packed(size: object) -> str:
    return f"{META}CompressedData = True\nCompressedDataSize = {size}\n"


@pytest.mark.parametrize(
    ("header", "voxels", "message"),
    [
        (f"{META}CompressedData = True\n{LOCAL}", PACKED, rf"must have CompressedDataSize = {len(PACKED)}, got ''"),
        (packed(0) + LOCAL, PACKED, rf"must have CompressedDataSize = {len(PACKED)}, got '0'"),
        (packed(len(PACKED) - 9) + LOCAL, PACKED, "must have CompressedDataSize"),
        (packed(10**12) + LOCAL, PACKED, "must have CompressedDataSize"),
        (packed(-1) + LOCAL, PACKED, "must have CompressedDataSize"),
        (packed(len(SHORT)) + LOCAL, SHORT, "its voxels must be 48 bytes in each file, got 30"),
        (META + LOCAL, RAW[:30], "its voxels must be 48 bytes in each file, got 30"),
        (META + "HeaderSize = 3\n" + LOCAL, b"abc" + RAW, "HeaderSize must be 0, .* got b'3'"),
        (META.replace("True", "False") + LOCAL, b"12345 " * 24, r"its voxels are text \(BinaryData is False\)"),
        (META.replace("ElementType", "Type") + LOCAL, RAW, "it must have NDims, DimSize, ElementType"),
        (META.replace("1 1 2", "1 2") + LOCAL, RAW, "as many numbers in a field as axes"),
        (META.replace("1 1 2", "1 1 0") + LOCAL, RAW, "finite and invertible affine"),
        (FLAT + LOCAL, RAW, "it has 2 axes, and a volume has three"),
    ],
)
def test_a_metaimage_whose_voxels_would_not_be_read_as_they_are_is_refused(tmp_path, header, voxels, message):
    with pytest.raises(InputError, match=message):
        volume(tmp_path, "a.mha", header, voxels).numbers()


@pytest.mark.parametrize(
    ("header", "voxels", "message"),
    [
        ("CompressedData = True\n", SHORT, "its voxels must be 48 bytes in each file, got 30"),
        (f"CompressedData = True\nCompressedDataSize = {len(PACKED) - 9}\n", PACKED, "must have CompressedDataSize"),
        ("CompressedData = True\nHeaderSize = 3\n", PACKED, "HeaderSize must be 0"),
        ("HeaderSize = 3\n", RAW, "its voxels must be 48 bytes in each file, got 45"),
        ("", RAW[:-1], "its voxels must be 48 bytes in each file, got 47"),
        ("", None, r"its voxels must be in a\.raw, which is not there"),
        ("HeaderSize = 3\n", b"abc" + RAW, None),
        ("HeaderSize = -1\n", b"abc" + RAW, None),
        ("CompressedData = True\n", PACKED, None),
        ("CompressedData = True\nCompressedDataSize = 0\n", PACKED + b"more", None),
        (f"CompressedData = True\nCompressedDataSize = {len(PACKED)}\n", PACKED, None),
    ],
)
def test_the_file_of_a_metaimages_voxels_must_hold_them_all(tmp_path, header, voxels, message):
    if voxels is not None:
        (tmp_path / "a.raw").write_bytes(voxels)
    found = volume(tmp_path, "a.mhd", f"{META}{header}ElementDataFile = a.raw\n")
    if message is None:
        np.testing.assert_array_equal(found.grid.from_lps(found.numbers()), VOXELS)
        return
    with pytest.raises(InputError, match=message):
        found.numbers()


def files_of_slices(folder: Path) -> None:
    for number in range(4):
        for name in (f"s{number}.raw", f"odd{2 * number + 1}.raw", f"a b{number}.raw"):
            (folder / name).write_bytes(RAW[12 * number : 12 * number + 12])
    for number in range(2):
        (folder / f"half{number}.raw").write_bytes(RAW[24 * number : 24 * number + 24])
    for name in ("whole.raw", "LISTED.raw"):
        (folder / name).write_bytes(RAW)


LIST = "s0.raw\ns1.raw\ns2.raw\ns3.raw\n"


@pytest.mark.parametrize("files", [f"LIST\n{LIST}", f"LIST 2\n{LIST}", "s%d.raw 0 3 1", "odd%1d.raw 1 8 2"])
def test_a_metaimage_may_have_a_file_for_each_slice(tmp_path, files):
    files_of_slices(tmp_path)
    found = volume(tmp_path, "a.mhd", f"{META}ElementDataFile = {files}\n")
    np.testing.assert_array_equal(found.grid.from_lps(found.numbers()), VOXELS)
    (tmp_path / ("odd7.raw" if "odd" in files else "s3.raw")).write_bytes(RAW[:11])
    with pytest.raises(InputError, match="its voxels must be 12 bytes in each file, got 11"):
        found.numbers()


@pytest.mark.parametrize(
    ("files", "count"),
    [
        # SimpleITK divides by zero, and ends the process.
        ("s%d.raw 0 3", 4),
        # It gives what happens to be in memory.
        ("s%d.raw 0 3 1 2", 4), ("half%d.raw 0 1 1", 2), ("LIST\nhalf0.raw\nhalf1.raw", 2), ("LIST 3\nwhole.raw", 1),
        (f"LIST 1\n{LIST}", 4), (f"LIST\n{LIST[:-7]}", 3), ("LISTED.raw", 1), ("a b%d.raw 0 3 1", 4),
    ],
)  # fmt: skip
def test_files_of_a_metaimage_that_are_not_one_for_each_slice_are_refused(tmp_path, files, count):
    files_of_slices(tmp_path)
    found = volume(tmp_path, "a.mhd", f"{META}ElementDataFile = {files}\n")
    with pytest.raises(InputError, match=rf"a file for each of 4 slices, .* got b'{files[:4]}.*' with {count}"):
        found.numbers()


def test_every_channel_of_a_metaimage_must_be_there(tmp_path):
    header = META.replace("DimSize", "ElementNumberOfChannels = 2\nDimSize") + LOCAL
    (tmp_path / "a.mha").write_bytes(header.encode() + np.stack([VOXELS, 2 * VOXELS]).tobytes(order="F"))
    found = open_volume(ImageFile(tmp_path / "a.mha", 1))
    np.testing.assert_array_equal(found.grid.from_lps(found.numbers()), 2 * VOXELS)
    (tmp_path / "a.mha").write_bytes(header.encode() + RAW)
    with pytest.raises(InputError, match="its voxels must be 96 bytes in each file, got 48"):
        found.numbers()


def test_voxels_of_so_many_channels_that_memory_would_run_out_are_refused(tmp_path):
    (tmp_path / "a.nrrd").write_text(
        "NRRD0004\ntype: uchar\ndimension: 4\nspace: LPS\nsizes: 5 512 512 512\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: vector domain domain domain\nencoding: raw\n\n"
    )
    with pytest.raises(InputError, match="it has 671088640 numbers, more than 536870912"):
        open_volume(ImageFile(tmp_path / "a.nrrd", 0))


@pytest.mark.parametrize(("name", "header"), [("a.nrrd", f"{GZIP}\n"), ("a.mha", packed(len(PACKED)) + LOCAL)])
def test_compressed_voxels_that_are_more_than_any_volume_has_are_not_unpacked(tmp_path, monkeypatch, name, header):
    monkeypatch.setattr("spuproj.training.data.volumes.itk_file.MOST_NUMBERS", VOXELS.size)
    compress = gzip.compress if name == "a.nrrd" else zlib.compress
    found = volume(tmp_path, name, header, compress(RAW))
    np.testing.assert_array_equal(found.grid.from_lps(found.numbers()), VOXELS)
    found = volume(tmp_path, name, header, compress(RAW * 5))
    with pytest.raises(InputError, match="its compressed voxels do not end where they should"):
        found.numbers()


def test_damage_to_any_part_of_compressed_voxels_is_found(tmp_path):
    parts = [gzip.compress(RAW[12 * number : 12 * number + 12]) for number in range(4)]
    names = "".join(f"s{number}.gz\n" for number in range(4))
    damaged = [*parts[:3], parts[3][:-8] + bytes([parts[3][-8] ^ 1]) + parts[3][-7:]]
    for each in (parts, damaged):
        for number, part in enumerate(each):
            (tmp_path / f"s{number}.gz").write_bytes(part)
        for found in (
            volume(tmp_path, "list.nhdr", f"{GZIP}data file: LIST\n{names}"),
            volume(tmp_path, "one.nrrd", f"{GZIP}\n", b"".join(each)),
        ):
            if each is parts:
                np.testing.assert_array_equal(found.grid.from_lps(found.numbers()), VOXELS)
            else:
                with pytest.raises(InputError, match=r"is damaged: .*incorrect data check"):
                    found.numbers()


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.nrrd", NRRD + 'space units: "{}" "{}" "{}"\n'), ("a.nrrd", NRRD.replace("space: LPS", "space dimension: 3")
         + 'space units: "{}" "{}" "{}"\n'), ("a.mha", META + "DistanceUnits = {}\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("um", 0.001), ("cm", 10), ("m", 1000)])
def test_lengths_are_read_in_the_unit_of_the_header(tmp_path, name, header, unit, scale):
    end = "\n" if name == "a.nrrd" else LOCAL
    found = volume(tmp_path, name, header.replace("{}", unit) + end, RAW)
    assert found.grid.spacing == pytest.approx((scale, scale, 2 * scale))
    notes = [finding.message for finding in found.findings if finding.level == Level.NOTE]
    assert [f"read as {scale:g} mm each" in note for note in notes] == [True] * (unit != "mm")


def test_a_unit_of_length_that_is_not_known_is_a_warning(tmp_path):
    for name, header in (("a.nrrd", NRRD + 'space units: "in" "in" "in"\n'), ("a.mha", META + "DistanceUnits = in\n")):
        (message,) = warnings(tmp_path, name, header)
        assert "lengths in " in message
        assert "are read as mm" in message
    assert warnings(tmp_path, "a.mha", META + "DistanceUnits = ?\n") == []


@pytest.mark.parametrize(
    ("name", "header", "lacking"),
    [
        ("a.nrrd", NRRD.replace("LPS", "scanner-xyz"), "its 'space' is 'scanner-xyz'"),
        ("a.nrrd", NRRD.replace("LPS", "3D-left-handed"), "its 'space' is '3D-left-handed'"),
        ("a.nrrd", NRRD.replace("space: LPS", "space dimension: 3"), "it has no 'space'"),
        ("a.mha", META.replace("TransformMatrix", "Comment"), "it has no 'TransformMatrix'"),
        ("a.nrrd", NRRD, ""),
        ("a.nrrd", NRRD.replace("LPS", "left-anterior-superior"), ""),
        ("a.mha", META.replace("TransformMatrix", "Orientation"), ""),
    ],
)
def test_an_orientation_that_is_taken_for_granted_is_a_warning(tmp_path, name, header, lacking):
    told = [f"does not say how the image is oriented ({lacking}): its axes are taken" in message
            for message in warnings(tmp_path, name, header)]  # fmt: skip
    assert told == [True] * bool(lacking)


def test_sizes_of_voxels_that_are_taken_for_granted_are_a_warning(tmp_path):
    directions = "space directions: (1,0,0) (0,1,0) (0,0,2)\n"
    for name, header in (("a.nrrd", NRRD.replace(directions, "")), ("a.mha", META.replace("ElementSp", "Sp"))):
        assert "does not give the size of the voxels: it is taken to be 1 mm" in warnings(tmp_path, name, header)[0]
    assert "does not give the size" in warnings(tmp_path, "a.mha", META.replace("ElementS", "elements"))[0]
    without_space = NRRD.replace("space: LPS\n", "").replace(directions, "spacings: 1 nan 2\n")
    for header in (NRRD.replace("(1,0,0)", "none"), without_space):
        (message,) = [text for text in warnings(tmp_path, "a.nrrd", header) if "give the size" in text]
        assert "does not give the size of the voxels along 1 of 3 axes: it is taken to be 1 mm" in message


def test_two_values_of_a_field_are_refused(tmp_path):
    twice = META.replace("ElementSpacing", "ElementSpacing = 1 1 5\nElementSpacing")
    with pytest.raises(InputError, match=r"a\.mha .*its header must have one value of ElementSpacing, but has several"):
        warnings(tmp_path, "a.mha", twice)
    again = META.replace("ObjectType", "Comment = a\nComment = b\nNDims = 3\nObjectType")
    assert warnings(tmp_path, "a.mha", again) == warnings(tmp_path, "a.mha", META)


@pytest.mark.parametrize(("slope", "offset", "warned"), [("1", "0", False), ("1.0", "0.000", False), ("2", "0", True)])
def test_values_that_the_header_scales_are_a_warning(tmp_path, slope, offset, warned):
    names = "ElementToIntensityFunction{} = {}\n"
    header = META + names.format("Slope", slope) + names.format("Offset", offset)
    found = warnings(tmp_path, "a.mha", header)
    assert ["Slope 2, Offset 0), which is not done" in message for message in found] == [True] * warned


def test_the_reason_of_a_nrrd_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(
        InputError, match=r"a\.nrrd is damaged: \S*: Sorry, bzip2 encoding not available in NrrdIO; copy it"
    ):
        volume(tmp_path, "a.nrrd", NRRD.replace("raw", "bzip2") + "\n", RAW).numbers()


BARE_NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
MHD = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"


@pytest.mark.parametrize("size", [10, 70_000, 1_100_000])
@pytest.mark.parametrize("kind", ["nhdr", "mhd"])
def test_what_lies_behind_many_comments_of_a_header_is_looked_at_or_refused(tmp_path, size, kind):
    os.mkfifo(tmp_path / "pipe")
    if kind == "nhdr":
        text = BARE_NRRD + f"# {'x' * 98}\n" * (size // 101) + "data file: pipe\n"
    else:
        text = MHD + f"Comment = {'x' * 90}\n" * (size // 101) + "ElementDataFile = pipe\n"
    path = tmp_path / f"a.{kind}"
    path.write_text(text)
    words = (
        "its header must end within 1048576 bytes" if size > 2**20 else "its voxels must be in a file, but pipe is none"
    )
    with pytest.raises(InputError, match=words):
        open_volume(ImageFile(path))
    if size > 2**20:
        with pytest.raises(InputError, match=words):
            content_hash(path)


@pytest.mark.parametrize("count", [3, 3000])
def test_every_file_of_a_long_list_is_part_of_the_content(tmp_path, count):
    names = [f"{'slice' * 8}_{number:05}.raw" for number in range(count)]
    for name in names:
        (tmp_path / name).write_bytes(bytes(4))
    path = tmp_path / "a.mhd"
    path.write_text(MHD.replace("2 2 2", f"2 2 {count}") + "ElementDataFile = LIST\n" + "\n".join(names) + "\n")
    before = content_hash(path)
    assert len(source_files(path)) == count + 1
    (tmp_path / names[-1]).write_bytes(b"1234")
    assert content_hash(path) != before
