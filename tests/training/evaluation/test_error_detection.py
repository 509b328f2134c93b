"""Wrong voxels found and corrected by their uncertainty, against orders drawn at random and by hand."""

from __future__ import annotations

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from spuproj.training.evaluation.error_detection import RECALL, aurc, corrected_dice, looked_at, soft_dice

LEVELS = st.sampled_from([0.0, 1.0, 2.0])


def mask(*values):
    return np.array(values, bool)


def orders(uncertainty):
    """Every order of the voxels in which none comes before a more uncertain one."""
    for order in permutations(range(len(uncertainty))):
        if all(uncertainty[a] >= uncertainty[b] for a, b in pairwise(order)):
            yield list(order)


@given(
    uncertainty=arrays.arrays(np.float64, 9, elements=st.sampled_from([0.0, 1.0, 2.0])),
    wrong=arrays.arrays(np.bool_, 9),
)
def test_the_risk_among_equals_is_the_mean_over_their_orders(uncertainty, wrong):
    random, areas = np.random.default_rng(0), []
    for _ in range(4000):
        shuffled = random.permutation(9)
        order = shuffled[np.argsort(uncertainty[shuffled], kind="stable")]
        areas.append(np.mean(np.cumsum(wrong[order]) / np.arange(1, 10)))
    assert aurc(uncertainty, wrong) == pytest.approx(np.mean(areas), abs=0.02)


def test_a_map_that_tells_nothing_has_the_error_rate_as_risk():
    wrong = np.array([True, False, False, True])
    assert aurc(np.zeros(4), wrong) == pytest.approx(0.5)


def test_ninety_percent_of_the_errors_are_found_where_the_last_of_them_is():
    uncertainty = np.arange(40.0)
    wrong = np.zeros(40, bool)
    wrong[[39, 38, 37, 36, 35, 34, 33, 32, 21, 0]] = True
    share, precision = looked_at(uncertainty, wrong)
    assert (share, precision) == (19 / 40, 9 / 19)


@pytest.mark.parametrize(("errors", "needed"), [(1, 1), (2, 2), (9, 9), (10, 9), (11, 10), (20, 18), (1000, 900)])
def test_the_number_of_errors_to_find_is_rounded_up(errors, needed):
    uncertainty = np.arange(2000.0)
    share, precision = looked_at(uncertainty, uncertainty >= 2000 - errors)
    assert (share, precision) == (needed / 2000, 1)


@settings(max_examples=40)
@given(uncertainty=arrays.arrays(np.float64, 6, elements=LEVELS), wrong=arrays.arrays(np.bool_, 6))
def test_what_must_be_looked_at_among_equals_is_the_mean_over_their_orders(uncertainty, wrong):
    share, precision = looked_at(uncertainty, wrong)
    if not wrong.any():
        assert math.isnan(share)
        assert math.isnan(precision)
        return
    needed = math.ceil(RECALL / 100 * wrong.sum())
    numbers = [np.flatnonzero(np.cumsum(wrong[order]) >= needed)[0] + 1 for order in orders(uncertainty)]
    assert share == pytest.approx(np.mean(numbers) / 6)
    assert precision == pytest.approx(needed / np.mean(numbers))


def test_a_map_that_tells_nothing_must_be_looked_at_as_far_as_it_has_errors():
    wrong = np.arange(1000) % 10 == 0
    share, precision = looked_at(np.zeros(1000), wrong)
    assert share == pytest.approx(0.9, abs=0.01)
    assert precision == pytest.approx(0.1, abs=0.01)


def test_corrected_voxels_are_the_most_uncertain_of_the_brain():
    truth, found = mask(1, 1, 1, 0, 0, 0, 1), mask(1, 0, 0, 1, 0, 0, 0)
    brain = mask(1, 1, 1, 1, 1, 0, 0)
    uncertainty = np.array([0.0, 3.0, 1.0, 2.0, 0.5, 9.0, 9.0])
    dices = corrected_dice(truth, found, uncertainty, brain, (0, 20, 40, 60, 80, 100))
    assert dices == pytest.approx([2 / 6, 4 / 7, 4 / 6, 6 / 7, 6 / 7, 6 / 7])


@settings(max_examples=40)
@given(
    truth=arrays.arrays(np.bool_, 6),
    found=arrays.arrays(np.bool_, 6),
    uncertainty=arrays.arrays(np.float64, 6, elements=LEVELS),
    count=st.integers(0, 6),
)
def test_of_equals_misses_and_false_alarms_are_corrected_in_proportion(truth, found, uncertainty, count):
    drawn = [order[:count] for order in orders(uncertainty)]
    more = np.mean([(truth & ~found)[chosen].sum() for chosen in drawn])
    less = np.mean([(found & ~truth)[chosen].sum() for chosen in drawn])
    left = truth.sum() + found.sum() + more - less
    (dice,) = corrected_dice(truth, found, uncertainty, np.ones(6, bool), (100 * count / 6,))
    assert dice == pytest.approx(1 if left < 1e-9 else 2 * ((truth & found).sum() + more) / left)


@given(
    truth=arrays.arrays(np.bool_, 30),
    found=arrays.arrays(np.bool_, 30),
    uncertainty=arrays.arrays(np.float64, 30, elements=st.floats(0, 100)),
)
def test_correction_never_makes_a_segmentation_worse_and_all_of_it_is_the_truth(truth, found, uncertainty):
    dices = corrected_dice(truth, found, uncertainty, np.ones(30, bool), (0, 1, 5, 10, 50, 100))
    assert dices == sorted(dices)
    assert dices[-1] == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=9))
def test_the_dice_of_a_weight_counts_what_both_have_twice(voxels):
    weight, wrong = np.array([each for each, _ in voxels], float), mask(*(each for _, each in voxels))
    both, either = sum(u for u, e in voxels if e), sum(u + e for u, e in voxels)
    assert soft_dice(weight, wrong) == pytest.approx(2 * both / either if either else 1)
