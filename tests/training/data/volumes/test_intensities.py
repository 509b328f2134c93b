"""Intensities: z-scores of the clipped values inside the brain; spikes and constants are told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuproj.training.data.findings import Level
from spuproj.training.data.volumes.intensities import CLIP, normalised

SHAPE = (20, 20, 20)
BRAIN = np.zeros(SHAPE, bool)
BRAIN[2:18, 2:18, 2:17] = True


def volumes(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(500, 100, (2, *SHAPE)).astype(np.float32) * BRAIN


@given(st.integers(0, 2**32 - 1), st.sampled_from([(0.0, 1.0), (0.001, 0.999), (0.05, 0.9)]))
def test_values_are_z_scores_of_the_clipped_values(seed, clip):
    image = volumes(seed)
    found, findings = normalised(image, BRAIN, ("t1", "t2"), clip)
    assert found.dtype == np.float32
    assert findings == []
    assert (found[:, ~BRAIN] == 0).all()
    for scores, voxels in zip(found[:, BRAIN], image[:, BRAIN].astype(np.float64), strict=True):
        ordered = np.sort(voxels)
        last = len(ordered) - 1
        clipped = np.clip(voxels, ordered[int(np.floor(clip[0] * last))], ordered[int(np.ceil(clip[1] * last))])
        np.testing.assert_allclose(scores, (clipped - clipped.mean()) / clipped.std(), rtol=1e-4, atol=1e-5)


def test_spikes_change_nothing_but_themselves_and_are_told():
    clean = volumes()
    spiked = clean.copy()
    spiked[1, 5, 5, 5:8] = 32767
    found, findings = normalised(spiked, BRAIN, ("t1", "t2"), CLIP)
    before, _ = normalised(clean, BRAIN, ("t1", "t2"), CLIP)
    # Three spikes let three more of the largest values be themselves.
    change = np.sort(np.abs(found - before)[:, BRAIN], axis=1)
    assert (change[0] == 0).all()
    assert np.count_nonzero(change[1] > 0.02) <= 3 + 6
    (finding,) = findings
    assert finding.level == Level.NOTE
    assert finding.message.startswith("t2: 3 voxels far outside of all others, up to 32767, where nearly all lie")


@pytest.mark.parametrize("spike", [32767, -32768])
def test_spikes_in_a_small_brain_are_clipped_though_the_quantiles_do_not_reach_them(spike):
    brain = np.zeros(SHAPE, bool)
    brain[5:14, 5:14, 5:14] = True
    clean = volumes() * brain
    spiked = clean.copy()
    spiked[1, 8, 8, 7:10] = spike
    found, (finding,) = normalised(spiked, brain, ("t1", "t2"), CLIP)
    before, _ = normalised(clean, brain, ("t1", "t2"), CLIP)
    others = brain.copy()
    others[8, 8, 7:10] = False
    np.testing.assert_allclose(found[:, others], before[:, others], atol=0.2)
    assert np.abs(found).max() < 4
    assert finding.message.startswith("t2: 3 voxels far outside of all others")


@pytest.mark.parametrize(
    ("count", "place", "value", "clip", "clipped"),
    [
        (500, -1, 3.6, CLIP, False),
        (500, -1, 3.7, CLIP, True),
        (500, 0, -2.6, CLIP, False),
        (500, 0, -2.7, CLIP, True),
        (499, -1, 3.7, CLIP, False),
        (500, -1, 3.7, (0.0, 1.0), False),
        (500, 0, -2.7, (0.0, 1.0), False),
    ],
)
def test_a_spike_is_what_lies_three_times_the_usual_range_beyond_it(count, place, value, clip, clipped):
    """Of numbers from 0 to 1, usual are 0.05 to 0.95: spikes lie below -2.65 and above 3.65, among 500 or more."""
    numbers = np.linspace(0, 1, count)
    numbers[place] = value
    found, _ = normalised(numbers.astype(np.float32)[None, :, None, None], np.ones((count, 1, 1), bool), ("t1",), clip)
    if clipped:
        numbers[place] = numbers[1 if place == 0 else -2]
    np.testing.assert_allclose(found.ravel(), (numbers - numbers.mean()) / numbers.std(), atol=1e-5)


def test_a_modality_that_is_constant_nearly_everywhere_keeps_its_other_values():
    image = volumes()
    image[0, BRAIN] = 7
    image[0, 5:7, 5:7, 5:7] = 9
    found, _ = normalised(image, BRAIN, ("t1", "t2"), CLIP)
    assert (found[0, 5:7, 5:7, 5:7] > 3).all()


def test_a_few_voxels_are_not_clipped():
    small = np.zeros((1, 4, 4, 4), np.float32)
    brain = np.zeros((4, 4, 4), bool)
    brain[1:3] = True
    small[0, brain] = np.arange(32) ** 2
    found, _ = normalised(small, brain, ("t1",), CLIP)
    expected = (np.arange(32) ** 2 - np.mean(np.arange(32) ** 2)) / np.std(np.arange(32) ** 2)
    np.testing.assert_allclose(found[0, brain], expected, rtol=1e-5)


@pytest.mark.parametrize(("value", "spikes"), [(7.0, 0), (0.1, 0), (12345.678, 0), (0.1, 3)])
def test_a_constant_modality_becomes_zero_with_a_warning(value, spikes):
    image = volumes()
    image[0, BRAIN] = value
    image[0, 5, 5, 5 : 5 + spikes] = 99
    found, (finding,) = normalised(image, BRAIN, ("t1", "t2"), CLIP)
    assert (found[0] == 0).all()
    assert (found[1] != 0).any()
    assert finding.level == Level.WARNING
    assert finding.message == "t1: one single value inside the brain, which tells nothing and is read as 0"


def test_a_modality_with_the_values_of_another_is_told():
    image = np.concatenate([volumes(), volumes(1)])
    image[3] = image[1]
    _, (finding,) = normalised(image, BRAIN, ("t1", "t2", "flair", "t1ce"), CLIP)
    assert finding.level == Level.WARNING
    assert finding.message == "t2 and t1ce have the same values: the file of one is a copy of the other's; correct it"
