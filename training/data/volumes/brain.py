"""Which voxels are brain: what differs from the background, and whether that can be a brain."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spuproj.training.data.findings import Finding, Level, merged

# Parts of the range of intensities: noise that resampling leaves, and the largest that can still be told from tissue.
_LEAST_NOISE, _MOST_NOISE = 1e-5, 0.05
_MASK_NOISE = 0.001
_LITRES = (0.9, 1.8)
_FULL, _WHOLE, _CUT = 0.75, 0.95, 0.05


def find_brain(volumes: NDArray[np.float32], names: Sequence[str]) -> tuple[NDArray[np.bool_], list[Finding]]:
    """The voxels where any modality differs from its background.

    The background is the value that most voxels on the sides of the axial slices have. Where they have no common value
    but nearly one, it is their median, and as far as ten times their median deviation counts as background too.

    Args:
        volumes: ``[C, X, Y, Z]`` in LPS axes, finite.
        names: of the modalities.

    Returns:
        The mask ``[X, Y, Z]``, which may be empty, and a finding for each modality whose background is not 0.
    """
    mask, found = np.zeros(volumes.shape[1:], np.bool_), list[tuple[str, Finding]]()
    for name, voxels in zip(names, volumes, strict=True):
        value, noise = _background(voxels)
        if math.isnan(noise):
            mask[:] = True
            message = f"{{}} has no constant background, so the whole image counts as brain: {_REMEDY}"
            found.append((name, Finding(Level.WARNING, message)))
            continue
        mask |= np.abs(voxels - value) > noise
        if abs(value) > noise:
            message = f"the background of {{}} is {value:g}, the value along the border"
            found.append((name, Finding(Level.NOTE, message)))
        elif value != 0:
            message = (
                f"the background of {{}} is not constant: values between {-noise:.1g} and {noise:.1g} count as such"
            )
            found.append((name, Finding(Level.NOTE, message)))
    return mask, merged(found)


_REMEDY = "remove the skull first (for example with HD-BET), or name a brain mask in a manifest"


def _background(voxels: NDArray[np.float32]) -> tuple[float, float]:
    """The background's value and the largest deviation from it; NaN where the border has no background."""
    sides = np.concatenate([voxels[[0, -1]].ravel(), voxels[:, [0, -1]].ravel()])
    values, counts = np.unique(sides, return_counts=True)
    common = counts.max() * 2 >= sides.size
    value = float(values[counts.argmax()]) if common else float(np.median(sides))
    # A million voxels are enough for a quantile.
    sample = np.abs(voxels.ravel()[:: 1 + voxels.size // 2**20] - value)
    contrast = float(np.quantile(sample, 0.99))
    noise = 0.0 if common else 10 * float(np.median(np.abs(sides - value)))
    if noise > _MOST_NOISE * contrast:
        return value, math.nan
    return value, max(noise, _LEAST_NOISE * contrast)


def inside_mask(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a brain mask is not zero, but for the noise that resampling leaves."""
    sizes = np.abs(values)
    inside: NDArray[np.bool_] = sizes > _MASK_NOISE * sizes.max()
    return inside


def implausible(brain: NDArray[np.bool_], spacing: tuple[float, float, float]) -> list[Finding]:
    """A finding where a mask cannot be all of one brain: too small or large, without background, cut off, in pieces.

    Args:
        brain: ``[X, Y, Z]``, not empty.
        spacing: voxel size in mm.
    """
    litres = float(np.count_nonzero(brain)) * math.prod(spacing) / 1e6
    faults = []
    if not _LITRES[0] <= litres <= _LITRES[1]:
        faults.append(f"has {litres:.2g} litres, where {_LITRES[0]} to {_LITRES[1]} are usual")
    if (filled := brain.mean()) > _FULL:
        faults.append(f"fills {filled:.0%} of the image")
    faces = {
        f"{end} {side}": float(np.take(brain, index, axis).mean())
        for axis, ends in enumerate((("right", "left"), ("front", "back"), ("bottom", "top")))
        for index, end, side in zip((0, -1), ends, ("side", "side"), strict=True)
    }
    if cut := [name for name, part in faces.items() if part > _CUT]:
        faults.append(f"reaches the {', '.join(cut)} of the image")
    pieces, count = ndimage.label(brain)
    largest = np.bincount(pieces.ravel())[1:].max() / np.count_nonzero(brain)
    if largest < _WHOLE:
        faults.append(f"is in {count} pieces, the largest with {largest:.0%} of it")
    if not faults:
        return []
    return [Finding(Level.WARNING, f"what is taken as brain {', '.join(faults)}; if it is not the brain, {_REMEDY}")]
