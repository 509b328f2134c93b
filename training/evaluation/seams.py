"""Seams: whether a map of variance is larger along the edges of views, where what a view shows of a slice ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

BAND, FLANKS = 1.5, 6.0
"""Largest distances from an edge, in pixels, of the band along the edges and of the flanks beside it."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Seam:
    """How much larger the variance is along the edges of the views.

    Attributes:
        ratio: mean variance of the band over that of the flanks; 1 where no edge crosses the brain, NaN where all that
            can be compared lies in the band, infinite where the flanks' variance is 0 and the band's is not.
        share: the part of the brain that lies in the band, from 0 (no edge crosses the brain) to 1.
    """

    ratio: float
    share: float


def edge_distance(shown: Mask) -> NDArray[np.float64]:
    """Distance of each pixel of a slice ``[H, W]`` from the nearest edge of a view, in pixels; infinite without edges.

    The edge of a view is made of the pixels that it shows beside pixels (above, below, left or right) that it does not.
    Where the slice ends, nothing else does: a view that shows the whole slice has no edge.

    Args:
        shown: ``[N, H, W]``, the pixels that each view shows.
    """
    edges = np.zeros(shown.shape[1:], np.bool_)
    for view in shown:
        edges |= view & ~ndimage.binary_erosion(view, border_value=1)
    if not edges.any():
        return np.full(edges.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~edges), np.float64)


def seam(variance: NDArray[np.floating], brain: Mask, distance: NDArray[np.float64]) -> Seam:
    """Compares the variance of the band, at most ``BAND`` pixels from an edge, and of the flanks, up to ``FLANKS``.

    Args:
        variance: ``[Z, H, W]``; voxels without one (NaN) do not count.
        brain: ``[Z, H, W]``, the voxels that are compared; at least one.
        distance: ``[H, W]``, see ``edge_distance``.
    """
    in_band = brain & (distance <= BAND)
    in_flanks = brain & (distance > BAND) & (distance <= FLANKS)
    share = float(in_band.sum() / brain.sum())
    if share == 0:
        return Seam(1.0, 0.0)
    band, flanks = _mean(variance[in_band]), _mean(variance[in_flanks])
    if flanks == 0:
        return Seam(1.0 if band == 0 else math.inf, share)
    return Seam(band / flanks, share)


def smallest_share(shown: Mask, brain: Mask) -> float:
    """The smallest part of any slice's brain that any view shows, from 0 to 1.

    Args:
        shown: ``[N, H, W]``, the pixels that each view shows.
        brain: ``[Z, H, W]``; at least one voxel.
    """
    slices = brain[brain.any(axis=(1, 2))].reshape(-1, shown[0].size).astype(np.float32)
    seen = slices @ shown.reshape(len(shown), -1).T.astype(np.float32)
    return float((seen / slices.sum(axis=1, keepdims=True)).min())


def _mean(values: NDArray[np.floating]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if known.size else math.nan
