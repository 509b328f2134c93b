"""The brain: found beside any background, and doubted where it cannot be one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.volumes.brain import find_brain, implausible, inside_mask

SHAPE = (30, 34, 20)
NAMES = ("t1", "flair")


def ellipsoid(radius: float = 0.7) -> np.ndarray:
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in SHAPE), indexing="ij")
    return np.sum(np.square(axes), axis=0) < radius**2


def two_modalities(seed: int = 0, low: float = 50, high: float = 1500) -> tuple[np.ndarray, np.ndarray]:
    """Random values inside an ellipsoid, 0 outside; and the ellipsoid."""
    brain = ellipsoid()
    return np.random.default_rng(seed).uniform(low, high, (2, *SHAPE)).astype(np.float32) * brain, brain


def test_a_background_of_zeros_gives_exactly_what_is_not_zero_without_a_word():
    volumes, brain = two_modalities()
    volumes[0, 15, 17, 10] = 0
    found, findings = find_brain(volumes, NAMES)
    np.testing.assert_array_equal(found, brain)
    assert findings == []


@given(st.integers(0, 2**32 - 1), st.sampled_from([-1.0, -4.5, 7.0, 1000.0]))
def test_a_constant_background_is_found_and_told(seed, value):
    volumes, brain = two_modalities(seed)
    volumes[1, ~brain] = value
    found, findings = find_brain(volumes, NAMES)
    np.testing.assert_array_equal(found, brain)
    message = f"the background of flair is {value:g}, the value along the border"
    assert findings == [Finding(Level.NOTE, message)]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 1e-3, 1.0]), st.booleans())
def test_noise_of_resampling_is_background(seed, noise, everywhere):
    volumes, brain = two_modalities(seed)
    random = np.random.default_rng(seed)
    added = random.normal(0, noise, volumes.shape).astype(np.float32)
    added[:, random.random(SHAPE) > (1 if everywhere else 0.3)] = 0
    found, _ = find_brain(volumes + added, NAMES)
    # Ten median deviations are 6.7 standard deviations; with zeros between them the noise must be below 1e-5.
    if everywhere or noise < 1e-3:
        np.testing.assert_array_equal(found, brain)


def test_a_z_scored_image_of_negative_background_keeps_its_brain():
    volumes, brain = two_modalities()
    volumes = (volumes - np.float32(700)) / np.float32(400)
    found, _ = find_brain(volumes, NAMES)
    np.testing.assert_array_equal(found, brain)


def test_a_tight_crop_around_the_brain_keeps_its_background():
    volumes, brain = two_modalities()
    volumes[:, ~brain] = -1
    box = tuple(slice(index.min(), index.max() + 1) for index in np.nonzero(brain))
    found, _ = find_brain(volumes[(slice(None), *box)], NAMES)
    np.testing.assert_array_equal(found, brain[box])


def test_an_image_without_background_is_all_brain_with_a_warning():
    volumes = np.random.default_rng(0).uniform(1, 100, (2, *SHAPE)).astype(np.float32)
    found, findings = find_brain(volumes, NAMES)
    assert found.all()
    (warning,) = findings
    assert warning.level == Level.WARNING
    assert warning.message.startswith("t1, flair has no constant background, so the whole image counts as brain")
    assert "HD-BET" in warning.message


def test_spikes_do_not_hide_the_brain():
    volumes, brain = two_modalities()
    volumes[0, 15, 17, 9:12] = 32767
    np.testing.assert_array_equal(find_brain(volumes, NAMES)[0], brain)


def spacing_for(mask: np.ndarray, litres: float) -> tuple[float, float, float]:
    side = (litres * 1e6 / mask.sum()) ** (1 / 3)
    return side, side, side


def test_a_plausible_brain_is_not_doubted():
    brain = ellipsoid()
    for litres in (0.95, 1.3, 1.75):
        assert implausible(brain, spacing_for(brain, litres)) == []


@pytest.mark.parametrize(("litres", "shown"), [(0.5, "0.5"), (4.2, "4.2")])
def test_a_brain_of_the_wrong_volume_is_doubted(litres, shown):
    (warning,) = implausible(ellipsoid(), spacing_for(ellipsoid(), litres))
    assert warning.level == Level.WARNING
    assert (
        f"has {shown} litres, where 0.9 to 1.8 are usual; if it is not the brain, remove the skull" in warning.message
    )


def test_a_brain_without_background_is_doubted():
    everything = np.ones(SHAPE, bool)
    (warning,) = implausible(everything, spacing_for(everything, 1.3))
    assert "fills 100% of the image" in warning.message


def test_a_brain_that_is_cut_off_is_doubted_and_the_side_is_told():
    brain = ellipsoid()[:, :, :10]
    (warning,) = implausible(brain, spacing_for(brain, 1.3))
    assert "what is taken as brain reaches the top side of the image;" in warning.message


def test_a_brain_in_pieces_is_doubted():
    brain = ellipsoid()
    brain[:, 17:20] = False
    (warning,) = implausible(brain, spacing_for(brain, 1.3))
    assert "is in 2 pieces, the largest with 62% of it" in warning.message


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 255.0, 0.01]))
def test_noise_around_a_mask_is_not_inside_it(seed, value):
    brain = ellipsoid()
    noise = np.random.default_rng(seed).uniform(-1e-4, 1e-4, SHAPE)
    np.testing.assert_array_equal(inside_mask((value * (brain + noise)).astype(np.float32)), brain)
    assert not inside_mask(np.zeros(SHAPE, np.float32)).any()
