"""One case's measures: analytic cases, independent sources, and masks that are empty."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats

from spuproj.training.evaluation.calibration import BINS
from spuproj.training.evaluation.expected_dice import expected_dice
from spuproj.training.evaluation.metrics import CaseMaps, measure
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
    return CaseMaps(truth, found, probability, percent, brain, (2.0, 1.0, 1.0))


def test_overlap_measures_count_voxels():
    metrics, _ = measure(made_up())
    assert metrics.dice == pytest.approx(2 * 80 / 200)
    assert metrics.sensitivity == pytest.approx(80 / 100)
    negative = 11 * 10 * 8 - 100
    assert metrics.specificity == pytest.approx((negative - 20) / negative)
    assert metrics.accuracy == pytest.approx(1 - 40 / (11 * 10 * 8))


def test_the_distance_of_a_shifted_box_is_its_shift_in_millimetres():
    assert measure(made_up())[0].hd95 == pytest.approx(2.0)


@pytest.mark.parametrize("seed", range(3))
def test_the_distance_is_the_larger_95th_percentile_of_those_between_the_surfaces(seed):
    random = np.random.default_rng(seed)
    smooth = [ndimage.gaussian_filter(random.normal(size=SHAPE), 1.5, mode="constant") for _ in range(2)]
    truth, found = (np.pad((each > 0)[1:-1, 1:-1, 1:-1], 1) for each in smooth)
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (truth, found)]
    ways = [ndimage.distance_transform_edt(~to, sampling=(2.0, 1.0, 1.5))[of] for of, to in (edges, reversed(edges))]
    maps = replace(made_up(), truth=truth, segmentation=found, spacing=(2.0, 1.0, 1.5))
    assert measure(maps)[0].hd95 == pytest.approx(max(np.percentile(each, 95) for each in ways))


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


def test_calibration_error_is_the_gap_of_each_bin():
    truth = np.zeros(SHAPE, bool)
    truth[:, :, 0] = True
    probability = np.where(truth, 0.9, 0.3)
    metrics, curves = measure(CaseMaps(truth, truth, probability, np.zeros(SHAPE), np.ones(SHAPE, bool), (1, 1, 1)))
    share = truth.mean()
    assert metrics.ece == pytest.approx(share * 0.1 + (1 - share) * 0.3)
    assert curves.voxels.sum() == truth.size
    assert curves.positive[int(0.9 * BINS)] == truth.sum()
    assert curves.predicted.sum() == pytest.approx(probability.sum())


def test_a_probability_of_one_belongs_to_the_last_bin():
    ones = np.ones(SHAPE, bool)
    _, curves = measure(CaseMaps(ones, ones, np.ones(SHAPE), np.zeros(SHAPE), ones, (1, 1, 1)))
    assert curves.voxels[-1] == ones.size


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


def test_without_errors_there_is_nothing_to_detect_or_to_correct():
    maps = made_up()
    metrics, _ = measure(replace(maps, segmentation=maps.truth))
    for name in ("auroc", "average_precision", "flagged_90", "precision_90"):
        assert math.isnan(getattr(metrics, name)), name
    assert metrics.corrected_1 == metrics.corrected_5 == metrics.corrected_10 == 1
    assert metrics.aurc == 0


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="empty must be one of brats, nan, got 'zero'"):
        measure(made_up(), "zero")
    with pytest.raises(ValueError, match="brain must hold at least one voxel, got none"):
        measure(replace(made_up(), brain=NONE))


def test_the_likelihood_is_that_of_the_brain():
    maps = made_up()
    metrics, _ = measure(maps)
    right = np.where(maps.truth, maps.probability, 1 - maps.probability)[maps.brain]
    assert metrics.nll == pytest.approx(-np.log(right).mean())


def test_correction_looks_at_the_brain_alone_and_dice_counts_all():
    maps = made_up()
    outside = np.zeros(SHAPE, bool)
    outside[0, 0, 0] = True
    truth = maps.truth | outside
    metrics, _ = measure(replace(maps, truth=truth, percent=100.0 * (maps.truth ^ maps.segmentation)))
    assert metrics.dice < metrics.corrected_1 < metrics.corrected_5
    assert metrics.corrected_5 == metrics.corrected_10 == pytest.approx(2 * 100 / (101 + 100))


@pytest.mark.parametrize(("convention", "after"), [("brats", 1.0), ("nan", math.nan)])
def test_corrected_dice_of_masks_that_are_empty_follows_that_of_dice(convention, after):
    metrics, _ = measure(emptied(False, False), convention)
    assert (metrics.dice, metrics.corrected_1) == pytest.approx((after, after), nan_ok=True)
    for found, corrected in ((made_up().segmentation, 0), (made_up().segmentation & (np.arange(8) == 3), 1)):
        metrics, _ = measure(replace(emptied(False, True), segmentation=found, percent=100.0 * found), convention)
        assert (metrics.dice, metrics.corrected_1, metrics.corrected_10) == (0, 0, corrected)


def test_the_expected_dice_is_that_of_a_report():
    maps = made_up()
    small = replace(maps, probability=np.where(maps.brain, 0.06, 0.0), segmentation=NONE)
    large = replace(small, spacing=(0.1, 0.1, 0.1))
    assert measure(maps)[0].expected_dice == expected_dice(maps.probability, maps.segmentation)
    assert [measure(each)[0].expected_dice for each in (small, large)] == [0, 1]
