"""Large vessels and the choroid plexus: courses in the atlas, which each patient's anatomy bends.

Points are in mm of MNI152, x from the midline, y to the front, z upwards; every course runs on both sides. Between
points a vessel finds its own way through the fluid.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.special import expit
from skimage.graph import route_through_array

from spuproj.training.phantom.anatomy import (
    ATLAS_ORIGIN,
    MIDLINE,
    CubicGrid,
    Field,
    interpolate,
    load_atlas,
    smooth_noise,
)
from spuproj.training.phantom.random_numbers import log_uniform

COURSES = {
    "arteries": (
        # Internal carotid and middle cerebral artery with its insular branches.
        ((16, 8, -34), (15, 4, -24), (13, 5, -17), (22, 4, -18), (33, 2, -17), (39, -2, -10), (40, -12, -2)),
        ((39, -2, -10), (40, 8, -6), (41, 18, 4), (46, 22, 14)),
        ((40, -12, -2), (38, -26, 12), (46, -40, 20), (52, -52, 26)),
        # Anterior cerebral artery around the corpus callosum.
        ((13, 5, -17), (5, 14, -17), (2, 26, -10), (2, 38, 2), (2, 36, 16), (2, 20, 28), (2, -4, 36), (2, -30, 38)),
        ((2, 38, 2), (3, 52, 16), (3, 44, 36), (3, 26, 48)),
        # Vertebral, basilar and posterior cerebral artery.
        ((9, -34, -62), (6, -26, -52), (0, -20, -44), (0, -14, -32), (0, -12, -18)),
        ((0, -12, -18), (10, -14, -16), (18, -22, -10), (18, -34, -4), (14, -48, 2), (12, -66, 4), (10, -84, 4)),
    ),
    "veins": (
        # Internal cerebral veins, vein of Galen, straight sinus, confluence.
        ((3, 0, 14), (3, -14, 12), (2, -30, 8), (0, -38, 6), (0, -46, 8), (0, -60, 2), (0, -78, -10), (0, -96, -20)),
        # Basal vein.
        ((14, -4, -16), (17, -16, -12), (14, -28, -4), (0, -38, 6)),
        # Superficial middle cerebral vein.
        ((56, -26, 12), (54, -4, 2), (48, 12, -6), (36, 18, -18)),
    ),
    "sinuses": (
        # Transverse and sigmoid sinus.
        ((0, -96, -20), (22, -94, -22), (44, -82, -24), (58, -62, -26), (58, -48, -34), (46, -44, -46)),
        ((58, -62, -26), (46, -54, -26), (34, -34, -26)),
        ((16, 8, -30), (12, 2, -28), (14, -8, -28)),
    ),
    "plexus": (
        # From the temporal horn around the thalamus to the interventricular foramen.
        ((30, -20, -14), (33, -32, -6), (27, -40, 4), (22, -36, 14), (14, -24, 18), (7, -8, 17), (4, 2, 13)),
        # Fourth ventricle.
        ((0, -46, -34), (6, -44, -38)),
    ),
}
SNAP = 4  # mm within which a point moves to the fluid, in which vessels run
MARGIN = 12  # mm around two points within which the way between them is sought
TISSUE_COST = 20.0  # of a way through tissue, over that of one through fluid
WINDING = (12.0, 1.5)  # correlation length and standard deviation of a patient's deviations, mm
SOFTNESS = 0.4  # mm over which a vessel's wall fades
GAP = 12.0  # mm, correlation length of where vessels do not show


@cache
def distance_to(kind: str) -> Field:
    """Distance in mm of each voxel of the atlas, which is 1 mm wide, to the nearest course of a kind."""
    atlas = load_atlas()
    fluid = np.clip(1 - atlas.white - atlas.grey, 0, 1) * (atlas.depth > -1)
    free = np.ones(fluid.shape, np.bool_)
    for course in COURSES[kind]:
        points = [snapped(np.array(point) + ATLAS_ORIGIN.astype(int), fluid) for point in course]
        for start, end in pairwise(points):
            x, y, z = way(start, end, fluid)
            free[x, y, z] = free[2 * int(MIDLINE) - x, y, z] = False
    return np.asarray(distance_transform_edt(free), np.float32)


def snapped(point: NDArray[np.int_], fluid: Field) -> NDArray[np.int_]:
    """The voxel near a point that holds most fluid."""
    corner = np.maximum(point - SNAP, 0)
    near = fluid[tuple(slice(low, at + SNAP + 1) for low, at in zip(corner, point, strict=True))]
    away = np.linalg.norm(np.moveaxis(np.indices(near.shape), 0, -1) + corner - point, axis=-1)
    best: NDArray[np.int_] = corner + np.unravel_index(np.argmax(near - 0.05 * away), near.shape)
    return best


def way(start: NDArray[np.int_], end: NDArray[np.int_], fluid: Field) -> NDArray[np.int_]:
    """The voxels ``[3, N]`` of the shortest way between two, through fluid as far as that is near."""
    corner = np.maximum(np.minimum(start, end) - MARGIN, 0)
    box = tuple(slice(low, high + MARGIN + 1) for low, high in zip(corner, np.maximum(start, end), strict=True))
    cost = 1 / (fluid[box] + 1 / TISSUE_COST)
    path, _ = route_through_array(cost, start - corner, end - corner, geometric=True)
    found: NDArray[np.int_] = np.array(path).T + corner[:, None]
    return found


def wound(rng: np.random.Generator, grid: CubicGrid, index: Field) -> Field:
    """Atlas voxels ``index [3, X, Y, Z]`` with this patient's deviations of the courses."""
    length, deviation = WINDING
    return index + deviation * np.stack([smooth_noise(rng, length).on(grid) for _ in range(3)])


def draw_course(
    rng: np.random.Generator, grid: CubicGrid, index: Field, kind: str, radius: tuple[float, float], shown: float = 1.0
) -> Field:
    """Tubes around the courses of one kind, ``[X, Y, Z]``, 0 to 1.

    Args:
        rng: of the patient.
        grid: of the image.
        index: atlas voxels ``[3, X, Y, Z]`` of the grid's voxels, see ``wound``.
        kind: one of ``COURSES``.
        radius: range in mm, of which one is drawn, log-uniform.
        shown: how much of the courses shows, in standard deviations of a random field.
    """
    distance = interpolate(distance_to(kind), index, 100.0)
    here = expit((smooth_noise(rng, GAP).on(grid) + shown) / 0.3)
    tubes: Field = here * expit((log_uniform(rng, *radius) - distance) / SOFTNESS)
    return tubes
