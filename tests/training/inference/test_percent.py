"""The uncertainty of a prediction at every voxel, also where too few views see it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import entropy as scipy_entropy

from made_up_case import made_up_case, prediction, seen_once
from spuproj.training.inference.percent import uncertainty_percent, voxels_without_variance

INSIDE = np.s_[4, 6, 7:10]


def test_the_variance_is_scaled_by_its_largest_value():
    made = prediction(variance=0.02)
    np.testing.assert_allclose(uncertainty_percent(made), 8.0 * (made.probability > 0), rtol=1e-6)


def test_voxels_without_a_variance_have_their_entropy():
    made = seen_once(prediction(variance=0.02), INSIDE)
    percent = uncertainty_percent(made)
    np.testing.assert_allclose(percent[INSIDE], 100 * scipy_entropy([0.9, 0.1]) / math.log(2), rtol=1e-5)
    assert percent[4, 6, 10] == pytest.approx(8)
    assert percent[0, 0, 0] == 0


@pytest.mark.parametrize("where", [4, np.array([3, 4]), made_up_case().brain], ids=["slice", "slices", "mask"])
def test_a_part_is_that_of_the_whole(where):
    made = seen_once(prediction(), INSIDE)
    np.testing.assert_array_equal(uncertainty_percent(made, where), uncertainty_percent(made)[where])


def test_voxels_without_a_variance_are_counted_in_the_brain():
    made = seen_once(prediction(), np.s_[4])
    brain = made_up_case().brain
    assert voxels_without_variance(made, brain) == brain[4].sum()
    assert voxels_without_variance(prediction(), brain) == 0
