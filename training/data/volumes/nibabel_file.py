"""Headers of NIfTI and FreeSurfer files, which nibabel reads."""

from __future__ import annotations

import logging
import math
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

_SAME = 0.1  # of a voxel, between the two affines of a NIfTI header

MOST_BESIDE_VOXELS = 2**26
"""Bytes before the voxels, and bytes after them. A compressed file of a few bytes can hold gigabytes of either."""


def open_header(path: Path) -> Header:
    """The header of a file. Raises whatever nibabel raises."""
    _require_short(path)
    with _repairs() as repaired:
        image: Any = nib.load(path)
    if isinstance(image, nib.Nifti1Image):
        scale, findings = _units(image)
        findings = (*findings, *_orientation(image), *map(_repair, repaired))
        like = image
    else:
        scale, findings = 1.0, _freesurfer_orientation(image)
        # Outputs are NIfTI.
        like = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), image.affine)
        like.header.set_xyzt_units("mm")
    affine = np.array(image.affine, np.float64)
    affine[:3] *= scale
    return Header(
        shape=tuple(map(int, image.shape)),
        affine=affine,
        dtype=image.get_data_dtype(),
        like=like,
        findings=findings,
        read=lambda index: _voxels(path, image, index),
    )


def _voxels(path: Path, image: Any, index: tuple[int | slice, ...]) -> NDArray[Any]:
    """Some voxels. A compressed file is read to its end: there is the checksum, by which damage is found."""
    stored = image.dataobj
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


def _require_short(path: Path) -> None:
    """Raises ValueError where the voxels of a NIfTI file begin after ``MOST_BESIDE_VOXELS``."""
    if path.name.lower().endswith((".mgz", ".mgh")):
        return
    with nib.openers.ImageOpener(str(path)) as stream:
        start = stream.read(nib.nifti2.header_dtype.itemsize)
    for kind in (nib.Nifti2Header, nib.Nifti1Header):
        size = kind.template_dtype.itemsize
        if kind.may_contain_header(start) and len(start) >= size:
            header: Any = kind
            begins = float(header(start[:size], check=False)["vox_offset"])
            if begins > MOST_BESIDE_VOXELS:
                raise ValueError(f"its voxels begin at byte {begins:.0f}, after more than {MOST_BESIDE_VOXELS} others")


@contextmanager
def _repairs() -> Iterator[list[str]]:
    """Yields a list of the faults that nibabel finds in headers, and repairs; it would print them."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    with imageglobals.LoggingOutputSuppressor():
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
    if sform[1] > 0 and not np.allclose(named, placed[:3], rtol=_SAME, atol=0):
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
