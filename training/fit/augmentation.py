"""Augmentation of training slices (MONAI): one configuration for every method, so that comparisons are of the views."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandAffined,
    RandBiasField,
    RandFlipd,
    RandGaussianNoise,
    RandGaussianSmooth,
    RandScaleIntensity,
    RandShiftIntensity,
    RandSimulateLowResolution,
)
from numpy.typing import NDArray

LEFT_RIGHT = 1  # axis of a slice [H, W]
SHAPE = Compose(
    [
        RandFlipd(("image", "label"), prob=0.5, spatial_axis=LEFT_RIGHT),
        RandAffined(
            ("image", "label"),
            prob=0.7,
            rotate_range=math.radians(15),
            shear_range=0.1,
            scale_range=0.15,
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
        ),
    ]
)
"""Of image and label together."""

INTENSITY = Compose(
    [
        RandBiasField(prob=0.3, degree=3, coeff_range=(-0.2, 0.2)),
        RandAdjustContrast(prob=0.3, gamma=(0.6, 1.7), retain_stats=True),
        RandScaleIntensity(prob=0.5, factors=0.15),
        RandShiftIntensity(prob=0.5, offsets=0.3),
        RandSimulateLowResolution(prob=0.15, zoom_range=(0.4, 1.0), upsample_mode="bilinear"),
        RandGaussianSmooth(prob=0.15, sigma_x=(0.3, 1.0), sigma_y=(0.3, 1.0)),
        RandGaussianNoise(prob=0.3, std=0.2),
    ]
)
"""Of each modality by itself."""

# Intensities in the brain have mean 0 and standard deviation 1. For what multiplies them, in a scanner, they are
# positive: their mean is about this many standard deviations.
LEVEL = 3.0

MISSING = 0.2
"""Probability that a slice lacks some modalities; how many is drawn too, at most all but one."""


def augmented(
    image: NDArray[np.floating], label: NDArray[np.uint8], seed: int
) -> tuple[NDArray[np.floating], NDArray[np.uint8]]:
    """A slice as it could have been: flipped, deformed, with another contrast, and perhaps without some modalities.

    Args:
        image: ``[C, H, W]``, normalised inside the brain, 0 outside and in a missing modality.
        label: ``[H, W]``, 0 and 1.
        seed: the same one gives the same slice.

    Returns:
        Arrays of the same shapes and dtypes.
    """
    with _plain_tensors():
        moved = SHAPE.set_random_state(seed)({"image": image.astype(np.float32), "label": label[None]})
        modalities, brain = moved["image"], (moved["image"] != 0).any(dim=0)
        intensity = INTENSITY.set_random_state(seed)
        changed = torch.cat([intensity(modality[None] + LEVEL) - LEVEL for modality in modalities])
    present = torch.from_numpy(_present(len(image), np.random.default_rng(seed))) & modalities.flatten(1).any(dim=1)
    shown = torch.where(brain & present[:, None, None], changed, 0)
    return shown.numpy().astype(image.dtype), moved["label"][0].numpy().astype(label.dtype)


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """MONAI's transforms take half the time without metadata."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def _present(modalities: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which modalities a slice has, ``[C]``; at least one."""
    present = np.ones(modalities, np.bool_)
    if rng.uniform() < MISSING and modalities > 1:
        present[rng.permutation(modalities)[: rng.integers(1, modalities)]] = False
    return present
