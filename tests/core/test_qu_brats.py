"""The QU-BraTS score against its definition and in analytic cases, and the scaling of maps to [0, 100]."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.integrate import trapezoid

from spuproj.uncertainty import SCALINGS, qu_brats, to_percent

SHAPE = (3, 4, 5)
EPS = np.finfo(np.float32).eps


def by_definition(truth, prediction, values, mask, points):
    """The curves as the paper and its authors' program have them: filter, then count."""
    curves: dict[str, list[float]] = {"dice": [], "ftp": [], "ftn": []}
    whole_tp = np.sum(truth & prediction & mask)
    whole_tn = np.sum(~truth & ~prediction & mask)
    for threshold in np.linspace(0, 100, points):
        left = ~(values > threshold)
        a, b = truth & left, prediction & left
        total = a.sum() + b.sum()
        curves["dice"].append(2 * (a & b).sum() / total if total else 1.0)
        curves["ftp"].append((whole_tp - (a & b & mask).sum()) / (whole_tp + EPS))
        curves["ftn"].append((whole_tn - (~truth & ~prediction & mask & left).sum()) / (whole_tn + EPS))
    areas = {name: trapezoid(curve, np.linspace(0, 100, points)) / 100 for name, curve in curves.items()}
    return curves, areas, (areas["dice"] + 1 - areas["ftp"] + 1 - areas["ftn"]) / 3


masks = arrays.arrays(np.bool_, SHAPE)
# Many values on the thresholds themselves.
PERCENTS = np.array([0, 1, 2.5, 2.6, 25, 49.9, 50, 50.1, 97.5, 99, 100], np.float32).tolist()
percents = arrays.arrays(np.float32, SHAPE, elements=st.sampled_from(PERCENTS))


@given(truth=masks, prediction=masks, values=percents, mask=masks, points=st.sampled_from([2, 5, 41]))
def test_curves_areas_and_score_are_those_of_the_definition(truth, prediction, values, mask, points):
    if 0 < values.max() <= 1:
        values = values + 1
    found = qu_brats(truth, prediction, values, mask, points)
    curves, areas, score = by_definition(truth, prediction, values, mask, points)
    assert found.thresholds.tolist() == np.linspace(0, 100, points).tolist()
    for name, curve in curves.items():
        np.testing.assert_allclose(getattr(found, name), curve, rtol=0, atol=1e-12)
        assert getattr(found, f"auc_{name}") == pytest.approx(areas[name], abs=1e-12)
    assert found.score == pytest.approx(score, abs=1e-12)


@given(truth=masks, prediction=masks, mask=masks)
def test_a_map_of_zeros_scores_what_its_dice_gives(truth, prediction, mask):
    total = truth.sum() + prediction.sum()
    dice = 2 * (truth & prediction).sum() / total if total else 1.0
    assert qu_brats(truth, prediction, np.zeros(SHAPE), mask).score == pytest.approx((dice + 2) / 3, abs=1e-6)


def test_a_map_that_marks_exactly_the_errors_scores_nearly_one():
    truth, prediction = np.zeros(1000, bool), np.zeros(1000, bool)
    truth[:100], prediction[50:150] = True, True
    found = qu_brats(truth, prediction, 100.0 * (truth ^ prediction), np.ones(1000, bool))
    assert found.dice[:-1].tolist() == [1.0] * 40
    assert found.dice[-1] == 0.5
    assert found.auc_ftp == found.auc_ftn == 0
    assert found.auc_dice == pytest.approx(1 - 0.5 * 0.025 / 2)


def test_a_voxel_at_the_threshold_is_kept_and_one_above_it_is_not():
    truth = prediction = np.array([True, True])
    found = qu_brats(truth, prediction, np.array([2.5, np.nextafter(2.5, 3)]), truth)
    np.testing.assert_allclose(found.ftp[:3], [1, 0.5, 0], atol=1e-6)


