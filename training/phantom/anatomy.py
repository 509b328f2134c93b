"""A patient's brain: the MNI152 atlas under a random affine map and a smooth random deformation.

Points are in mm of the BraTS frame, where the voxel (i, j, k) of a 240 x 240 x 155 image is centred at (i, j, k):
x towards the left, y towards the back, z upwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates
from scipy.spatial.transform import Rotation

Field = NDArray[np.float32]

FIELD_OF_VIEW = (240, 240, 155)  # mm
BRAIN_CENTRE = np.array([118.0, 130.0, 74.0])  # mm, about where BraTS brains (SRI24 atlas) lie
ATLAS_CENTRE = np.array([98.0, 117.0, 77.0])  # voxels of 1 mm, the middle of the brain in nilearn's MNI152
MIDLINE = 98.0  # atlas voxel x of the midline
ATLAS_ORIGIN = np.array([98.0, 134.0, 72.0])  # atlas voxel of the origin of MNI152
ATLAS_AXES = np.diag([-1.0, -1.0, 1.0])  # the atlas runs to the right and to the front
ATLAS_CEREBRUM = 62  # atlas voxel z above which white matter is nearly all cerebral (MNI z = -10 mm)

SIZE = (0.84, 0.97)  # brain over atlas; MNI152 is larger than an average brain (Lancaster et al., HBM 28:1194, 2007)
STRETCH, SHEAR = 0.03, 0.02  # standard deviations, relative
ROTATION, TRANSLATION = 3.0, 2.0  # standard deviations, degrees and mm
WARPS = ((50.0, 2.5), (20.0, 1.2))  # correlation length and standard deviation per axis, mm
VENTRICLES = np.array([98.0, 119.0, 90.0])  # atlas voxel between the bodies of the lateral ventricles
VENTRICLE_REACH = np.array([16.0, 34.0, 22.0])  # mm, standard deviations of the region that widens with them
WIDENING = (0.0, 0.6)  # of the ventricles: one minus the inverse of their magnification
ATROPHY = (0.8, 2.2)  # weight of CSF against the atlas: wider sulci in older patients
MASK_MARGIN = (-2.0, 1.5)  # mm by which the brain mask is smaller than the atlas's; skull stripping differs
MASK_NOISE = (20.0, 1.2)  # correlation length and standard deviation of the margin, mm


@dataclass(frozen=True)
class CubicGrid:
    """Cubic voxels: voxel (i, j, k) is centred at ``origin + spacing * (i, j, k)``, in mm."""

    origin: tuple[float, float, float]
    shape: tuple[int, int, int]
    spacing: float

    def axes(self) -> list[NDArray[np.float64]]:
        """The voxel centres' coordinates along each axis, in mm."""
        sides = zip(self.origin, self.shape, strict=True)
        return [start + self.spacing * np.arange(count, dtype=np.float64) for start, count in sides]

    def points(self) -> Field:
        """The voxel centres ``[3, X, Y, Z]`` in mm."""
        return np.stack(np.meshgrid(*self.axes(), indexing="ij")).astype(np.float32)

    def sample(self, values: Field, points: Field, outside: float = 0.0) -> Field:
        """Linear interpolation of ``values [X, Y, Z]`` on this grid at ``points [3, X, Y, Z]`` in mm."""
        index = (points - column(np.array(self.origin))) / self.spacing
        return interpolate(values, index, outside)

    def box(self, inside: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
        """The smallest box around the voxels ``inside [X, Y, Z]``."""
        occupied = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
        x, y, z = (slice(int(index[0]), int(index[-1]) + 1) for index in occupied)
        return x, y, z

    def box_around(self, part: CubicGrid) -> tuple[slice, slice, slice]:
        """The voxels of this grid within a voxel's width of ``part``."""
        margin = self.spacing + part.spacing
        axes = zip(self.axes(), part.axes(), strict=True)
        near = [np.flatnonzero((own >= other[0] - margin) & (own <= other[-1] + margin)) for own, other in axes]
        x, y, z = (slice(int(index[0]), int(index[-1]) + 1) for index in near)
        return x, y, z

    def cropped(self, box: tuple[slice, slice, slice]) -> CubicGrid:
        """The part of this grid in ``box``."""
        origin = tuple(start + self.spacing * part.start for start, part in zip(self.origin, box, strict=True))
        return CubicGrid(origin, tuple(part.stop - part.start for part in box), self.spacing)


def field_of_view(spacing: float) -> CubicGrid:
    """The BraTS field of view in voxels of ``spacing`` mm."""
    first = (spacing - 1) / 2
    x, y, z = (round(side / spacing) for side in FIELD_OF_VIEW)
    return CubicGrid((first, first, first), (x, y, z), spacing)


COARSE = field_of_view(2.5)  # anatomy and growth are computed here, so that a case is the same at every spacing


@dataclass(frozen=True)
class SmoothNoise:
    """A Gaussian random field of unit variance: cubic B-splines with independent normal coefficients.

    ``length`` is the spacing of the spline knots in mm, about the correlation length.
    """

    coefficients: Field
    length: float

    def on(self, grid: CubicGrid) -> Field:
        """The field's values ``[X, Y, Z]`` at the grid's voxel centres."""
        values = self.coefficients
        for axis in grid.axes():
            knots = np.arange(values.shape[0]) - 1
            weights = cubic_spline(axis[None, :] / self.length - knots[:, None]).astype(np.float32)
            values = np.tensordot(values, weights, axes=(0, 0))
        return values


def cubic_spline(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cubic B-spline at a distance from its knot, scaled so that squares sum to one on average over positions."""
    t = np.abs(distance)
    spline: NDArray[np.float64] = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6)
    return spline / math.sqrt(151 / 315)


def smooth_noise(rng: np.random.Generator, length: float) -> SmoothNoise:
    """Draws a smooth random field over the field of view, of correlation length ``length`` in mm."""
    shape = [int(np.ceil(side / length)) + 4 for side in FIELD_OF_VIEW]
    return SmoothNoise(rng.standard_normal(shape, dtype=np.float32), length)


def interpolate(values: Field, index: Field, outside: float = 0.0) -> Field:
    """``values [X, Y, Z]`` at voxel coordinates ``index [3, X, Y, Z]``, linearly; ``outside`` beyond the border."""
    return map_coordinates(values, index, order=1, mode="constant", cval=outside, output=np.float32)


@dataclass(frozen=True)
class Atlas:
    """White and grey matter fractions and depth below the brain's surface of MNI152, ``[197, 233, 189]`` at 1 mm.

    ``depth`` is in mm, and negative outside.
    """

    white: Field
    grey: Field
    depth: Field


@cache
def load_atlas() -> Atlas:
    """nilearn's packaged MNI152 2009a symmetric template (Fonov et al., NeuroImage 54:313, 2011)."""
    templates = (load_mni152_wm_template, load_mni152_gm_template, load_mni152_template)
    white, grey, t1 = (np.asarray(load(resolution=1).dataobj, dtype=np.float32) for load in templates)
    brain = t1 > 0
    depth = distance_transform_edt(brain) - distance_transform_edt(~brain)
    return Atlas(white, grey, depth.astype(np.float32))


@dataclass(frozen=True)
class Tissues:
    """Fractions of white matter, grey matter and CSF, which sum to one, and the brain mask; each ``[X, Y, Z]``."""

    white: Field
    grey: Field
    csf: Field
    brain: NDArray[np.bool_]

    @property
    def soft(self) -> NDArray[np.bool_]:
        """Where the brain is less than half CSF, so that a tumour can grow."""
        return self.brain & (self.csf < 0.5)


@dataclass(frozen=True)
class Patient:
    """A patient's map to the atlas: the atlas voxel ``[3, X, Y, Z]`` of each voxel of ``COARSE``.

    ``atrophy`` is CSF's weight, ``margin`` by how many mm the brain mask is smaller than the atlas's, on ``COARSE``.
    """

    index: Field
    atrophy: float
    margin: Field

    def index_at(self, points: Field) -> Field:
        """The atlas voxels ``[3, X, Y, Z]`` of ``points [3, X, Y, Z]`` in mm."""
        return np.stack([COARSE.sample(part, points) for part in self.index])

    def tissues(self, index: Field, margin: Field) -> Tissues:
        """The patient's tissues at the atlas voxels ``index [3, X, Y, Z]``, with the brain mask's margin there."""
        atlas = load_atlas()
        white, grey = interpolate(atlas.white, index), interpolate(atlas.grey, index)
        depth = interpolate(atlas.depth, index, -100.0)
        # The atlas is an average of many brains with blurred borders; squaring sharpens them.
        white, grey, csf = white**2, grey**2, (self.atrophy * np.clip(1 - white - grey, 0, 1)) ** 2
        total = white + grey + csf
        return Tissues(white / total, grey / total, csf / total, depth > margin)


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draws a patient: smooth deformation, affine map, width of the ventricles and of the sulci."""
    points = COARSE.points()
    for length, amplitude in WARPS:
        points += amplitude * np.stack([smooth_noise(rng, length).on(COARSE) for _ in range(3)])
    linear = draw_linear(rng)
    centre = (BRAIN_CENTRE + rng.normal(0, TRANSLATION, 3)).astype(np.float32)
    index = np.tensordot(linear, points - column(centre), axes=1) + column(ATLAS_CENTRE)
    widened = widen_ventricles(index, rng.uniform(*WIDENING))
    length, deviation = MASK_NOISE
    margin = rng.uniform(*MASK_MARGIN) + deviation * smooth_noise(rng, length).on(COARSE)
    return Patient(widened, rng.uniform(*ATROPHY), margin.astype(np.float32))


def draw_linear(rng: np.random.Generator) -> Field:
    """The linear part ``[3, 3]`` of the map from a patient to the atlas."""
    rotation = Rotation.from_euler("xyz", rng.normal(0, ROTATION, 3), degrees=True).as_matrix()
    shear = np.eye(3) + np.triu(rng.normal(0, SHEAR, (3, 3)), 1)
    stretch = np.diag(np.exp(rng.normal(0, STRETCH, 3)) / rng.uniform(*SIZE))
    return (ATLAS_AXES @ stretch @ shear @ rotation).astype(np.float32)


def widen_ventricles(index: Field, widening: float) -> Field:
    """Moves atlas voxels ``[3, X, Y, Z]`` towards the ventricles, which widens the patient's ventricles."""
    offset = index - column(VENTRICLES)
    near: Field = np.exp(-((offset / column(VENTRICLE_REACH)) ** 2).sum(axis=0) / 2)
    return index - widening * near * offset


def column(vector: NDArray[np.floating]) -> Field:
    """A vector ``[3]`` as ``[3, 1, 1, 1]``, to go with points ``[3, X, Y, Z]``."""
    return np.asarray(vector, np.float32).reshape(3, 1, 1, 1)
