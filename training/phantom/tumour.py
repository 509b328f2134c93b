"""A glioma: Fisher-KPP growth on the tissue maps, mass effect, and its compartments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.special import expit, logit

from spuproj.training.phantom.anatomy import COARSE, CubicGrid, Field, Tissues, smooth_noise
from spuproj.training.phantom.random_numbers import log_uniform

WHITE_DIFFUSIVITY = (0.25, 0.65)  # mm^2/day, up to the value of Swanson et al., Cell Prolif 33:317, 2000
WHITE_OVER_GREY = (5.0, 10.0)  # ratio of diffusivities; 5 in the same source
PROLIFERATION = (0.012, 0.06)  # 1/day, from the same source upwards; faster growth has a sharper border
STABILITY = 0.9  # of the explicit scheme's limit dt <= h^2 / (6 D)
CORE_VOLUME = (1.0, 180.0)  # mL, log-uniform; about the range of BraTS tumour cores
FOCI = (0.8, 0.15, 0.05)  # probabilities of one, two and three foci
REACH = 85.0  # mm from the seed beyond which no cells are followed
MAX_STEPS = 1000
SEED_RADIUS = 5.0  # mm
PUSH = (0.1, 0.5)  # largest displacement over the core's radius
PUSH_LENGTH = 14.0  # mm over which the push decays
SKULL_MARGIN = 12.0  # mm over which the push fades towards the rigid skull
NON_ENHANCING = 0.3  # probability of a tumour without enhancement
PERFUSED = (-1.5, 2.5)  # how much of the other tumours' cells enhances, in standard deviations of a random field
NECROTIC = (0.05, 0.85)  # share of the core, the rest is its rim; of tumours without enhancement the next
CYSTIC = (0.0, 0.4)
SHELL, SHELL_SHARE = 0.3, (0.05, 0.5)  # probability that the outermost part does not enhance, share of the core
WHOLE_OVER_CORE = (1.1, 5.0)  # whole tumour volume over core volume, log-uniform; without enhancement the next
WHOLE_OVER_CORE_QUIET = (1.05, 3.0)
LARGEST = 280.0  # mL, of whole tumours
DILUTION = 0.6  # at most, fewer are likelier: share of healthy tissue left within oedema and quiet tumour
GREY_RESISTANCE = (0.3, 1.5)  # decades of cell density; vasogenic oedema spares grey matter
CAVITY = 0.04  # probability of a resection cavity
CAVITY_SHARE = (0.1, 0.7)  # of the core
LOWEST_DENSITY = 1e-9


@dataclass(frozen=True)
class Tumour:
    """Fractions ``[X, Y, Z]`` of the voxel's soft tissue that each compartment replaces, and the labels.

    ``cavity`` is the fluid in a resected part of the core, which has the label 0. ``labels`` are those of BraTS 2020:
    0 none, 1 necrotic and non-enhancing core, 2 oedema, 4 enhancing tumour.
    """

    oedema: Field
    solid: Field
    necrosis: Field
    enhancing: Field
    cavity: Field
    labels: NDArray[np.uint8]

    @property
    def fraction(self) -> Field:
        """Of all compartments together."""
        return self.oedema + self.solid + self.necrosis + self.enhancing + self.cavity


def grow(rng: np.random.Generator, tissues: Tissues, cerebrum: NDArray[np.bool_]) -> Field:
    """Cell density ``[X, Y, Z]`` on ``COARSE``, 0 to 1, grown from one to three points of cerebral white matter."""
    density = grow_focus(rng, tissues, cerebrum)
    for _ in range(rng.choice(len(FOCI), p=FOCI)):
        density = np.maximum(density, grow_focus(rng, tissues, cerebrum))
    return density


def grow_focus(rng: np.random.Generator, tissues: Tissues, cerebrum: NDArray[np.bool_]) -> Field:
    """Cell density of one focus.

    Growth ends when the cells above half density fill a volume drawn from ``CORE_VOLUME``.
    """
    candidates = np.argwhere(cerebrum & tissues.brain & (tissues.white > 0.9))
    seed = candidates[rng.integers(len(candidates))]
    irregular = 2 * expit(smooth_noise(rng, 12.0).on(COARSE))
    white = rng.uniform(*WHITE_DIFFUSIVITY)
    grey = white / rng.uniform(*WHITE_OVER_GREY)
    diffusivity = np.where(tissues.soft, (white * tissues.white + grey * tissues.grey) * irregular, 0)
    voxels = log_uniform(rng, *CORE_VOLUME) * 1e3 / COARSE.spacing**3
    reach = int(REACH / COARSE.spacing)
    box = tuple(slice(max(centre - reach, 0), centre + reach) for centre in seed)
    distance = np.linalg.norm(np.moveaxis(np.indices(diffusivity[box].shape), 0, -1) - np.minimum(seed, reach), axis=-1)
    start = np.where(tissues.soft[box], np.exp(-((distance * COARSE.spacing / SEED_RADIUS) ** 2) / 2), 0)
    density = np.zeros(COARSE.shape, np.float32)
    density[box] = react_and_diffuse(start, diffusivity[box], rng.uniform(*PROLIFERATION), voxels)
    return density


def react_and_diffuse(density: Field, diffusivity: Field, proliferation: float, voxels: float) -> Field:
    """Integrates du/dt = div(D grad u) + rho u (1 - u) until ``voxels`` voxels exceed one half.

    Explicit in time, finite volumes in space; a face's diffusivity is the harmonic mean of its two voxels', so that
    nothing flows into a voxel of diffusivity zero.
    """
    step = STABILITY * COARSE.spacing**2 / (6 * float(diffusivity.max()))
    density, faces = density.astype(np.float32), []
    for axis in range(3):
        low, high = halves(diffusivity, axis)
        mean = 2 * low * high / np.maximum(low + high, 1e-12)
        faces.append((step / COARSE.spacing**2 * mean).astype(np.float32))
    for _ in range(MAX_STEPS):
        change = step * proliferation * density * (1 - density)
        for axis, face in enumerate(faces):
            low, high = halves(density, axis)
            flow = face * (high - low)
            into_low, into_high = halves(change, axis)
            into_low += flow
            into_high -= flow
        density = density + change
        if np.count_nonzero(density > 0.5) >= voxels:
            break
    return density


def halves(values: Field, axis: int) -> tuple[Field, Field]:
    """Views of the two voxels beside each inner face along ``axis``."""
    moved = np.moveaxis(values, axis, 0)
    return np.moveaxis(moved[:-1], 0, axis), np.moveaxis(moved[1:], 0, axis)


def mass_effect(rng: np.random.Generator, density: Field, brain: NDArray[np.bool_]) -> Field:
    """Displacement ``[3, X, Y, Z]`` of tissue on ``COARSE`` in mm: outward from the core, none at the skull."""
    core = (density > 0.5).astype(np.float32)
    pressure = gaussian_filter(core, PUSH_LENGTH / COARSE.spacing)
    push: Field = -np.asarray(np.gradient(pressure)) * np.clip(
        distance_transform_edt(brain) * COARSE.spacing / SKULL_MARGIN, 0, 1
    )
    radius = (3 / (4 * np.pi) * core.sum()) ** (1 / 3) * COARSE.spacing
    largest = np.sqrt((push**2).sum(axis=0)).max()
    displacement: Field = (push * (rng.uniform(*PUSH) * radius / largest)).astype(np.float32)
    return displacement


def draw_compartments(rng: np.random.Generator, grid: CubicGrid, density: Field, tissues: Tissues) -> Tumour:
    """Splits the cell density ``[X, Y, Z]`` on ``grid`` into compartments, by thresholds drawn for this patient."""
    density = np.clip(density, LOWEST_DENSITY, 1 - 1e-6)
    depth = logit(density) + sum(
        amplitude * smooth_noise(rng, length).on(grid) for length, amplitude in ((12.0, 0.6), (6.0, 0.4), (3.0, 0.25))
    )
    core = expit(depth / rng.uniform(0.15, 0.6)).astype(np.float32)
    inside = (core > 0.5) & tissues.soft

    enhances = rng.uniform() > NON_ENHANCING
    inner = depth + 0.5 * smooth_noise(rng, 8.0).on(grid)
    hollow = rng.uniform(*NECROTIC if enhances else CYSTIC)
    necrotic = expit((inner - np.quantile(inner[inside], 1 - hollow)) / 0.35)
    perfused = enhances * draw_perfusion(rng, grid, inner, inside)

    resected = draw_cavity(rng, grid, inner, inside)
    cavity, left = core * resected, core * (1 - resected)
    necrosis = left * necrotic
    enhancing = left * (1 - necrotic) * perfused
    solid = left * (1 - necrotic) * (1 - perfused)
    ratio = log_uniform(rng, *WHOLE_OVER_CORE if enhances else WHOLE_OVER_CORE_QUIET)
    oedema = draw_oedema(rng, grid, density, tissues, inside, ratio)
    labels = np.zeros(grid.shape, np.uint8)
    labels[tissues.soft & (oedema > 0.5)] = 2
    labels[inside] = np.where(enhancing > necrosis + solid, 4, 1)[inside]
    labels[inside & (resected > 0.5)] = 0
    oedema_left, solid_left = 1 - DILUTION * rng.uniform(size=2) ** 2
    quiet = 1.0 if enhances else solid_left
    return Tumour(oedema * oedema_left * (1 - core), solid * quiet, necrosis * quiet, enhancing, cavity, labels)


def draw_perfusion(
    rng: np.random.Generator, grid: CubicGrid, inner: Field, core: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """How much of the living tumour enhances, ``[X, Y, Z]``, 0 to 1: patches, in some tumours without the outermost."""
    perfused: NDArray[np.floating] = expit((smooth_noise(rng, 7.0).on(grid) + rng.uniform(*PERFUSED)) / 0.4)
    has_shell, share = rng.uniform() < SHELL, rng.uniform(*SHELL_SHARE)
    return perfused * expit((inner - np.quantile(inner[core], share)) / 0.2) if has_shell else perfused


def draw_cavity(rng: np.random.Generator, grid: CubicGrid, inner: Field, core: NDArray[np.bool_]) -> Field:
    """The resected part ``[X, Y, Z]`` of the core, 0 to 1, around its middle; in most patients nothing."""
    smooth, share, has_one = smooth_noise(rng, 15.0).on(grid), rng.uniform(*CAVITY_SHARE), rng.uniform() < CAVITY
    if not has_one:
        return np.zeros(grid.shape, np.float32)
    score = inner + smooth
    cavity: Field = expit((score - np.quantile(score[core], 1 - share)) / 0.15)
    return cavity


def draw_oedema(
    rng: np.random.Generator, grid: CubicGrid, density: Field, tissues: Tissues, core: NDArray[np.bool_], ratio: float
) -> Field:
    """Oedema ``[X, Y, Z]``, 0 to 1, where the cell density exceeds a low threshold, higher in grey matter.

    ``ratio`` is the volume of the whole tumour over that of its core.
    """
    score = np.log10(density) - rng.uniform(*GREY_RESISTANCE) * tissues.grey + 0.3 * smooth_noise(rng, 10.0).on(grid)
    score += 0.15 * smooth_noise(rng, 4.0).on(grid)
    highest = np.sort(score[tissues.soft])[::-1]
    count = int(min(np.count_nonzero(core) * ratio, LARGEST * 1e3 / grid.spacing**3))
    threshold = max(highest[min(count, len(highest)) - 1], np.log10(LOWEST_DENSITY) + 2)
    oedema: Field = expit((score - threshold) / rng.uniform(0.1, 0.25))
    return oedema
