"""What a scanner adds to ideal images: artefacts of the skull base, blur of thick slices, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from spuproj.training.phantom.anatomy import MIDLINE, CubicGrid, Field
from spuproj.training.phantom.random_numbers import log_uniform

# Air in the frontal sinuses and in the temporal bones, in voxels of the atlas: x from the midline, y, z.
AIR = np.array([[12.0, 172.0, 48.0], [45.0, 108.0, 40.0]])
AIR_REACH = 11.0  # mm
AIR_EFFECT = 0.7  # standard deviation of the logarithm of the intensity there
THICK_SLICES = 0.6  # probability, of each contrast
SLICE_THICKNESS = (2.0, 6.0)  # mm, log-uniform
PIXEL = (0.5, 1.6)  # mm, width of the blur within a slice
WIDTH_TO_DEVIATION = 1 / 2.355  # of a Gaussian of full width at half maximum 1
NOISE = (0.01, 0.07)  # standard deviation of each of the two channels over the median intensity, log-uniform
NOISE_BLUR = (0.0, 0.8)  # voxels; interpolation correlates the noise of neighbours


@dataclass(frozen=True)
class Acquisition:
    """One contrast's artefact, voxel blur along the axes ``[3]`` in mm, and noise."""

    artefact: NDArray[np.float64]
    blur: NDArray[np.float64]
    noise: float
    noise_blur: float


def draw_acquisition(rng: np.random.Generator) -> Acquisition:
    """Draws how one contrast is acquired."""
    blur = np.full(3, rng.uniform(*PIXEL))
    axis, thickness, is_thick = rng.choice(3, p=(0.15, 0.15, 0.7)), log_uniform(rng, *SLICE_THICKNESS), rng.uniform()
    if is_thick < THICK_SLICES:
        blur[axis] = thickness
    artefact = AIR_EFFECT * rng.normal(0, 1, len(AIR)) * (rng.uniform(0, 1, len(AIR)) < 0.5)
    return Acquisition(artefact, blur * WIDTH_TO_DEVIATION, log_uniform(rng, *NOISE), rng.uniform(*NOISE_BLUR))


def acquire(
    rng: np.random.Generator, grid: CubicGrid, index: Field, images: dict[str, Field], brain: NDArray[np.bool_]
) -> dict[str, Field]:
    """The images as a scanner would give them.

    Args:
        rng: of the patient. Nothing but noise depends on the grid's spacing.
        grid: of the images.
        index: atlas voxels ``[3, X, Y, Z]`` of the grid's voxels.
        images: ideal intensities ``[N]`` over the voxels of the brain.
        brain: the mask ``[X, Y, Z]``.
    """
    drawn = {name: draw_acquisition(rng) for name in images}
    near = _near_air(index)
    acquired = {}
    for name, image in images.items():
        how = drawn[name]
        volume = np.zeros(grid.shape, np.float32)
        volume[brain] = image * np.exp(np.tensordot(how.artefact, near, axes=1)[brain])
        acquired[name] = rician(rng, _blurred(volume, brain, how.blur / grid.spacing), brain, how)
    return acquired


def _near_air(index: Field) -> NDArray[np.float64]:
    """How near each voxel is to each place of ``AIR``, ``[places, X, Y, Z]``, 0 to 1."""
    x = np.abs(index[0] - MIDLINE)
    squares = [((x - at[0]) ** 2 + (index[1] - at[1]) ** 2 + (index[2] - at[2]) ** 2) / AIR_REACH**2 for at in AIR]
    return np.exp(-np.stack(squares).astype(np.float64) / 2)


def _blurred(volume: Field, brain: NDArray[np.bool_], deviation: NDArray[np.float64]) -> Field:
    """The volume blurred within the brain; nothing leaks in from outside of it."""
    weight = gaussian_filter(brain.astype(np.float32), deviation, truncate=3)
    return np.asarray(gaussian_filter(volume, deviation, truncate=3) / np.maximum(weight, 1e-3), np.float32)


def rician(rng: np.random.Generator, volume: Field, brain: NDArray[np.bool_], how: Acquisition) -> Field:
    """The magnitude ``[N]`` over the brain of the volume with complex Gaussian noise."""
    deviation = how.noise * float(np.median(volume[brain]))
    channels = []
    for _ in range(2):
        noise = gaussian_filter(rng.standard_normal(volume.shape, dtype=np.float32), how.noise_blur, truncate=3)
        channels.append(noise[brain] * (deviation / noise[brain].std()))
    magnitude: Field = np.hypot(volume[brain] + channels[0], channels[1])
    return magnitude
