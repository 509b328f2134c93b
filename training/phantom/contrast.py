"""T1, T1ce, T2 and FLAIR intensities from tissue fractions: relaxation values and signal equations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from spuproj.training.phantom.acquisition import acquire
from spuproj.training.phantom.anatomy import CubicGrid, Field, smooth_noise

CONTRASTS = ("t1", "t1ce", "t2", "flair")


@dataclass(frozen=True)
class Relaxation:
    """T1 and T2 in ms, proton density relative to water, contrast agent in mmol/L after injection."""

    t1: float
    t2: float
    density: float
    agent: float
    spread: float  # relative standard deviation of T1 and T2 between patients


# At 3 T. White matter, grey matter and blood: Stanisz et al., MRM 54:507, 2005, the blood's T2 shortened to stand for
# the flow void. Tumour and oedema: chosen within the ranges of quantitative MRI of gliomas (Just and Thelen, Radiology
# 169:779, 1988; Blystad et al., Sci Rep 2020, doi 10.1038/s41598-020-75105-6). The spreads are wide on purpose: a
# network that has seen many contrasts does not depend on one scanner's (Billot et al., Med Image Anal 86:102789, 2023).
TISSUES = {
    "white": Relaxation(1084, 69, 0.70, 0.01, 0.08),
    "grey": Relaxation(1600, 95, 0.82, 0.03, 0.08),
    "csf": Relaxation(4200, 1500, 1.00, 0.0, 0.05),
    "oedema": Relaxation(1500, 150, 0.85, 0.02, 0.10),
    "solid": Relaxation(1900, 165, 0.87, 0.03, 0.15),
    "necrosis": Relaxation(2500, 260, 0.94, 0.02, 0.30),
    "enhancing": Relaxation(1700, 115, 0.85, 0.2, 0.20),
    "vessel": Relaxation(1932, 40, 0.80, 0.5, 0.15),
    "choroid": Relaxation(1800, 150, 0.90, 0.2, 0.15),
    "gliosis": Relaxation(1450, 120, 0.82, 0.01, 0.10),
    "dura": Relaxation(900, 80, 0.80, 0.12, 0.40),
    "fat": Relaxation(380, 75, 0.90, 0.0, 0.20),
    "bone": Relaxation(1000, 30, 0.10, 0.0, 0.50),
}
TAKE_UP_AGENT = ("enhancing", "vessel", "choroid", "dura")
RELAXIVITY = 4.5  # L/(mmol s), gadolinium chelates in plasma, about (Rohrer et al., Invest Radiol 40:715, 2005)
AGENT_SPREAD = 0.5  # standard deviation of the logarithm of the concentration in what takes up agent
T1_TR, T1_FLIP = 10.0, 20.0  # ms, degrees
T2_TR, T2_TE = 5000.0, 95.0  # ms
FLAIR_TR, FLAIR_TE = 9000.0, 115.0  # ms
PROTOCOL_SPREAD = 0.15  # relative standard deviation of TR, TE and the flip angle between patients
INVERSION_SPREAD = 0.05  # of the inversion time, around the one that nulls CSF
WHITE_INTENSITY = (150.0, 500.0)  # grey values; scanners have no common scale
BIAS = ((90.0, 0.15), (40.0, 0.06))  # correlation length in mm, standard deviation of the logarithm
TEXTURE = ((3.0, 0.03), (9.0, 0.02), (22.0, 0.04))  # the same; tissue is not uniform
# Water content varies in healthy tissue, and with it all contrasts together: the same two numbers, and how much the
# logarithm of each contrast follows.
WATER = ((25.0, 0.09), (10.0, 0.05))
FOLLOWS = {"t1": -0.4, "t1ce": -0.4, "t2": 1.0, "flair": 1.0}
CORE = 6.0, 0.2  # the same two numbers of the tumour core, in each contrast
FOSSA = 0.15  # standard deviation of the logarithm of the intensity in the posterior fossa, against the cerebrum
FOSSA_TOP, FOSSA_FRONT = 54.0, 108.0  # z and y of its borders, in voxels of the atlas


def spoiled_gradient_echo(tissue: Relaxation, tr: float, flip: float) -> float:
    """Signal of a spoiled gradient echo at a short echo time; ``tr`` in ms, ``flip`` in degrees."""
    recovery = np.exp(-tr / tissue.t1)
    angle = np.deg2rad(flip)
    return float(tissue.density * np.sin(angle) * (1 - recovery) / (1 - np.cos(angle) * recovery))


def spin_echo(tissue: Relaxation, tr: float, te: float) -> float:
    """Signal of a spin echo; times in ms."""
    return float(tissue.density * (1 - np.exp(-tr / tissue.t1)) * np.exp(-te / tissue.t2))


def inversion_recovery(tissue: Relaxation, tr: float, te: float, ti: float) -> float:
    """Magnitude signal of an inversion recovery spin echo; times in ms."""
    recovery = 1 - 2 * np.exp(-ti / tissue.t1) + np.exp(-tr / tissue.t1)
    return float(tissue.density * abs(recovery) * np.exp(-te / tissue.t2))


def nulling_time(t1: float, tr: float) -> float:
    """The inversion time, in ms, at which a tissue of ``t1`` gives no signal."""
    return float(t1 * np.log(2 / (1 + np.exp(-tr / t1))))


def with_agent(tissue: Relaxation) -> Relaxation:
    """The tissue after injection: 1/T1 rises by relaxivity times concentration."""
    return replace(tissue, t1=1 / (1 / tissue.t1 + RELAXIVITY * tissue.agent / 1000))


def draw_tissues(rng: np.random.Generator) -> list[Relaxation]:
    """This patient's relaxation values, in the order of ``TISSUES``."""
    drawn = []
    for name, tissue in TISSUES.items():
        t1, t2 = np.exp(rng.normal(0, tissue.spread, 2))
        agent = tissue.agent * (np.exp(rng.normal(0, AGENT_SPREAD)) if name in TAKE_UP_AGENT else 1)
        drawn.append(replace(tissue, t1=tissue.t1 * t1, t2=tissue.t2 * t2, agent=agent))
    return drawn


