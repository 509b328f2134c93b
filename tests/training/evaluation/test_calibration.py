"""Calibration of probabilities, bin by bin and against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from spuproj.training.evaluation.calibration import BINS, LEAST, calibration_error, negative_log_likelihood


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


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_is_the_cross_entropy_of_torch(seed):
    random = np.random.default_rng(seed)
    probability = random.uniform(0, 1, 3000)
    truth = random.random(3000) < probability
    expected = float(binary_cross_entropy(torch.from_numpy(probability), torch.from_numpy(truth).double()))
    assert negative_log_likelihood(probability, truth) == pytest.approx(expected, rel=1e-9)


def test_a_sure_error_counts_as_much_as_float32_can_tell():
    sure = np.array([1.0, 0.0, 1.0, 0.0])
    assert negative_log_likelihood(sure, sure > 0) == 0
    expected = -np.log(LEAST) / 2
    assert negative_log_likelihood(sure, np.array([True, True, False, False])) == pytest.approx(expected)
    below_one = float(np.nextafter(np.float32(1), np.float32(0)))
    almost = negative_log_likelihood(np.array([below_one]), np.array([False]))
    assert negative_log_likelihood(np.array([1.0]), np.array([False])) == pytest.approx(almost)
