"""Normalisation of intensities inside the brain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.findings import Finding, Level, merged

CLIP = (0.001, 0.999)
"""Quantiles of a modality's intensities in the brain, between which they are clipped."""

# An intensity is a spike if it lies this many times the range of usual ones outside of it.
_FAR = 3.0
_USUAL = (0.05, 0.95)
# Fewer voxels do not tell what is usual.
_FEWEST = 500
# An image has more values. So many voxels, evenly spread, tell.
_LABELS, _SAMPLE = 8, 2**16


def normalised(
    volumes: NDArray[np.float32], brain: NDArray[np.bool_], names: Sequence[str], clip: tuple[float, float]
) -> tuple[NDArray[np.float32], list[Finding]]:
    """Intensities with zero mean and unit standard deviation inside the brain, and 0 outside.

    They are clipped at quantiles first, so that single voxels of very large values do not compress all others. In a
    small volume a few voxels are more than the quantiles cut off: spikes are clipped all the same.

    Args:
        volumes: ``[C, X, Y, Z]``, finite.
        brain: ``[X, Y, Z]``, not empty.
        names: of the modalities.
        clip: the lower and the upper quantile.

    Returns:
        An array like ``volumes``, and a finding for each modality that is constant, which becomes 0, has few values,
        has spikes, or has the values of another one.
    """
    result, found = np.zeros_like(volumes), list[tuple[str, Finding]]()
    # Images are stored with x first: with reversed axes NumPy selects voxels in the order of memory.
    chosen = np.ascontiguousarray(brain.T)
    for name, voxels, out in zip(names, volumes.swapaxes(1, 3), result.swapaxes(1, 3), strict=True):
        inside = voxels[chosen]
        low, high = _limits(inside, clip)
        found += [(name, finding) for finding in _unusual(inside, low, high)]
        if low < high:
            clipped = np.clip(inside, low, high)
            mean, deviation = clipped.mean(dtype=np.float64), clipped.std(dtype=np.float64)
            out[chosen] = (clipped - mean) / deviation
    return result, [*merged(found), *_copies(volumes, result, names)]


def _copies(volumes: NDArray[np.float32], result: NDArray[np.float32], names: Sequence[str]) -> list[Finding]:
    """A finding for each modality that is not constant and has the values of an earlier one."""
    found = []
    for number, name in enumerate(names):
        # A constant modality became 0.
        same = [names[other] for other in range(number) if np.array_equal(volumes[other], volumes[number])]
        if same and result[number].any():
            message = f"{same[0]} and {name} have the same values: the file of one is a copy of the other's; correct it"
            found.append(Finding(Level.WARNING, message))
    return found


def _limits(inside: NDArray[np.float32], clip: tuple[float, float]) -> tuple[float, float]:
    """The values at the quantiles, or those nearest to them that are no spikes."""
    low, high = np.quantile(inside, clip[0], method="lower"), np.quantile(inside, clip[1], method="higher")
    first, last = np.quantile(inside, _USUAL)
    far = _FAR * (last - first) if inside.size >= _FEWEST else 0
    if clip[0] > 0 and 0 < far < first - low:
        low = inside[inside >= first - far].min()
    if clip[1] < 1 and 0 < far < high - last:
        high = inside[inside <= last + far].max()
    return float(low), float(high)


def _unusual(inside: NDArray[np.float32], low: float, high: float) -> list[Finding]:
    """A finding for a modality that is constant, has few values, or has spikes."""
    if low == high:
        return [Finding(Level.WARNING, "{}: one single value inside the brain, which tells nothing and is read as 0")]
    few = np.unique(inside[:: 1 + inside.size // _SAMPLE])
    if inside.size >= _FEWEST and few.size <= _LABELS:
        message = (
            f"{{}}: only {few.size} values, such as {few[-1]:g}, like a segmentation or a mask: look whether this is "
            "an image"
        )
        return [Finding(Level.WARNING, message)]
    margin = _FAR * (high - low)
    far = inside[(inside < low - margin) | (inside > high + margin)]
    if not far.size:
        return []
    farthest = far[np.abs(far).argmax()]
    message = (
        f"{{}}: {far.size} voxels far outside of all others, up to {farthest:g}, where nearly all lie between "
        f"{low:g} and {high:g}, are clipped"
    )
    return [Finding(Level.NOTE, message)]
