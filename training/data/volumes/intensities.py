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
        An array like ``volumes``, and a finding for each modality that is constant, which becomes 0, has spikes, or
        has the values of another one.
    """
    result, found = np.zeros(volumes.shape, np.float32), list[tuple[str, Finding]]()
    for name, voxels, out in zip(names, volumes, result, strict=True):
        inside = voxels[brain].astype(np.float64)
        low, high = _limits(inside, clip)
        found += [(name, finding) for finding in _unusual(inside, low, high)]
        clipped = np.clip(inside, low, high)
        deviation = clipped.std()
        if deviation > 0:
            out[brain] = (clipped - clipped.mean()) / deviation
    return result, [*merged(found), *_copies(volumes, brain, names)]


def _copies(volumes: NDArray[np.float32], brain: NDArray[np.bool_], names: Sequence[str]) -> list[Finding]:
    """A finding for each modality with the values of an earlier one, and is not constant."""
    found = []
    for number, name in enumerate(names):
        if np.ptp(volumes[number][brain]) == 0:
            continue
        same = [names[other] for other in range(number) if np.array_equal(volumes[other], volumes[number])]
        if same:
            message = f"{same[0]} and {name} have the same values: the file of one is a copy of the other's; correct it"
            found.append(Finding(Level.WARNING, message))
    return found


def _limits(inside: NDArray[np.float64], clip: tuple[float, float]) -> tuple[float, float]:
    """The values at the quantiles, or those nearest to them that are no spikes."""
    low, high = np.quantile(inside, clip[0], method="lower"), np.quantile(inside, clip[1], method="higher")
    first, last = np.quantile(inside, _USUAL)
    far = _FAR * (last - first) if inside.size >= _FEWEST else 0
    if clip[0] > 0 and 0 < far < first - low:
        low = inside[inside >= first - far].min()
    if clip[1] < 1 and 0 < far < high - last:
        high = inside[inside <= last + far].max()
    return float(low), float(high)


def _unusual(inside: NDArray[np.float64], low: float, high: float) -> list[Finding]:
    """A finding for a constant modality, or for one with spikes."""
    if low == high:
        return [Finding(Level.WARNING, "{} is constant inside the brain: it tells nothing, and is read as 0")]
    far = np.maximum(low - inside, inside - high) > _FAR * (high - low)
    if not far.any():
        return []
    farthest = inside[far][np.abs(inside[far]).argmax()]
    message = (
        f"{{}} has {np.count_nonzero(far)} voxels far outside of all others, up to {farthest:g}, where nearly all lie "
        f"between {low:g} and {high:g}: they are clipped"
    )
    return [Finding(Level.NOTE, message)]
