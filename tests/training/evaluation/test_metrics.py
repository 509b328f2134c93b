"""One case's measures: analytic cases, independent sources, and masks that are empty."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from spuproj.training.evaluation.metrics import BINS, Maps, aurc, calibration_error, measure
from spuproj.uncertainty import qu_brats

SHAPE = (12, 10, 8)


def made_up(seed=0):
    random = np.random.default_rng(seed)
    truth, found = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    truth[2:7, 3:8, 2:6], found[3:8, 3:8, 2:6] = True, True
    brain = np.ones(SHAPE, bool)
    brain[0] = False
    probability = np.clip(found * 0.6 + 0.2 + random.normal(0, 0.05, SHAPE), 0, 1)
    percent = 60 * (truth ^ found) + random.uniform(0, 40, SHAPE)
    return Maps(truth, found, probability, percent, brain, (2.0, 1.0, 1.0))


def test_overlap_measures_count_voxels():
    metrics, _ = measure(made_up())
    assert metrics.dice == pytest.approx(2 * 80 / 200)
    assert metrics.sensitivity == pytest.approx(80 / 100)
    negative = 11 * 10 * 8 - 100
    assert metrics.specificity == pytest.approx((negative - 20) / negative)
    assert metrics.accuracy == pytest.approx(1 - 40 / (11 * 10 * 8))


def test_the_distance_of_a_shifted_box_is_its_shift_in_millimetres():
    assert measure(made_up())[0].hd95 == pytest.approx(2.0)


def test_views_that_hardly_differ_are_measured_like_any_others():
    maps = made_up()
    few, none = (measure(replace(maps, percent=maps.percent * factor))[0].score for factor in (1e-3, 0))
    assert 0 < few < none


def test_the_score_is_that_of_qu_brats_beside_that_of_a_map_of_zeros():
    maps = made_up()
    metrics, curves = measure(maps)
    expected = qu_brats(maps.truth, maps.segmentation, maps.percent, maps.brain)
    assert (metrics.score, metrics.auc_dice, metrics.auc_ftp, metrics.auc_ftn) == (
        expected.score,
        expected.auc_dice,
        expected.auc_ftp,
        expected.auc_ftn,
    )
    assert curves.qu_brats.dice.tolist() == expected.dice.tolist()
    zeros, _ = measure(replace(maps, percent=np.zeros(SHAPE)))
    assert metrics.baseline == pytest.approx(zeros.score, abs=1e-6)


def test_detection_of_errors_equals_the_rank_statistic():
    maps = made_up()
    metrics, _ = measure(maps)
    wrong = (maps.truth ^ maps.segmentation)[maps.brain]
    percent = maps.percent[maps.brain]
    u = stats.mannwhitneyu(percent[wrong], percent[~wrong]).statistic
    assert metrics.auroc == pytest.approx(u / (wrong.sum() * (~wrong).sum()), abs=1e-6)
    order = np.argsort(-percent)
    precision = np.cumsum(wrong[order]) / np.arange(1, wrong.size + 1)
    assert metrics.average_precision == pytest.approx(precision[wrong[order]].mean(), abs=1e-6)


def test_an_uncertainty_that_marks_exactly_the_errors_is_the_best_detector():
    maps = made_up()
    wrong = (maps.truth ^ maps.segmentation) & maps.brain
    metrics, _ = measure(replace(maps, percent=100.0 * wrong))
    assert metrics.auroc == metrics.average_precision == metrics.error_dice == 1
    share = wrong.sum() / maps.brain.sum()
    right = maps.brain.sum() - wrong.sum()
    kept = np.arange(right + 1, maps.brain.sum() + 1)
    assert metrics.aurc == pytest.approx(((kept - right) / kept).sum() / maps.brain.sum())
    assert metrics.mean_uncertainty == pytest.approx(100 * share)


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


def test_calibration_error_is_the_gap_of_each_bin():
    truth = np.zeros(SHAPE, bool)
    truth[:, :, 0] = True
    probability = np.where(truth, 0.9, 0.3)
    metrics, curves = measure(Maps(truth, truth, probability, np.zeros(SHAPE), np.ones(SHAPE, bool), (1, 1, 1)))
    share = truth.mean()
    assert metrics.ece == pytest.approx(share * 0.1 + (1 - share) * 0.3)
    assert curves.voxels.sum() == truth.size
    assert curves.positive[int(0.9 * BINS)] == truth.sum()
    assert curves.predicted.sum() == pytest.approx(probability.sum())


def test_a_probability_of_one_belongs_to_the_last_bin():
    ones = np.ones(SHAPE, bool)
    _, curves = measure(Maps(ones, ones, np.ones(SHAPE), np.zeros(SHAPE), ones, (1, 1, 1)))
    assert curves.voxels[-1] == ones.size


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_is_the_definition_bin_by_bin(seed):
    """Naeini et al. 2015: sum over bins of |bin| / n times |mean probability - share of target|, with 0 and 1 in it."""
    random = np.random.default_rng(seed)
    probability = random.uniform(-0.2, 1.2, 3000).clip(0, 1).astype(np.float32).astype(float)
    truth = random.random(3000) < 0.8 * probability**2 + 0.1
    expected = 0.0
    for number in range(BINS):
        last = number == BINS - 1
        inside = (probability >= number / BINS) & ((probability <= 1) if last else (probability < (number + 1) / BINS))
        expected += inside.mean() * abs(probability[inside].mean() - truth[inside].mean())
    assert (probability == 1).sum() > 100
    assert calibration_error(probability, truth) == pytest.approx(expected, rel=1e-12)


def test_calibration_error_pools_probabilities_of_one_with_those_just_below():
    """In one bin, gaps of opposite signs cancel: here (0.95 + 1) / 2 against a share of 1/2 of target."""
    assert calibration_error(np.array([0.95, 1.0]), np.array([True, False])) == pytest.approx(0.475)


NONE = np.zeros(SHAPE, bool)


def emptied(truth, found):
    maps = made_up()
    return replace(maps, truth=maps.truth if truth else NONE, segmentation=maps.segmentation if found else NONE)


@pytest.mark.parametrize(
    ("truth", "found", "convention", "dice", "sensitivity", "hd95"),
    [
        (False, False, "brats", 1, 1, 0),
        (False, True, "brats", 0, 0, math.hypot(24, 10, 8)),
        (True, False, "brats", 0, 0, math.hypot(24, 10, 8)),
        (False, False, "nan", math.nan, math.nan, math.nan),
        (False, True, "nan", 0, math.nan, math.nan),
        (True, False, "nan", 0, 0, math.nan),
    ],
)
def test_empty_masks_by_convention(truth, found, convention, dice, sensitivity, hd95):
    metrics, _ = measure(emptied(truth, found), convention)
    assert (metrics.dice, metrics.sensitivity, metrics.hd95) == pytest.approx((dice, sensitivity, hd95), nan_ok=True)


def test_without_errors_there_is_nothing_to_detect():
    maps = made_up()
    metrics, _ = measure(replace(maps, segmentation=maps.truth))
    assert math.isnan(metrics.auroc)
    assert math.isnan(metrics.average_precision)
    assert metrics.aurc == 0


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="empty must be one of brats, nan, got 'zero'"):
        measure(made_up(), "zero")
    with pytest.raises(ValueError, match="brain must hold at least one voxel, got none"):
        measure(replace(made_up(), brain=NONE))