def test_true_positives_outside_the_mask_count_for_dice_alone():
    truth = prediction = np.ones(4, bool)
    found = qu_brats(truth, prediction, np.array([60.0, 0.0, 60.0, 0.0]), np.array([True, True, False, False]))
    np.testing.assert_allclose(found.ftp[[0, 24]], [0.5, 0], atol=1e-6)
    outside = qu_brats(truth, prediction, np.array([0.0, 0.0, 60.0, 60.0]), np.array([True, True, False, False]))
    assert outside.auc_ftp == 0
    assert found.dice.tolist() == outside.dice.tolist() == [1.0] * 41


def test_both_empty_is_one_and_true_negatives_count_inside_the_mask_only():
    nothing, mask = np.zeros(10, bool), np.arange(10) < 4
    found = qu_brats(nothing, nothing, np.where(np.arange(10) < 2, 60.0, 0.0) + 40.0 * ~mask, mask)
    assert found.dice.tolist() == [1.0] * 41
    assert found.ftp.tolist() == [0.0] * 41
    np.testing.assert_allclose(found.ftn[[0, 23, 24, 40]], [0.5, 0.5, 0, 0], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_tensors_score_as_arrays_do(dtype):
    random = torch.Generator().manual_seed(0)
    truth, prediction, mask = (torch.rand(SHAPE, generator=random) > 0.4 for _ in range(3))
    values = (100 * torch.rand(SHAPE, generator=random)).round().to(dtype)
    from_tensors = qu_brats(truth, prediction.to(torch.uint8), values.requires_grad_(), mask)
    from_arrays = qu_brats(truth.numpy(), prediction.numpy(), values.detach().double().numpy(), mask.numpy())
    assert from_tensors.score == from_arrays.score


ONES = np.ones(4, bool)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ONES, ONES, np.array([0, 1, math.nan, 2]), ONES), r"uncertainty must lie in \[0, 100\], got nan"),
        ((ONES, ONES, np.array([0, 100, 100.5, 2]), ONES), r"uncertainty must lie in \[0, 100\], got 100.5"),
        ((ONES, ONES, np.array([0, -1, 0, 2]), ONES), r"uncertainty must lie in \[0, 100\], got -1"),
        (
            (ONES, ONES, np.array([0, 0.25, 0, 0]), ONES),
            r"uncertainty must be scaled to \[0, 100\], got a largest value of 0.25; .*spuproj.uncertainty.to_percent",
        ),
        ((ONES, ONES, np.zeros(3), ONES), r"truth, prediction, mask and uncertainty must have one shape, got \(4,\)"),
        ((np.array([0, 1, 2, 1]), ONES, np.zeros(4), ONES), "truth must hold nothing but 0 and 1, got 2"),
        ((ONES, np.array([0, 0.5, 1, 1]), np.zeros(4), ONES), "prediction must hold nothing but 0 and 1, got 0.5"),
        ((ONES, ONES, np.zeros(4), np.array([0, 4, 1, 1])), "mask must hold nothing but 0 and 1, got 4"),
        ((ONES, ONES, np.zeros(4), ONES, 1), "points must be a whole number of at least 2, got 1"),
        ((ONES, ONES, np.zeros(4), ONES, math.inf), "points must be a whole number of at least 2, got inf"),
        ((ONES, ONES, np.zeros(4), ONES, "a"), "points must be a whole number of at least 2, got a"),
        ((ONES, ONES, np.zeros(4), ONES, 41.0), "points must be a whole number of at least 2, got 41.0"),
        ((ONES, ONES, np.zeros(4), ONES, 2.5), "points must be a whole number of at least 2, got 2.5"),
    ],
)
def test_what_cannot_be_scored_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        qu_brats(*arguments)


def test_a_small_map_that_is_known_to_be_scaled_is_scored():
    # One of four voxels is filtered at the threshold 0 alone.
    found = qu_brats(ONES, ONES, np.array([0, 0.25, 0, 0]), ONES, scaled=True)
    assert found.ftp.tolist() == pytest.approx([0.25, *[0] * 40])
    assert found.auc_ftp == pytest.approx(0.25 * 0.025 / 2)


