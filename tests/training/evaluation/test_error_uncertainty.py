"""Dice, and uncertainty where the model is right and where it is wrong."""

import math

import numpy as np
import pytest

from spuproj.training.evaluation.metrics import dice, error_uncertainty


def mask(*values):
    return np.array(values, bool)


@pytest.mark.parametrize(
    ("truth", "segmentation", "expected"),
    [
        (mask(1, 1, 0, 0), mask(1, 1, 0, 0), 1),
        (mask(1, 1, 0, 0), mask(0, 0, 1, 1), 0),
        (mask(1, 1, 0, 0), mask(1, 0, 0, 0), 2 / 3),
        (mask(1, 1, 1, 0), mask(0, 1, 1, 1), 2 / 3),
        (mask(1, 1, 1, 1), mask(1, 0, 0, 0), 2 / 5),
        (mask(0, 0, 0, 0), mask(0, 0, 0, 0), 1),
        (mask(0, 0, 0, 0), mask(1, 0, 0, 0), 0),
        (mask(1, 0, 0, 0), mask(0, 0, 0, 0), 0),
    ],
)
def test_dice_is_twice_the_overlap_over_the_sum(truth, segmentation, expected):
    assert dice(truth, segmentation) == pytest.approx(expected)
    assert dice(segmentation, truth) == dice(truth, segmentation)
    assert isinstance(dice(truth, segmentation), float)


def test_dice_counts_beyond_the_range_of_small_integers():
    truth = np.ones((80, 80, 80), bool)
    segmentation = truth.copy()
    segmentation[:40] = False
    assert dice(truth, segmentation) == pytest.approx(2 / 3)


def test_uncertainty_is_averaged_over_right_and_wrong_voxels_of_the_brain():
    truth, segmentation, brain = mask(1, 1, 1, 0, 0, 0), mask(1, 1, 0, 1, 0, 0), mask(1, 1, 1, 1, 1, 0)
    uncertainty = np.array([0.02, 0.04, 0.1, 0.2, 0.12, 9.0], np.float32)
    result = error_uncertainty(truth, segmentation, uncertainty, brain)
    assert result.dice == pytest.approx(2 / 3)
    assert result.uncertainty_correct == pytest.approx(0.06)
    assert result.uncertainty_inside == pytest.approx(0.03)
    assert result.uncertainty_wrong == pytest.approx(0.15)


def test_voxels_outside_the_brain_are_in_no_mean():
    truth, segmentation, brain = mask(1, 1, 0, 0), mask(1, 1, 1, 1), mask(1, 0, 1, 0)
    result = error_uncertainty(truth, segmentation, np.array([0.1, 5, 0.2, 7], np.float32), brain)
    assert (result.uncertainty_inside, result.uncertainty_wrong) == pytest.approx((0.1, 0.2))


def test_a_perfect_segmentation_has_no_wrong_voxels():
    result = error_uncertainty(mask(1, 0), mask(1, 0), np.array([0.3, 0.1], np.float32), mask(1, 1))
    assert (result.dice, result.uncertainty_correct) == (1, pytest.approx(0.2))
    assert result.uncertainty_inside == pytest.approx(0.3)
    assert math.isnan(result.uncertainty_wrong)


def test_a_segmentation_beside_the_truth_has_no_correct_voxels():
    result = error_uncertainty(mask(1, 0), mask(0, 1), np.array([0.1, 0.2], np.float32), mask(1, 1))
    assert (result.dice, result.uncertainty_wrong) == (0, pytest.approx(0.15))
    assert math.isnan(result.uncertainty_correct)
    assert math.isnan(result.uncertainty_inside)


def test_voxels_without_an_uncertainty_are_left_out_of_the_means():
    truth, segmentation, brain = mask(1, 1, 1, 0, 0), mask(1, 1, 0, 0, 0), mask(1, 1, 1, 1, 1)
    uncertainty = np.array([0.02, math.nan, math.nan, 0.1, math.nan], np.float32)
    result = error_uncertainty(truth, segmentation, uncertainty, brain)
    assert (result.uncertainty_correct, result.uncertainty_inside) == pytest.approx((0.06, 0.02))
    assert math.isnan(result.uncertainty_wrong)


@pytest.mark.parametrize("odd", range(4))
def test_maps_of_other_shapes_are_an_error_that_tells_them(odd):
    maps = [np.zeros((2, 3), bool), np.zeros((2, 3), bool), np.zeros((2, 3), np.float32), np.ones((2, 3), bool)]
    maps[odd] = maps[odd][:1]
    with pytest.raises(ValueError, match=r"must have one shape, got .*\(1, 3\)"):
        error_uncertainty(*maps)
