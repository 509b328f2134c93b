"""Headers of NRRD and MetaImage files, which SimpleITK reads."""

from __future__ import annotations

import math
import os
import re
import stat
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.volumes.grid import Grid, require_placed
from spuproj.training.data.volumes.header import Header, in_millimetres
from spuproj.training.runtime.names import repeated

MOST_NUMBERS = 2**29
"""In a file, of all its components: SimpleITK reads it whole."""
MOST_FILES = 4096
"""Of one volume's voxels."""
MOST_AXES = 6
"""Of an NRRD file, as its header says: SimpleITK crashes for 16."""

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")

_UNITS = {
    **dict.fromkeys(("mm", "millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers"), "micron"),
    **dict.fromkeys(("cm", "centimeter", "centimeters"), "centimeter"),
    **dict.fromkeys(("m", "meter", "meters"), "meter"),
}
_SPACES = ("right-anterior-superior", "left-anterior-superior", "left-posterior-superior")
"""Those of NRRD that SimpleITK turns to its own axes; it takes all others for them."""

_MOST_OF_HEADER = 2**20
_CHUNK = 2**20
_DATA_FILE = re.compile(rb"(?i)\s*(?:data ?file|elementdatafile)\s*[:=]+(.*)")
# SimpleITK's axes are LPS, nibabel's RAS.
_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def open_header(path: Path) -> Header:
    """The header of a file. Raises whatever SimpleITK raises, and ValueError for what it must not be given."""
    header = _header(path)
    _require_few_axes(header)
    _require_fields_once(header)
    _require_voxels_in_files(path.parent, header)
    import SimpleITK  # slow to import

    itk: Any = SimpleITK  # which has no types
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if "Reason: No such file" not in str(error):
            raise
        # SimpleITK prints its reason, and raises another.
        raise ValueError("it must have NDims, DimSize, ElementType, and as many numbers in a field as axes") from None
    channels = reader.GetNumberOfComponents()
    shape = tuple(map(int, reader.GetSize()))
    if len(shape) < 3:
        raise ValueError(f"it has {len(shape)} axes, and a volume has three")
    if math.prod(shape) * channels > MOST_NUMBERS:
        raise ValueError(f"it has {math.prod(shape) * channels} numbers, more than {MOST_NUMBERS}")
    fields = _fields(header)
    scale, findings = _units(fields)
    affine = np.diag([scale, scale, scale, 1]) @ _affine(reader)
    require_placed(path, Grid((shape[0], shape[1], shape[2]), affine))
    like = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), affine)
    like.header.set_xyzt_units("mm")
    dtype = _dtype(itk.GetPixelIDValueAsString(reader.GetPixelID()))

    def read(index: tuple[int | slice, ...]) -> NDArray[Any]:
        _require_sound(path, header, math.prod(shape) * channels * dtype.itemsize, shape[-1])
        # SimpleITK's arrays have the axes in reverse, and components last.
        voxels: NDArray[Any] = itk.GetArrayFromImage(reader.Execute())
        spatial = tuple(reversed(range(len(shape))))
        return voxels.transpose((*spatial, len(shape)) if channels > 1 else spatial)[index]

    return Header(
        shape=(*shape, channels) if channels > 1 else shape,
        affine=affine,
        dtype=dtype,
        like=like,
        findings=(*findings, *_left_open(fields, reader), *_not_scaled(fields)),
        read=read,
    )


def _require_sound(path: Path, header: bytes, size: int, slices: int) -> None:
    """Raises zlib.error or ValueError for voxels that SimpleITK would read otherwise than they are, and not say so.

    It compares no checksums. Where voxels of a MetaImage are text, end early, or are in fewer files than it looks for,
    it gives what happens to be in memory.

    Args:
        path: of the header.
        header: as text.
        size: of the voxels in memory, in bytes.
        slices: along the last axis.
    """
    fields, beside = _fields(header), _voxels(path.parent, header)
    start, files = (0, beside) if beside else (len(header), [os.fsencode(path)])
    if absent := [file for file in files if not os.path.isfile(file)]:
        raise ValueError(f"its voxels must be in {os.fsdecode(os.path.basename(absent[0]))}, which is not there")
    if b"ElementDataFile" in fields:
        _require_file_for_each_slice(fields[b"ElementDataFile"], len(beside), slices)
        _require_whole(fields, files, start, size)
    elif fields.get(b"encoding", b"").lower() in (b"gz", b"gzip") and fields.get(b"line skip", b"0") == b"0":
        for file in files:
            _require_checksums(file, start)