def draw_signals(rng: np.random.Generator) -> NDArray[np.float64]:
    """Signals ``[4, 13]`` of ``TISSUES`` in each of ``CONTRASTS``, relative to white matter's."""
    tissues = draw_tissues(rng)
    tr1, flip, tr2, te2, tr3, te3 = np.exp(rng.normal(0, PROTOCOL_SPREAD, 6)) * (
        T1_TR, T1_FLIP, T2_TR, T2_TE, FLAIR_TR, FLAIR_TE,
    )  # fmt: skip
    ti = nulling_time(TISSUES["csf"].t1, tr3) * np.exp(rng.normal(0, INVERSION_SPREAD))
    signals: NDArray[np.float64] = np.array(
        [
            [spoiled_gradient_echo(tissue, tr1, flip) for tissue in tissues],
            [spoiled_gradient_echo(with_agent(tissue), tr1, flip) for tissue in tissues],
            [spin_echo(tissue, tr2, te2) for tissue in tissues],
            [inversion_recovery(tissue, tr3, te3, ti) for tissue in tissues],
        ]
    )
    return signals / signals[:, :1]


def draw_images(
    rng: np.random.Generator, grid: CubicGrid, index: Field, fractions: Field, brain: NDArray[np.bool_]
) -> dict[str, Field]:
    """The four contrasts, each ``[N]`` over the voxels of ``brain [X, Y, Z]``, from tissue fractions ``[13, N]``.

    Signals are mixed by the fractions (partial volume) and multiplied by texture and bias field, and then acquired.
    ``index [3, X, Y, Z]`` holds the voxels' places in the atlas.
    """
    images, fossa = {}, expit((FOSSA_TOP - index[2]) / 4) * expit((FOSSA_FRONT - index[1]) / 4)
    water = rng.uniform(0, 1.5) * sum(amplitude * smooth_noise(rng, length).on(grid) for length, amplitude in WATER)
    core = sum(fractions[list(TISSUES).index(name)] for name in ("solid", "necrosis", "enhancing"))
    for name, signals in zip(CONTRASTS, draw_signals(rng), strict=True):
        signal = signals.astype(np.float32) @ fractions
        logarithm = FOLLOWS[name] * water + rng.normal(0, FOSSA) * fossa
        for length, amplitude in BIAS + TEXTURE:
            logarithm += rng.uniform(0.5, 1.5) * amplitude * smooth_noise(rng, length).on(grid)
        uneven = rng.normal(0, CORE[1]) * smooth_noise(rng, CORE[0]).on(grid)[brain] * core
        images[name] = signal * np.exp(logarithm[brain] + uneven) * rng.uniform(*WHITE_INTENSITY)
    # Noise comes last: everything before it is the same at every spacing.
    return acquire(rng, grid, index, images, brain)
