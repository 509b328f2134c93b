"""How well the model expects its segmentation to agree with the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spuproj.training.evaluation.expected_dice import NEGLIGIBLE, POSSIBLE, expected_dice

PROBABILITIES = arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32))


def test_the_expected_dice_is_that_of_many_truths_drawn_from_the_probability():
    rng = np.random.default_rng(0)
    probability = rng.uniform(POSSIBLE, 1, 4000).astype(np.float32)
    found = probability > 0.5
    truths = rng.uniform(size=(200, 4000)) < probability
    drawn = [2 * (truth & found).sum() / (truth.sum() + found.sum()) for truth in truths]
    assert expected_dice(probability, found) == pytest.approx(np.mean(drawn), abs=0.002)


@given(PROBABILITIES)
def test_it_lies_between_0_and_1_and_is_1_only_where_the_model_is_sure(probability):
    value = expected_dice(probability, probability > 0.5)
    assert 0 <= value <= 1
    sure = (probability > 0.5).astype(np.float32)
    assert expected_dice(sure, sure > 0.5) == 1


def test_small_probabilities_of_a_whole_brain_do_not_count():
    probability = np.full((100, 100), 0.99 * POSSIBLE, np.float32)
    probability[:3] = 1
    assert expected_dice(probability, probability > 0.5) == 1


def test_a_probability_counts_from_five_percent_on():
    for doubt, counted in ((np.nextafter(0.05, 0), 0), (0.05, 1)):
        probability = np.array([1.0, *[doubt] * 10])
        assert expected_dice(probability, probability > 0.5) == pytest.approx(2 / (2 + counted * 10 * doubt))


def test_a_voxel_has_a_cubic_millimetre_where_nothing_is_said():
    sure, nothing = np.zeros(100), np.zeros(100, bool)
    for voxels, trusted in ((49, 1), (51, 0)):
        sure[:voxels] = 1
        assert expected_dice(sure, nothing) == trusted


def test_nothing_found_is_trusted_only_where_nothing_may_be_there():
    nothing = np.zeros((10, 10), bool)
    possible = np.full((10, 10), 0.2, np.float32)
    assert expected_dice(np.zeros((10, 10), np.float32), nothing) == 1
    assert expected_dice(possible, nothing, 1.01 * NEGLIGIBLE / 20) == 0
    assert expected_dice(possible, nothing, 0.99 * NEGLIGIBLE / 20) == 1