def test_a_map_whose_largest_value_is_above_one_counts_as_scaled():
    assert qu_brats(ONES, ONES, np.array([0, 1.001, 0, 0]), ONES).score < 1


@pytest.mark.parametrize(
    ("scaling", "values", "expected"),
    [
        ("variance-1", [0, 0.0625, 0.25], [0, 25, 100]),
        ("std-1", [0, 0.0625, 0.25], [0, 50, 100]),
        ("entropy-1", [0, math.log(2) / 4, math.log(2)], [0, 25, 100]),
        ("mutual-1", [0, math.log(2) / 4, math.log(2)], [0, 25, 100]),
        ("maximum-1", [0, 0.01, 0.04], [0, 25, 100]),
        ("maximum-1", [0, 0, 0], [0, 0, 0]),
    ],
)
def test_scalings_by_name(scaling, values, expected):
    assert to_percent(torch.tensor(values, dtype=torch.float64), scaling).tolist() == pytest.approx(expected, abs=1e-12)


def test_rounding_beyond_the_largest_value_is_cut_off():
    assert to_percent(np.array([np.float32(0.25) * np.float32(1 + 2e-7)]), "variance-1").tolist() == [100]


@pytest.mark.parametrize(
    ("values", "scaling", "message"),
    [
        ([0.3], "variance-1", r"at most what variance-1 \(variance / 0.25\) divides by, got a largest value of 0.3"),
        ([0.8], "entropy-1", "got a largest value of 0.8"),
        ([0.25 * 1.001], "variance-1", "got a largest value of 0.25025"),
        ([0.1, -0.1], "std-1", "values must be finite and not negative, got -0.1"),
        ([0.1, math.nan], "maximum-1", "values must be finite and not negative, got nan"),
        ([0.1, math.inf], "maximum-1", "values must be finite and not negative, got inf"),
        ([0.1], "variance", "scaling must be one of variance-1, std-1, entropy-1, mutual-1, maximum-1, got 'variance'"),
    ],
)
def test_what_cannot_be_scaled_is_refused(values, scaling, message):
    with pytest.raises(ValueError, match=message):
        to_percent(np.array(values), scaling)


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("variance-1", [40, 60 / math.log(2), 30 / math.log(2)]),
        ("std-1", [100 * math.sqrt(0.4), 60 / math.log(2), 30 / math.log(2)]),
        ("entropy-1", [10 / math.log(2), 60 / math.log(2), 30 / math.log(2)]),
        ("mutual-1", [10 / math.log(2), 60 / math.log(2), 30 / math.log(2)]),
        ("maximum-1", [100, 100, 50]),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_where_there_is_no_value_the_entropy_takes_its_place(kind, scaling, expected):
    values, entropies = [0.1, math.nan, math.nan], [0.2, 0.6, 0.3]
    assert to_percent(kind(values), scaling, kind(entropies)).tolist() == pytest.approx(expected)


@given(arrays.arrays(np.float64, 6, elements=st.floats(0, 0.25)), st.sampled_from(sorted(SCALINGS)))
def test_entropies_change_nothing_where_there_are_values(values, scaling):
    assert to_percent(values, scaling, np.full(6, 9.0)).tolist() == to_percent(values, scaling).tolist()


def test_entropies_that_cannot_take_a_place_are_refused():
    nothing = np.array([0.1, math.nan])
    for entropies, message in (
        (np.zeros(3), r"entropies must have the shape of values, \(2,\), got \(3,\)"),
        (np.array([0.1, 0.8]), r"at most what entropy-1 .* divides by, got a largest value of 0.8"),
        (nothing, "values must be finite and not negative, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            to_percent(nothing, "variance-1", entropies)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_every_listed_scaling_can_be_used(scaling):
    assert to_percent(np.zeros(3), scaling).tolist() == [0, 0, 0]
