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
MOST_AXES = 6
"""Of an NRRD file, as its header says: SimpleITK crashes for 16."""

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")

_MOST_OF_HEADER = 2**16
_LONGEST_LINE = 2**16
_CHUNK = 2**20
# SimpleITK's axes are LPS, nibabel's RAS.
_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def open_header(path: Path) -> Header:
    """The header of a file. Raises whatever SimpleITK raises, and ValueError for voxels in a pipe or device."""
    _require_few_axes(path)
    import SimpleITK  # slow to import

    _require_voxels_in_files(path)

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
        _require_sound(path)
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


def _require_sound(path: Path) -> None:
    """Raises zlib.error or ValueError where compressed voxels are damaged: SimpleITK does not compare checksums."""
    header = _text_header(path)
    pairs = (re.split(rb"[:=]+", line, maxsplit=1) for line in header.splitlines())
    fields = {pair[0].strip().lower(): pair[1].strip() for pair in pairs if len(pair) == 2}
    gzipped = fields.get(b"encoding", b"").lower() in (b"gz", b"gzip")
    if not gzipped and fields.get(b"compresseddata", b"")[:1].lower() not in (b"t", b"1"):
        return
    named = (fields.get(key) for key in (b"data file", b"datafile", b"elementdatafile"))
    name = next((each for each in named if each and each.lower() != b"local"), None)
    voxels = os.fsencode(path) if name is None else os.path.join(os.fsencode(path.parent), name)
    if fields.get(b"line skip", b"0") == b"0" and os.path.isfile(voxels):
        _require_checksum(voxels, len(header) if name is None else 0)


def _text_header(path: Path) -> bytes:
    """The header, or nothing where it is longer than ``_MOST_OF_HEADER``."""
    with path.open("rb") as stream:
        start = stream.read(_MOST_OF_HEADER)
    # That of NRRD ends at an empty line, that of MetaImage with the name of the file of the voxels.
    end = re.search(rb"\r?\n\r?\n" if start.startswith(b"NRRD") else rb"ElementDataFile[^\n]*\n?", start)
    if end is not None:
        return start[: end.end()]
    return start if len(start) < _MOST_OF_HEADER else b""


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


def _require_voxels_in_files(path: Path) -> None:
    """A header may name other files for the voxels. A pipe would be waited for, and a device has no end."""
    for named in named_paths(path):
        with suppress(OSError, ValueError):
            mode = os.stat(named).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                break
    else:
        return
    raise ValueError(f"its voxels must be in a file, but {os.fsdecode(os.path.basename(named))} is none")


def named_paths(path: Path) -> list[bytes]:
    """Paths of all that a header names, such as files of voxels; most lead nowhere, as it holds other words too."""
    with path.open("rb") as stream:
        lines = stream.read(_MOST_OF_HEADER).splitlines()
    folder = os.fsencode(path.parent)
    return [os.path.join(folder, re.split(rb"[:=]", line, maxsplit=1)[-1].strip()) for line in lines]


def _require_few_axes(path: Path) -> None:
    """Raises ValueError for an NRRD header that names other numbers of axes than 1 to ``MOST_AXES``."""
    if path.suffix.lower() not in (".nrrd", ".nhdr"):
        return
    with path.open("rb") as stream:
        for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"dimension" and not 1 <= int(value) <= MOST_AXES:
                raise ValueError(f"it has {int(value)} axes, not 1 to {MOST_AXES}")
            # An empty line ends the header.
            if not line.strip():
                return


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
