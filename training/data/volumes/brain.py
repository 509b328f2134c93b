"""Which voxels are brain: what differs from the background, and whether that can be a brain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spuproj.training.data.findings import Finding, Level, merged

REMEDY = "remove the skull first (for example with HD-BET), or name a brain mask in a manifest"

# Parts of the range of intensities: rounding errors of resampling, and the largest noise that is no tissue.
_LEAST_NOISE, _MOST_NOISE = 1e-5, 0.05
# Part of the border: fewer voxels are neither noise of the background nor all of it.
_MANY = 0.1
_LITRES = (0.9, 1.8)
_FULL, _WHOLE, _CUT = 0.75, 0.95, 0.05
# Least overlap (Dice) of a modality's region with that of the others: in eight patients of BraTS it is 0.998 or more,
# and 0.97 or less with that of the mirror image or of another patient. Regions of fewer voxels are not compared.
_ALIKE, _COMPARED = 0.97, 1000
_SIDES = (("right side", "left side"), ("front", "back"), ("bottom", "top"))


def find_brain(volumes: NDArray[np.float32], names: Sequence[str]) -> tuple[NDArray[np.bool_], list[Finding]]:
    """The voxels where any modality differs from its background.

    The background is the median of the voxels on the sides of the axial slices, give or take ten times the median
    deviation of those that differ from it. Where that is too much, because the sides cut through the brain, it is the
    value that most of them have.

    Args:
        volumes: ``[C, X, Y, Z]`` in LPS axes, finite.
        names: of the modalities.

    Returns:
        The mask ``[X, Y, Z]``, which may be empty, and a finding for each modality whose background is not 0
        or whose region is unlike that of most.
    """
    mask, found = np.zeros_like(volumes[0], np.bool_), list[tuple[str, Finding]]()
    regions = dict[str, NDArray[np.bool_]]()
    for name, voxels in zip(names, volumes, strict=True):
        value, noise, constant = _background(voxels)
        regions[name] = (voxels < value - noise) | (voxels > value + noise)
        mask |= regions[name]
        if math.isnan(noise):
            mask[:] = True
            message = f"{{}}: no constant background, so the whole image counts as brain: {REMEDY}"
            found.append((name, Finding(Level.WARNING, message)))
        elif not constant:
            message = (
                f"the background of {{}} is not constant: values between {value - noise:.2g} and {value + noise:.2g} "
                "count as such"
            )
            found.append((name, Finding(Level.NOTE, message)))
        elif value != 0:
            message = f"the background of {{}} is {value:g}, the value along the border"
            found.append((name, Finding(Level.NOTE, message)))
    return mask, [*merged(found), *_unlike(regions)]


def _unlike(regions: Mapping[str, NDArray[np.bool_]]) -> list[Finding]:
    """A warning for each modality that shows another region than most: of another patient, or turned."""
    sizes = {name: np.count_nonzero(region) for name, region in regions.items()}
    shown = {name: regions[name] for name, size in sizes.items() if 0 < size < regions[name].size}
    if len(shown) < 2:
        return []
    count = np.add.reduce([*shown.values()], dtype=np.uint8)
    found = []
    for name, region in shown.items():
        others = count - region > (len(shown) - 1) / 2
        both = sizes[name] + np.count_nonzero(others)
        overlap = 2 * np.count_nonzero(region & others) / both
        if both > 2 * _COMPARED and overlap < _ALIKE:
            message = (
                f"{name} does not show the region that the other modalities show (they overlap by a Dice of "
                f"{overlap:.2f}): look whether it is of the same patient, oriented alike and without skull"
            )
            found.append(Finding(Level.WARNING, message))
    return found


def _background(voxels: NDArray[np.float32]) -> tuple[float, float, bool]:
    """The background's value, the largest deviation from it (NaN where there is none), and whether it is constant."""
    sides = np.concatenate([voxels[[0, -1]].ravel(), voxels[:, [0, -1]].ravel()])
    value = float(np.median(sides))
    deviations = np.abs(sides - value)
    others = deviations[deviations > 0]
    noise = 10 * float(np.median(others)) if others.size > _MANY * sides.size else 0.0
    # A million voxels are enough for a quantile.
    sample = voxels.ravel(order="K")[:: 1 + voxels.size // 2**20]
    contrast = float(np.quantile(np.abs(sample - value), 0.99))
    least = _LEAST_NOISE * contrast
    if noise <= _MOST_NOISE * contrast:
        return value, max(noise, least), noise == 0
    values, counts = np.unique(sides, return_counts=True)
    if counts.max() <= _MANY * sides.size:
        return value, math.nan, False
    return float(values[counts.argmax()]), least, True


def doubts(brain: NDArray[np.bool_], spacing: tuple[float, float, float]) -> str:
    """What keeps a mask from being all of one brain: its size, no background, cut off, in pieces; empty if nothing.

    Args:
        brain: ``[X, Y, Z]`` in LPS axes, not empty.
        spacing: voxel size in mm.
    """
    found = []
    count = np.count_nonzero(brain)
    litres = count * math.prod(spacing) / 1e6
    if not _LITRES[0] <= litres <= _LITRES[1]:
        found.append(f"has {litres:.3g} litres, where {_LITRES[0]} to {_LITRES[1]} are usual")
    if (filled := count / brain.size) > _FULL:
        found.append(f"fills {filled:.0%} of the image")
    ends = [(axis, end) for axis in range(3) for end in (0, -1)]
    if cut := [_SIDES[axis][end] for axis, end in ends if np.moveaxis(brain, axis, 0)[end].mean() > _CUT]:
        found.append(f"reaches the {', '.join(cut)} of the image")
    # SciPy is slow where z is not the first axis in memory.
    pieces, number = ndimage.label(brain.T)
    largest = np.bincount(pieces.ravel())[1:].max() / count
    if largest < _WHOLE:
        found.append(f"is in {number} pieces, the largest with {largest:.0%} of it")
    return ", ".join(found)