def _require_file_for_each_slice(named: bytes, count: int, slices: int) -> None:
    """Raises ValueError where a MetaImage names several files otherwise than one for each slice."""
    several = named.startswith(b"LIST") or b"%" in named
    if several and not (count == slices and re.fullmatch(rb"LIST(\s+2)?|\S+(\s+\d+){3}", named)):
        raise ValueError(
            f"its voxels must be in a file for each of {slices} slices, listed after LIST or numbered like s%03d.raw 0 "
            f"{slices - 1} 1, got {named!r:.80} with {count}"
        )


def _require_whole(fields: Mapping[bytes, bytes], files: Sequence[bytes], start: int, size: int) -> None:
    """Raises zlib.error or ValueError where a MetaImage's voxels, from a byte of each file, are not ``size`` bytes."""
    if fields.get(b"BinaryData", b"")[:1].lower() in (b"f", b"0"):
        raise ValueError("its voxels are text (BinaryData is False), which is not read; save it in binary form")
    compressed = fields.get(b"CompressedData", b"")[:1].lower() in (b"t", b"1")
    skipped, named = fields.get(b"HeaderSize", b"0"), fields.get(b"CompressedDataSize", b"")
    if skipped != b"0" and (start or compressed):
        raise ValueError(f"its HeaderSize must be 0, or its voxels in a file of their own, got {skipped!r:.40}")
    before = int(skipped) if skipped.isdigit() else 0
    for file in files:
        if compressed:
            taken, there = _decompressed(file, start)
            # The whole of a file of its own is taken where no size is named.
            size_named = int(named) if named.isdigit() else 0
            if (start or named not in (b"", b"0")) and not taken <= size_named <= os.path.getsize(file) - start:
                raise ValueError(
                    f"its header must have CompressedDataSize = {taken}, got {named.decode('ascii', 'replace')!r:.40}"
                )
        else:
            there = os.path.getsize(file) - start - before
        if there < size / len(files):
            raise ValueError(f"its voxels must be {size / len(files):.0f} bytes in each file, got {there}")


def voxel_files(path: Path) -> list[bytes]:
    """The paths of the files of a header's voxels; none where they follow it in the same file.

    Raises:
        ValueError: for a header that names more than ``MOST_FILES``, numbers them by another pattern than ``%03d``, or
            is too long.
    """
    return _voxels(path.parent, _header(path))


def _voxels(folder: Path, header: bytes) -> list[bytes]:
    lines = header.splitlines()
    found = ((number, _DATA_FILE.match(line)) for number, line in enumerate(lines))
    at, match = next(((number, match) for number, match in found if match), (0, None))
    named = b"" if match is None else match[1].strip()
    if named.upper().split()[:1] == [b"LIST"]:
        names = [line.strip() for line in lines[at + 1 :] if line.strip()]
    elif b"%" in named:
        names = _numbered(named)
    else:
        names = [] if named.lower() in (b"", b"local") else [named]
    if len(names) > MOST_FILES:
        raise ValueError(f"its voxels must be in at most {MOST_FILES} files, but are in {len(names)}")
    return [os.path.join(os.fsencode(folder), name) for name in names]


def _numbered(named: bytes) -> list[bytes]:
    """The names that a pattern stands for, with the first and the last number and the step: ``s%03d.raw 0 20 1``."""
    match = re.fullmatch(rb"([^%]*%0?\d?d[^%]*?)\s+(\d{1,9})\s+(\d{1,9})(?:\s+(\d{1,9}))?(?:\s+\d+)?", named)
    if match is None or match[4] == b"0":
        raise ValueError(f"its voxels must be in files that are numbered like s%03d.raw 0 20 1, got {named!r:.80}")
    numbers = range(int(match[2]), int(match[3]) + 1, int(match[4] or 1))
    return [match[1] % number for number in numbers[: MOST_FILES + 1]]


