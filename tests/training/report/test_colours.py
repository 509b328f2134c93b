"""The targets' colours are told apart by people who see colours otherwise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from skimage.color import rgb2lab

from spuproj.training.report.colours import COLOURS

# Machado et al. 2009, severity 1, of linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def seen(colour: str, sight: object) -> np.ndarray:
    """A colour in CIELAB, as a person sees it."""
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    found = np.clip(np.asarray(sight) @ linear, 0, 1)
    back = np.where(found <= 0.0031308, 12.92 * found, 1.055 * found ** (1 / 2.4) - 0.055)
    return np.asarray(rgb2lab(back[None, None])[0, 0])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(("one", "other"), list(combinations(COLOURS.values(), 2)))
def test_two_targets_look_different(sight, one, other):
    """By at least 40 in CIELAB; a difference of 2 can just be seen, one of 8 is missed in a thin line."""
    assert np.linalg.norm(seen(one, SIGHT[sight]) - seen(other, SIGHT[sight])) > 40
