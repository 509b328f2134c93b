"""Headers of NRRD and MetaImage files, which SimpleITK reads."""

from __future__ import annotations

import math
import os
import re
import stat
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.volumes.header import Header

MOST_NUMBERS = 2**29
"""In a file, of all its components: SimpleITK reads it whole."""
MOST_FILES = 4096
"""Of one volume's voxels."""
MOST_AXES = 6
"""Of an NRRD file, as its header says: SimpleITK crashes for 16."""

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")

_MOST_OF_HEADER = 2**20
_CHUNK = 2**20
_DATA_FILE = re.compile(rb"(?i)\s*(?:data ?file|elementdatafile)\s*[:=]+(.*)")
# SimpleITK's axes are LPS, nibabel's RAS.
_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def open_header(path: Path) -> Header:
    """The header of a file. Raises whatever SimpleITK raises, and ValueError for what it must not be given."""
    header = _header(path)
    _require_few_axes(header)
    _require_voxels_in_files(path.parent, header)
    import SimpleITK  # slow to import

    itk: Any = SimpleITK  # which has no types
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    channels = reader.GetNumberOfComponents()
    shape = tuple(map(int, reader.GetSize()))
    if math.prod(shape) * channels > MOST_NUMBERS:
        raise ValueError(f"it has {math.prod(shape) * channels} numbers, more than {MOST_NUMBERS}")
    affine = _affine(reader)
    like = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), affine)
    like.header.set_xyzt_units("mm")

    def read(index: tuple[int | slice, ...]) -> NDArray[Any]:
        _require_sound(path, header)
        # SimpleITK's arrays have the axes in reverse, and components last.
        voxels: NDArray[Any] = itk.GetArrayFromImage(reader.Execute())
        spatial = tuple(reversed(range(len(shape))))
        return voxels.transpose((*spatial, len(shape)) if channels > 1 else spatial)[index]

    return Header(
        shape=(*shape, channels) if channels > 1 else shape,
        affine=affine,
        dtype=_dtype(itk.GetPixelIDValueAsString(reader.GetPixelID())),
        like=like,
        findings=_orientation(path, reader),
        read=read,
    )


def _require_sound(path: Path, header: bytes) -> None:
    """Raises zlib.error or ValueError where compressed voxels are damaged: SimpleITK does not compare checksums."""
    fields = _fields(header)
    gzipped = fields.get(b"encoding", b"").lower() in (b"gz", b"gzip")
    if not gzipped and fields.get(b"compresseddata", b"")[:1].lower() not in (b"t", b"1"):
        return
    beside = _voxels(path.parent, header)
    voxels = beside[0] if beside else os.fsencode(path)
    if len(beside) < 2 and fields.get(b"line skip", b"0") == b"0" and os.path.isfile(voxels):
        _require_checksum(voxels, 0 if beside else len(header))


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
    """The values of a header's fields, by name in lower case."""
    pairs = (re.split(rb"[:=]+", line, maxsplit=1) for line in header.splitlines())
    return {pair[0].strip().lower(): pair[1].strip() for pair in pairs if len(pair) == 2}


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


def _require_checksum(path: bytes, start: int) -> None:
    """Decompresses what begins at byte ``start`` of a file, to its checksum, which zlib compares."""
    # Of zlib or of gzip.
    decompressor, most = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32), MOST_NUMBERS * 8
    with open(path, "rb") as stream:
        stream.seek(start)
        while not decompressor.eof:
            compressed = decompressor.unconsumed_tail or stream.read(_CHUNK)
            most -= len(decompressor.decompress(compressed, 16 * _CHUNK))
            if most < 0 or not compressed:
                raise ValueError("its compressed voxels do not end where they should")


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


def _orientation(path: Path, reader: Any) -> tuple[Finding, ...]:
    if path.suffix.lower() not in (".nrrd", ".nhdr") or reader.HasMetaDataKey("NRRD_space"):
        return ()
    message = (
        "{}: the header does not say how the image is oriented (it has no 'space'): its axes are taken to run to the "
        "left, the back and the top"
    )
    return (Finding(Level.WARNING, message),)
