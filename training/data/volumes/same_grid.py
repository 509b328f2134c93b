"""Whether volumes lie on one voxel grid."""

from __future__ import annotations

from collections.abc import Sequence

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.volumes.image_file import Volume
from spuproj.training.runtime.errors import InputError

TOLERANCE = 0.05
"""Part of a voxel by which the corners of two grids may differ: less than resampling could mend."""

_ROUNDING = 0.003


def require_same_grid(volumes: Sequence[Volume]) -> list[Finding]:
    """Compares the grid of each volume with that of the first, by the headers alone; the order of axes may differ.

    Returns:
        A note for each volume that lies elsewhere by a small part of a voxel, up to ``TOLERANCE``.

    Raises:
        InputError: where a volume is on another grid; the message has all of them.
    """
    first, notes, other = volumes[0], [], False
    for volume in volumes[1:]:
        apart = first.grid.lps.distance(volume.grid.lps)
        other = other or volume.grid.lps.shape != first.grid.lps.shape or not apart <= TOLERANCE
        if apart > _ROUNDING:
            message = f"{volume.path.name} lies {apart:.2g} voxels beside {first.path.name}: taken as the same place"
            notes.append(Finding(Level.NOTE, message))
    if other:
        raise InputError(
            f"{first.path.parent} must have images on one voxel grid, but {_listed(volumes)}; register them to one "
            "grid first (for example with ANTs, FSL's flirt or BraTS Toolkit)"
        )
    return notes


def _listed(volumes: Sequence[Volume]) -> str:
    """Each volume's grid, and how far it lies from the first one's."""
    first = volumes[0]
    parts = [f"{first.path.name} has {first.grid.text}"]
    for volume in volumes[1:]:
        alike = volume.grid.lps.shape == first.grid.lps.shape
        place = f"{first.grid.lps.distance(volume.grid.lps):.3g} voxels away" if alike else ""
        same = volume.grid.text == first.grid.text
        parts.append(f"{volume.path.name} {'the same' if same else volume.grid.text}{place and f', {place}'}")
    return "; ".join(parts)