def _fields(header: bytes) -> dict[bytes, bytes]:
    """The values of a header's fields, by name; that of NRRD in lower case, where case does not matter."""
    lower = header.startswith(b"NRRD")
    # NRRD's own keys, which no reader knows, end with ":=".
    pairs = (re.split(rb"[:=]", line, maxsplit=1) for line in header.splitlines() if b":=" not in line)
    found = {pair[0].strip(): pair[1].strip() for pair in pairs if len(pair) == 2}
    return {name.lower(): value for name, value in found.items()} if lower else found


def _header(path: Path) -> bytes:
    """The header as text, with the list of the voxels' files if there is one.

    Raises:
        ValueError: for a header that does not end within ``_MOST_OF_HEADER`` bytes: what it names would be missed.
    """
    with path.open("rb") as stream:
        start = stream.read(_MOST_OF_HEADER + 1)
    # That of NRRD ends at an empty line, that of MetaImage with the name of the file of the voxels; or with the file.
    end = re.search(rb"\r?\n\r?\n" if start.startswith(b"NRRD") else rb"ElementDataFile[^\n]*\n?", start)
    if end is not None and not re.search(rb"(?i)=\s*LIST\b", end[0]):
        return start[: end.end()]
    if len(start) > _MOST_OF_HEADER:
        raise ValueError(f"its header must end within {_MOST_OF_HEADER} bytes, but does not")
    return start


def _decompressed(path: bytes, start: int) -> tuple[int, int]:
    """The bytes of compressed voxels from byte ``start`` of a file, and of the voxels. zlib compares their checksum."""
    # Of zlib or of gzip.
    decompressor, size = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32), 0
    with open(path, "rb") as stream:
        stream.seek(start)
        while not decompressor.eof:
            compressed = decompressor.unconsumed_tail or stream.read(_CHUNK)
            size += len(decompressor.decompress(compressed, 16 * _CHUNK))
            if size > MOST_NUMBERS * 8 or not compressed:
                raise ValueError("its compressed voxels do not end where they should")
        return stream.tell() - start - len(decompressor.unused_data), size


def _require_checksums(path: bytes, start: int) -> None:
    """Raises zlib.error or ValueError where voxels in gzip, of one part after another, are damaged."""
    with open(path, "rb") as stream:
        while True:
            start += _decompressed(path, start)[0]
            stream.seek(start)
            if stream.read(2) != b"\x1f\x8b":
                return


def _require_voxels_in_files(folder: Path, header: bytes) -> None:
    """A header may name other files for the voxels. A pipe would be waited for, and a device has no end."""
    # Whatever a line ends with may be taken for a name.
    ends = (re.split(rb"[:=]", line, maxsplit=1)[-1].strip() for line in header.splitlines())
    for named in (*_voxels(folder, header), *(os.path.join(os.fsencode(folder), end) for end in ends)):
        with suppress(OSError, ValueError):
            mode = os.stat(named).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                break
    else:
        return
    raise ValueError(f"its voxels must be in a file, but {os.fsdecode(os.path.basename(named))} is none")


def _require_few_axes(header: bytes) -> None:
    """Raises ValueError for a header that names other numbers of axes than 1 to ``MOST_AXES``."""
    for line in header.splitlines():
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"dimension" and not 1 <= int(value) <= MOST_AXES:
            raise ValueError(f"it has {int(value)} axes, not 1 to {MOST_AXES}")


def _require_fields_once(header: bytes) -> None:
    """Raises ValueError for a MetaImage with two values of a field, of which SimpleITK takes the last."""
    if header.startswith(b"NRRD"):
        return
    lines = {line.strip() for line in header.splitlines() if b"=" in line}
    names = (line.split(b"=")[0].strip().decode("ascii", "replace") for line in lines)
    if twice := [name for name in repeated(names) if name != "Comment"]:
        raise ValueError(f"its header must have one value of {twice[0]:.40}, but has several")


