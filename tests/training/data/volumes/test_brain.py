"""The brain: found beside any background, and doubted where it cannot be one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.volumes.brain import doubts, find_brain

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
    # Ten median deviations are 6.7 standard deviations.
    np.testing.assert_array_equal(found, brain)


def test_a_few_voxels_of_the_border_are_no_noise():
    """Ten times the median deviation of the voxels that differ would hide faint tissue."""
    brain = ellipsoid()
    volumes = np.where(brain, 100.0, 0.0).astype(np.float32)[None]
    volumes[0, :, 0, 0], volumes[0, 15, 17, 8:12] = 0.3, 2.0
    found, findings = find_brain(volumes, ("t1",))
    np.testing.assert_array_equal(found, volumes[0] != 0)
    assert findings == []


@pytest.mark.parametrize("offset", [0.0, 1000.0, -1000.0])
def test_noise_is_judged_by_its_part_of_the_contrast_whatever_the_background(offset):
    """Ten median deviations may be 5 percent of the contrast: those of values up to 1 are 5, beside a brain of 100."""
    brain, noise = ellipsoid(), np.random.default_rng(0).uniform(-1, 1, SHAPE)
    for largest, whole in ((0.9, False), (1.1, True)):
        volumes = (offset + np.where(brain, 100.0, largest * noise)).astype(np.float32)[None]
        found, _ = find_brain(volumes, ("t1",))
        assert found.all() == whole
        assert whole or (found == brain).all()


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


@pytest.mark.parametrize("background", [0.0, -1.0, 3000.0])
def test_a_brain_that_most_of_the_border_cuts_through_keeps_its_background(background):
    volumes, brain = two_modalities()
    volumes[:, ~brain] = background
    box = np.s_[9:21, 11:23]
    border = np.concatenate([brain[box][[0, -1]].ravel(), brain[box][:, [0, -1]].ravel()])
    assert 0.5 < border.mean() < 0.9
    found, _ = find_brain(volumes[(slice(None), *box)], NAMES)
    np.testing.assert_array_equal(found, brain[box])


def test_noise_around_zeros_is_told():
    volumes, brain = two_modalities()
    noise = np.random.default_rng(1).normal(0, 0.5, SHAPE).astype(np.float32)
    noise[np.random.default_rng(2).random(SHAPE) < 0.4] = 0
    volumes[0, ~brain] = noise[~brain]
    found, (note,) = find_brain(volumes, NAMES)
    np.testing.assert_array_equal(found, brain)
    assert note.level == Level.NOTE
    assert note.message.startswith("the background of t1 is not constant: values between -")


@pytest.mark.parametrize("side", [1, 2])
def test_volumes_of_one_or_two_voxels_an_axis_are_read(side):
    volumes = np.zeros((1, side, side, side), np.float32)
    assert not find_brain(volumes, ("t1",))[0].any()
    volumes[..., 0, 0, 0] = 5
    assert find_brain(volumes, ("t1",))[0].any() == (side > 1)


def test_an_image_without_background_is_all_brain_with_a_warning():
    volumes = np.random.default_rng(0).uniform(1, 100, (2, *SHAPE)).astype(np.float32)
    found, findings = find_brain(volumes, NAMES)
    assert found.all()
    (warning,) = findings
    assert warning.level == Level.WARNING
    assert warning.message.startswith("t1, flair: no constant background, so the whole image counts as brain")
    assert "HD-BET" in warning.message


def test_a_modality_that_shows_another_region_than_the_others_is_a_warning():
    right = ellipsoid()
    right[:8] = False
    for masks, wrong in (((right, right, right[::-1], right), "c"), ((right, right[::-1]), "ab"), ((right,) * 4, "")):
        volumes = np.stack([mask * np.float32(100) for mask in masks])
        found = find_brain(volumes, "abcd"[: len(masks)])[1]
        assert [finding.message[0] for finding in found] == list(wrong)
        assert all(finding.level == Level.WARNING and "of the same patient" in finding.message for finding in found)


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
        assert doubts(brain, spacing_for(brain, litres)) == ""


@pytest.mark.parametrize(("litres", "shown"), [(0.5, "0.5"), (4.2, "4.2")])
def test_a_brain_of_the_wrong_volume_is_doubted(litres, shown):
    brain = ellipsoid()
    assert doubts(brain, spacing_for(brain, litres)) == f"has {shown} litres, where 0.9 to 1.8 are usual"


def test_a_brain_without_background_is_doubted():
    everything = np.ones(SHAPE, bool)
    assert "fills 100% of the image" in doubts(everything, spacing_for(everything, 1.3))


@pytest.mark.parametrize(
    ("part", "sides"),
    [
        (np.s_[:15], "left side"),
        (np.s_[15:], "right side"),
        (np.s_[:, :17], "back"),
        (np.s_[:, 17:], "front"),
        (np.s_[:, :, :10], "top"),
        (np.s_[:, :, 4:10], "bottom, top"),
    ],
)
def test_a_brain_that_is_cut_off_is_doubted_and_the_side_is_told(part, sides):
    brain = ellipsoid()[part]
    assert doubts(brain, spacing_for(brain, 1.3)) == f"reaches the {sides} of the image"


def test_a_brain_in_pieces_is_doubted():
    brain = ellipsoid()
    brain[:, 17:20] = False
    assert doubts(brain, spacing_for(brain, 1.3)) == "is in 2 pieces, the largest with 62% of it"
