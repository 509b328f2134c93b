"""Headers of NIfTI and FreeSurfer files, which nibabel reads."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import imageglobals
from numpy.typing import NDArray

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.volumes.grid import Grid
from spuproj.training.data.volumes.header import Header, in_millimetres

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh")

_NIFTI: Any = (nib.Nifti2Header, nib.Nifti1Header)  # nibabel's methods have no types

_SAME = 0.1  # of a voxel, between the two affines of a NIfTI header

_LEAST_EXTENSION, _SIZES_OF_EXTENSION = 16, 8  # in bytes, of an extension of a NIfTI header

MOST_BESIDE_VOXELS = 2**26
"""Bytes before the voxels, and bytes after them. A compressed file of a few bytes can hold gigabytes of either."""


def open_header(path: Path) -> Header:
    """The header of a file. Raises whatever nibabel raises."""
    _require_sound_start(path)
    with _repairs() as repaired:
        image: Any = nib.load(path)
    if isinstance(image, nib.Nifti1Image):
        scale, findings = _units(image)
        findings = (*findings, *_orientation(image), *map(_repair, dict.fromkeys(repaired)))
        like = image
    else:
        scale, findings = 1.0, _freesurfer_orientation(image)
        # Outputs are NIfTI.
        like = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), image.affine)
        like.header.set_xyzt_units("mm")
    stored, begins = _stored(path, image)
    affine = np.array(image.affine, np.float64)
    affine[:3] *= scale
    return Header(
        shape=tuple(map(int, image.shape)),
        affine=affine,
        dtype=image.get_data_dtype(),
        like=like,
        findings=(*findings, *begins),
        read=lambda index: _voxels(path, stored, index),
    )


def _stored(path: Path, image: Any) -> tuple[Any, tuple[Finding, ...]]:
    """The voxels in the file, and a note where the header does not say at which byte they begin.

    nibabel would take the header for voxels.
    """
    stored = image.dataobj
    if not isinstance(image, nib.Nifti1Image) or stored.offset != 0:
        return stored, ()
    least = image.header.single_vox_offset
    layout = stored.shape, stored.dtype, least, stored.slope, stored.inter
    message = f"{{}}: the header does not say where the voxels begin (vox_offset is 0): they are read from byte {least}"
    return nib.arrayproxy.ArrayProxy(str(path), layout), (Finding(Level.NOTE, message),)


def _voxels(path: Path, stored: Any, index: tuple[int | slice, ...]) -> NDArray[Any]:
    """Some voxels. A compressed file is read to its end: there is the checksum, by which damage is found."""
    if not path.name.lower().endswith((".gz", ".mgz")):
        whole: NDArray[Any] = np.asanyarray(stored[index])
        return whole
    with nib.openers.ImageOpener(str(path)) as stream:
        # nibabel would map a compressed file that is large enough to memory, and take its bytes for voxels.
        layout = stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter
        voxels: NDArray[Any] = np.asanyarray(nib.arrayproxy.ArrayProxy(stream, layout, mmap=False)[index])
        stream.seek(stored.offset + math.prod(stored.shape) * stored.dtype.itemsize)
        stream.read(MOST_BESIDE_VOXELS)
        if stream.read(1):
            raise ValueError(f"more than {MOST_BESIDE_VOXELS} bytes follow its voxels")
    return voxels


def _require_sound_start(path: Path) -> None:
    """Raises ValueError for a NIfTI file that nibabel would misread, fail to read, or read for long.

    Its voxels must begin after the header and its extensions, and within ``MOST_BESIDE_VOXELS``.
    """
    _require_suffix_of_content(path)
    if path.name.lower().endswith((".mgz", ".mgh")):
        return
    with nib.openers.ImageOpener(str(path)) as stream:
        start = stream.read(nib.nifti2.header_dtype.itemsize)
        for kind in _NIFTI:
            size = kind.template_dtype.itemsize
            if kind.may_contain_header(start) and len(start) >= size:
                header: Any = kind(start[:size], check=False)
                begins, least = float(header["vox_offset"]), kind.single_vox_offset
                if begins > MOST_BESIDE_VOXELS:
                    raise ValueError(
                        f"its voxels begin at byte {begins:.0f}, after more than {MOST_BESIDE_VOXELS} others"
                    )
                # That of header and voxels in two files is refused by nibabel.
                if header["magic"].item() == kind.single_magic:
                    if begins != 0 and not begins >= least:
                        raise ValueError(f"its voxels begin at byte {begins:.0f}, in the header of {least} bytes")
                    stream.seek(size)
                    _require_extensions(stream, int(begins), header.endianness)


def _require_suffix_of_content(path: Path) -> None:
    """Raises ValueError for a NIfTI or MGH file that is compressed and not named so, or named so and not compressed."""
    is_named = path.name.lower().endswith((".gz", ".mgz"))
    with path.open("rb") as stream:
        start = stream.read(nib.nifti2.header_dtype.itemsize)
    if start.startswith(b"\x1f\x8b") and not is_named:
        raise ValueError(f"it is compressed by gzip; rename it to {path.name}.gz, or to .mgz where it is an MGH file")
    if is_named and any(kind.may_contain_header(start) for kind in _NIFTI):
        raise ValueError("it is not compressed, though its name ends as if it were; rename it to .nii")


def _require_extensions(stream: Any, begins: int, order: str) -> None:
    """Raises ValueError where the extensions of a NIfTI header do not end where the voxels begin.

    Args:
        stream: at the end of the header without extensions.
        begins: the byte at which the voxels begin.
        order: of bytes, ``<`` or ``>``.
    """
    if stream.read(4)[:1] in (b"", b"\0"):
        return
    left = begins - stream.tell()
    # Fewer bytes are no extension.
    while left < 0 or left >= _LEAST_EXTENSION:
        size = int.from_bytes(stream.read(8)[:4], "little" if order == "<" else "big", signed=True)
        if not _SIZES_OF_EXTENSION <= size <= left:
            raise ValueError(f"its header has extensions that do not end where its voxels begin, at byte {begins}")
        stream.seek(size - _SIZES_OF_EXTENSION, 1)
        left -= size


@contextmanager
def _repairs() -> Iterator[list[str]]:
    """Yields a list of the faults that nibabel finds in headers, and repairs; it would print them.

    That an extension has an odd size, of which it warns, does not matter.
    """
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    with imageglobals.LoggingOutputSuppressor(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Extension size is not", UserWarning)
        imageglobals.logger.addHandler(handler)
        try:
            yield found
        finally:
            imageglobals.logger.removeHandler(handler)


def _repair(fault: str) -> Finding:
    message = f"{{}}: the header has a fault: {fault}; check the voxel sizes and the orientation"
    return Finding(Level.WARNING, message)


def _units(image: nib.Nifti1Image) -> tuple[float, tuple[Finding, ...]]:
    """Millimetres per unit of length, and a note where they are not 1."""
    try:
        return in_millimetres(image.header.get_xyzt_units()[0])
    except KeyError:
        code = int(image.header["xyzt_units"])
        raise ValueError(
            f"its header has an unknown unit of length (xyzt_units is {code}); set that of mm, 2"
        ) from None


def _orientation(image: nib.Nifti1Image) -> tuple[Finding, ...]:
    """A finding where the header does not place the image, or places it twice."""
    qform, sform = image.header.get_qform(coded=True), image.header.get_sform(coded=True)
    if qform[1] == 0 and sform[1] == 0:
        message = (
            "{}: the header does not say how the image is oriented (qform and sform code are 0), so left and right may "
            "be exchanged: its axes are taken to run to the left, the front and the top"
        )
        return (Finding(Level.WARNING, message),)
    if qform[1] > 0 and sform[1] > 0:
        x, y, z = (*image.shape, 1, 1, 1)[:3]
        apart = Grid((x, y, z), sform[0]).distance(Grid((x, y, z), qform[0]))
        if not apart <= _SAME:
            message = f"{{}}: the header's qform and sform place the image {apart:.3g} voxels apart: the sform is taken"
            return (Finding(Level.WARNING, message),)
    named, placed = image.header.get_zooms()[:3], nib.affines.voxel_sizes(image.affine)[: len(image.shape)]
    if not np.allclose(named, placed[:3], rtol=_SAME, atol=0):
        sizes = " and ".join(" x ".join(f"{size:.3g}" for size in each) for each in (placed[:3], named))
        message = f"{{}}: the header's sform and pixdim give voxels of different sizes, {sizes}: the sform is taken"
        return (Finding(Level.WARNING, message),)
    return ()


def _freesurfer_orientation(image: nib.MGHImage) -> tuple[Finding, ...]:
    if image.header["goodRASFlag"]:
        return ()
    message = (
        "{}: the header does not say how the image is oriented (goodRASFlag is 0): its axes are taken to run to the "
        "left, the bottom and the front, FreeSurfer's default"
    )
    return (Finding(Level.WARNING, message),)