def _affine(reader: Any) -> NDArray[np.float64]:
    rank = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(rank, rank)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = _TO_RAS @ direction * np.array(reader.GetSpacing())[:3]
    affine[:3, 3] = _TO_RAS @ np.array(reader.GetOrigin())[:3]
    return affine


def _dtype(name: str) -> np.dtype[Any]:
    """The numeric type of a pixel type of SimpleITK; that of objects where it has none, as for complex numbers."""
    types = {
        f"{bits}-bit {kind}": np.dtype(f"{sign}{bits // 8}")
        for bits in (8, 16, 32, 64)
        for kind, sign in (("signed integer", "i"), ("unsigned integer", "u"))
    }
    return {**types, "32-bit float": np.dtype("f4"), "64-bit float": np.dtype("f8")}.get(
        name.removeprefix("vector of "), np.dtype(object)
    )


def _units(fields: Mapping[bytes, bytes]) -> tuple[float, tuple[Finding, ...]]:
    """Millimetres per unit of length, and a finding where they are not 1."""
    text = fields.get(b"DistanceUnits", fields.get(b"space units", fields.get(b"units", b""))).decode(
        "utf-8", "replace"
    )
    # NRRD quotes the unit of each axis; axes of anything but space have none.
    units = {unit.strip().lower() for unit in text.split('"')} - {"", "?", "???"}
    if not units:
        return 1, ()
    if len(units) == 1 and (known := _UNITS.get(*units)):
        return in_millimetres(known)
    message = f"{{}}: the header gives lengths in {text!r:.60}: they are read as mm"
    return 1, (Finding(Level.WARNING, message),)


def _left_open(fields: Mapping[bytes, bytes], reader: Any) -> tuple[Finding, ...]:
    """Warnings where the header does not say how the image is oriented, or how large its voxels are."""
    if b"ElementDataFile" in fields:
        placed = {b"TransformMatrix", b"Orientation", b"Rotation"}
        sizes = 3 if {b"ElementSpacing", b"ElementSize"} & fields.keys() else 0
        lacks = "" if placed & fields.keys() else "it has no 'TransformMatrix'"
    else:
        # That of an axis may be "none" or NaN.
        spacings = fields.get(b"spacings", b"").lower().split()
        sizes = fields.get(b"space directions", b"").count(b"(") or len(spacings) - spacings.count(b"nan")
        space = reader.GetMetaData("NRRD_space") if reader.HasMetaDataKey("NRRD_space") else ""
        lacks = "" if space in _SPACES else f"its 'space' is {space!r}" if space else "it has no 'space'"
    messages = []
    if lacks:
        messages.append(
            f"{{}}: the header does not say how the image is oriented ({lacks}): its axes are taken to run to the "
            "left, the back and the top"
        )
    if sizes < 3:
        along = f" along {3 - sizes} of 3 axes" if sizes else ""
        messages.append(f"{{}}: the header does not give the size of the voxels{along}: it is taken to be 1 mm")
    return tuple(Finding(Level.WARNING, message) for message in messages)


def _not_scaled(fields: Mapping[bytes, bytes]) -> tuple[Finding, ...]:
    """A warning where the header of a MetaImage scales the values: SimpleITK does not."""
    slope = fields.get(b"ElementToIntensityFunctionSlope", b"1").decode("ascii", "replace")
    offset = fields.get(b"ElementToIntensityFunctionOffset", b"0").decode("ascii", "replace")
    if re.fullmatch(r"1(\.0*)?", slope) and re.fullmatch(r"0(\.0*)?", offset):
        return ()
    message = (
        f"{{}}: the header scales the values (ElementToIntensityFunctionSlope {slope:.20}, Offset {offset:.20}), which "
        "is not done: they are read as they are stored"
    )
    return (Finding(Level.WARNING, message),)
