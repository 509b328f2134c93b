"""Healthy tissue and harmless findings that look like tumour in some contrasts; all of them have the label 0.

They are told apart from tumour by their place and shape: arteries, sinuses and choroid plexus take up contrast agent,
caps of the ventricles and lesions of the white matter are bright in T2 and FLAIR, dura, fat and bone are what skull
stripping left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.special import expit

from spuproj.training.phantom.anatomy import COARSE, MIDLINE, CubicGrid, Field, Tissues, smooth_noise
from spuproj.training.phantom.random_numbers import log_uniform
from spuproj.training.phantom.vessels import draw_course, wound

ARTERY_RADIUS = (0.5, 2.2)  # mm, log-uniform, like all radii here
VEIN_RADIUS = (0.5, 2.5)
SINUS_RADIUS = (1.5, 6.0)
SHOWN = (-1.5, 2.5)  # how much of the vessels shows, in standard deviations of a random field
PLEXUS_RADIUS = (2.0, 7.0)
PLEXUS_PATCH = 4.0  # mm, correlation length
# Places in voxels of the atlas: x to the right, y to the front, z upwards.
VENTRICLE_BOX = ((60.0, 136.0), (60.0, 170.0), (60.0, 112.0))  # around the lateral ventricles
HORNS = (152.0, 84.0)  # y of the frontal and the occipital horns
HORN_REACH = 14.0  # mm
CAP_WIDTH = (1.0, 7.0)  # mm, log-uniform
LESIONS = 40  # at most, fewer are likelier
LESION_RADIUS = (1.0, 4.5)  # mm, log-uniform
SINUS_WIDTH = (1.5, 6.0)  # mm, half of it
VESSEL_LENGTH, VESSEL_WIDTH = 9.0, 0.22  # mm, and relative to the noise whose zero lines are the vessels
BORDER_DEPTH = {"dura": (0.5, 3.0), "fat": (0.5, 5.0), "bone": (0.5, 4.0)}  # mm
BORDER_PATCH = 15.0  # mm, correlation length


@dataclass(frozen=True)
class Lookalikes:
    """Fractions ``[X, Y, Z]`` of the voxel that each replaces, 0 to 1.

    ``vessel`` holds arteries and venous sinuses, ``gliosis`` periventricular caps and lesions of the white matter.
    """

    vessel: Field
    choroid: Field
    gliosis: Field
    dura: Field
    fat: Field
    bone: Field


def draw_lookalikes(
    rng: np.random.Generator, grid: CubicGrid, index: Field, tissues: Tissues, coarse: Tissues
) -> Lookalikes:
    """Draws them for one patient.

    Args:
        rng: of the patient.
        grid: of the image.
        index: atlas voxels ``[3, X, Y, Z]`` of the grid's voxels.
        tissues: on the grid.
        coarse: the same on ``COARSE``, where places are drawn, so that they are the same at every spacing.
    """
    depth = distance_transform_edt(tissues.brain).astype(np.float32) * grid.spacing
    courses = wound(rng, grid, index)
    vessel = np.maximum.reduce(
        [
            _small_vessels(rng, grid, tissues),
            _sagittal_sinus(rng, index, depth),
            rng.uniform() * draw_course(rng, grid, courses, "arteries", ARTERY_RADIUS, rng.uniform(*SHOWN)),
            rng.uniform() * draw_course(rng, grid, courses, "veins", VEIN_RADIUS, rng.uniform(*SHOWN)),
            rng.uniform() * draw_course(rng, grid, courses, "sinuses", SINUS_RADIUS, rng.uniform(*SHOWN)),
        ]
    )
    gliosis = np.maximum(_caps(rng, grid, index, tissues), _lesions(rng, grid, coarse) * (1 - tissues.csf))
    border = {kind: _border(rng, grid, depth, BORDER_DEPTH[kind]) for kind in BORDER_DEPTH}
    return Lookalikes(vessel, _plexus(rng, grid, courses, tissues), gliosis, **border)


def _small_vessels(rng: np.random.Generator, grid: CubicGrid, tissues: Tissues) -> Field:
    """Thin winding vessels near the CSF, where two random fields are both close to zero."""
    distance = smooth_noise(rng, VESSEL_LENGTH).on(grid) ** 2 + smooth_noise(rng, VESSEL_LENGTH).on(grid) ** 2
    vessels: Field = np.exp(-distance / VESSEL_WIDTH**2) * 4 * tissues.csf * (1 - tissues.csf)
    return vessels


def _sagittal_sinus(rng: np.random.Generator, index: Field, depth: Field) -> Field:
    """The superior sagittal sinus, as far as the brain mask holds it."""
    width, strength = log_uniform(rng, *SINUS_WIDTH), rng.uniform(0, 1)
    sinus: Field = strength * expit((width - np.abs(index[0] - MIDLINE)) / 0.7) * expit((1.5 * width - depth) / 0.7)
    return sinus


def _plexus(rng: np.random.Generator, grid: CubicGrid, courses: Field, tissues: Tissues) -> Field:
    """Patches in the CSF along the choroid plexus."""
    near = draw_course(rng, grid, courses, "plexus", PLEXUS_RADIUS)
    patches = expit((smooth_noise(rng, PLEXUS_PATCH).on(grid) - rng.uniform(-2.0, 1.0)) / 0.3)
    plexus: Field = near * patches * tissues.csf
    return plexus


def _caps(rng: np.random.Generator, grid: CubicGrid, index: Field, tissues: Tissues) -> Field:
    """White matter around the lateral ventricles, most of it at their horns."""
    ventricle = tissues.csf > 0.5
    for axis, (low, high) in enumerate(VENTRICLE_BOX):
        ventricle &= (index[axis] > low) & (index[axis] < high)
    if not ventricle.any():
        return np.zeros(grid.shape, np.float32)
    distance = distance_transform_edt(~ventricle) * grid.spacing
    horns = sum(np.exp(-(((index[1] - horn) / HORN_REACH) ** 2) / 2) for horn in HORNS)
    width = log_uniform(rng, *CAP_WIDTH) * np.exp(0.3 * smooth_noise(rng, 8.0).on(grid))
    strength = rng.uniform(0, 1) * np.clip(rng.uniform(0, 1) + horns, 0, 1)
    caps: Field = (strength * np.exp(-((distance / width) ** 2)) * (1 - tissues.csf)).astype(np.float32)
    return caps


def _lesions(rng: np.random.Generator, grid: CubicGrid, coarse: Tissues) -> Field:
    """Small lesions anywhere in white matter, sharper or softer."""
    lesions = np.zeros(grid.shape, np.float32)
    candidates = np.argwhere(coarse.white > 0.7)
    axes = [np.arange(side) for side in grid.shape]
    scale, shift = COARSE.spacing / grid.spacing, (np.array(COARSE.origin) - grid.origin) / grid.spacing
    for _ in range(int(LESIONS * rng.uniform() ** 2) if len(candidates) else 0):
        centre = candidates[rng.integers(len(candidates))] * scale + shift
        radii = log_uniform(rng, *LESION_RADIUS) * np.exp(rng.normal(0, 0.3, 3)) / grid.spacing
        near = tuple(
            slice(max(int(at - 3 * radius), 0), max(int(at + 3 * radius) + 2, 0))
            for at, radius in zip(centre, radii, strict=True)
        )
        parts = [((axis - at) / radius) ** 2 for axis, at, radius in zip(axes, centre, radii, strict=True)]
        x, y, z = (part[side] for part, side in zip(parts, near, strict=True))
        spot = rng.uniform(0.3, 1) * np.exp(-(x[:, None, None] + y[:, None] + z))
        lesions[near] = np.maximum(lesions[near], spot)
    return lesions


def _border(rng: np.random.Generator, grid: CubicGrid, depth: Field, thickness: tuple[float, float]) -> Field:
    """Patches along the border of the brain mask, where the skull was not removed cleanly."""
    patches = expit((smooth_noise(rng, BORDER_PATCH).on(grid) - rng.uniform(-0.5, 3.0)) / 0.3)
    border: Field = patches * expit((rng.uniform(*thickness) - depth) / 0.4)
    return border
