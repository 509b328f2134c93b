"""Label maps: whole numbers, with the meaning that a scheme gives them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.labels import SCHEMES, LabelScheme, unclear
from spuproj.training.data.volumes.image_file import Volume
from spuproj.training.runtime.errors import InputError

# Resampling and scaling in the header leave whole numbers this far off.
_ROUNDING = 1e-3
# Part of the labelled voxels: annotations go beyond removed skulls by less.
_OUTSIDE = 0.05
LARGEST_VOLUME = 400.0
"""In ml: more than this is no plausible tumour."""

_TYPES = (np.uint8, np.int16, np.int32, np.int64)
_LIMITS = np.iinfo(np.int64)


def read_labels(volume: Volume, scheme: LabelScheme | None) -> tuple[NDArray[np.integer[Any]], list[Finding]]:
    """The label values of a segmentation.

    Args:
        volume: the opened file.
        scheme: the meaning of the values.

    Returns:
        ``[X, Y, Z]`` in LPS axes, in the smallest integer type that holds all values of the scheme; a note if they were
        rounded, and a warning if a target is too large to be a tumour.

    Raises:
        InputError: for an unknown scheme, a damaged file, and values that are not whole or not of the scheme.
    """
    if scheme is None:
        raise unclear(volume.path)
    values, findings = _whole(volume)
    known = [value for value in (0, *scheme.known) if _LIMITS.min <= value <= _LIMITS.max]
    wrong = sorted(set(np.unique(values).tolist()).difference(known))
    if wrong:
        raise InputError(
            f"{volume.path} must hold the {scheme.name} labels {', '.join(map(str, (0, *scheme.known)))}, got "
            f"{', '.join(str(int(value)) for value in wrong[:5])}{', ...' if len(wrong) > 5 else ''}; if they are of "
            f"another scheme, name it: {', '.join(SCHEMES)}"
        )
    smallest = next(each for each in _TYPES if np.iinfo(each).min <= min(known) and max(known) <= np.iinfo(each).max)
    labels: NDArray[np.integer[Any]] = values.astype(smallest)
    return labels, [*findings, *_too_large(labels, scheme, volume)]


def _too_large(labels: NDArray[np.integer[Any]], scheme: LabelScheme, volume: Volume) -> list[Finding]:
    """A warning where a target has the volume of a part of the brain: tissues and regions are numbered like targets."""
    voxel = math.prod(volume.grid.spacing) / 1000
    volumes = {name: np.count_nonzero(scheme.mask(labels, name)) * voxel for name in scheme.targets}
    name, largest = max(volumes.items(), key=lambda each: each[1], default=("", 0.0))
    if largest <= LARGEST_VOLUME:
        return []
    message = (
        f"{volume.path.name}: {name} has {largest:.0f} ml, more than a tumour: look whether the file is the "
        f"segmentation of the tumour, with the labels of {scheme.name}"
    )
    return [Finding(Level.WARNING, message)]


def outside(labels: NDArray[np.integer[Any]], brain: NDArray[np.bool_]) -> list[Finding]:
    """A warning where many labelled voxels are not in the brain. Both arrays have the same axes."""
    labelled = labels != 0
    count, without = np.count_nonzero(labelled), np.count_nonzero(labelled & ~brain)
    if without <= _OUTSIDE * count:
        return []
    message = (
        f"{without / count:.0%} of the segmentation is outside of the brain: look whether it is of the same patient, "
        "and oriented like the images"
    )
    return [Finding(Level.WARNING, message)]


def label_values(volume: Volume) -> frozenset[int]:
    """The values that occur. Raises InputError for a damaged file, and for values that are not whole."""
    return frozenset(int(value) for value in np.unique(_whole(volume)[0]))


def _whole(volume: Volume) -> tuple[NDArray[Any], list[Finding]]:
    """The values as whole numbers, of an integer type or of floating-point numbers."""
    values = volume.numbers()
    if values.dtype.kind != "f":
        return values, []
    if not np.isfinite(values).all():
        raise InputError(f"{volume.path} must hold whole numbers, but holds NaN or Inf")
    rounded = np.rint(values)
    off = np.abs(values - rounded)
    if (farthest := float(off.max())) == 0:
        return rounded, []
    value = values.ravel()[off.argmax()]
    if farthest > _ROUNDING:
        raise InputError(
            f"{volume.path} must hold whole numbers as labels, but holds {value}; threshold probabilities, and "
            "resample label maps by nearest neighbour"
        )
    return rounded, [Finding(Level.NOTE, f"{volume.path.name}: labels such as {value} are rounded to whole numbers")]
