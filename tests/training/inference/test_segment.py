"""Aggregation: one half, and Otsu's threshold against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from spuproj.training.inference.case_prediction import segment

BRAIN = np.ones((3, 20, 20), np.bool_)


def between_class_variance(values: np.ndarray, found: np.ndarray) -> float:
    """Of the values' two classes (Otsu 1979, equation 14)."""
    weight = found.mean()
    if weight in (0, 1):
        return 0.0
    return weight * (1 - weight) * (values[found].mean() - values[~found].mean()) ** 2


@pytest.fixture(params=[0, 1, 2])
def probability(request) -> np.ndarray:
    """Probabilities in two overlapping heaps, both below one half."""
    random = np.random.default_rng(request.param)
    return np.where(random.random(BRAIN.shape) < 0.2, random.beta(6, 10, BRAIN.shape), random.beta(1, 20, BRAIN.shape))


def test_otsu_separates_the_classes_as_well_as_the_best_of_all_thresholds(probability):
    values = probability.ravel()
    best = max(between_class_variance(values, values > threshold) for threshold in values)
    found = segment(probability, BRAIN, "otsu").ravel()
    assert between_class_variance(values, found) > 0.999 * best
    assert between_class_variance(values, values > np.median(values)) < 0.8 * best
    assert values[found].min() > values[~found].max()


def test_otsu_looks_at_the_brain_alone(probability):
    brain = BRAIN.copy()
    brain[:, :10] = False
    other = np.where(brain, probability, 1)
    np.testing.assert_array_equal(
        segment(other, brain, "otsu"), segment(np.where(brain, probability, 0), brain, "otsu")
    )
    assert not segment(other, brain, "otsu")[~brain].any()


@pytest.mark.parametrize("value", [0, 0.3, 1])
def test_otsu_finds_nothing_where_all_of_the_brain_is_the_same(value):
    assert not segment(np.full(BRAIN.shape, value, np.float32), BRAIN, "otsu").any()


def test_otsu_finds_something_wherever_the_brain_is_not_all_the_same():
    probability = np.zeros(BRAIN.shape, np.float32)
    probability[1, 2, 3] = 1e-3
    assert segment(probability, BRAIN, "otsu").nonzero() == ([1], [2], [3])


def test_mean_takes_what_is_above_one_half():
    probability = np.broadcast_to(np.array([[[0.4], [0.5], [0.6]]], np.float32), (1, 3, 2))
    expected = np.array([[[False] * 2, [False] * 2, [True] * 2]])
    np.testing.assert_array_equal(segment(probability, np.ones((1, 3, 2), np.bool_), "mean"), expected)


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match=r"aggregation must be one of .*, got 'median'"):
        segment(np.zeros(BRAIN.shape, np.float32), BRAIN, "median")
