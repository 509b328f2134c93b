"""Predictive entropy and mutual information."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats
from torch.testing import assert_close

from helpers import noise
from spuproj import uncertainty


def test_entropy_is_zero_where_certain_and_ln_2_where_undecided():
    values = uncertainty.entropy(torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64))
    assert values.tolist() == [0.0, 0.0, math.log(2)]


@pytest.mark.parametrize(
    ("dtype", "digits"),
    [(torch.float64, 1e-14), (torch.float32, 1e-6), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)],
    ids=str,
)
def test_entropy_equals_scipy_is_symmetric_and_keeps_shape_and_dtype(dtype, digits):
    probability = torch.linspace(0, 1, 257, dtype=torch.float64).to(dtype).view(1, 257, 1)
    computed = uncertainty.entropy(probability)
    assert (computed.dtype, computed.shape) == (dtype, probability.shape)
    pairs = torch.stack([probability.double(), 1 - probability.double()])
    expected = torch.from_numpy(stats.entropy(pairs.numpy(), axis=0))
    assert_close(computed.double(), expected, rtol=0, atol=digits)
    assert_close(computed, computed.flip(1), rtol=0, atol=digits)


@given(arrays.arrays(np.float64, (3, 4, 2), elements=st.floats(0, 1)), st.sampled_from([0, 1, -1]))
def test_the_entropy_of_classes_is_that_of_scipy_with_an_axis_of_one(weights, dim):
    probability = (weights + 0.01) / (weights + 0.01).sum(dim, keepdims=True)
    found = uncertainty.entropy(torch.from_numpy(probability), dim)
    assert_close(found, torch.from_numpy(stats.entropy(probability, axis=dim, keepdims=True)), rtol=0, atol=1e-12)
    assert torch.equal(uncertainty.mutual_information(torch.from_numpy(probability), found / 2, dim), found / 2)


def test_entropy_is_differentiable_between_zero_and_one():
    probability = torch.sigmoid(noise(20, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(uncertainty.entropy, probability)
    (gradient,) = torch.autograd.grad(uncertainty.entropy(probability).sum(), probability)
    assert_close(gradient, torch.log((1 - probability) / probability))


@pytest.mark.parametrize("value", [-1e-6, 1 + 1e-6, math.nan, math.inf, -math.inf])
def test_entropy_is_nan_outside_zero_to_one(value):
    assert math.isnan(uncertainty.entropy(torch.tensor(value, dtype=torch.float64)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64], ids=str)
def test_entropy_refuses_what_is_no_probability(dtype):
    with pytest.raises(TypeError, match=f"probability must be a torch tensor of a floating-point dtype, got {dtype}"):
        uncertainty.entropy(torch.ones(2, dtype=dtype))


def test_entropy_refuses_an_array():
    with pytest.raises(TypeError, match="probability must be a torch tensor of a floating-point dtype, got float64"):
        uncertainty.entropy(np.ones(2))  # type: ignore[arg-type]


@given(arrays.arrays(np.float64, (5, 7), elements=st.floats(0, 1)))
def test_mutual_information_is_entropy_of_the_mean_less_mean_entropy(members):
    probability = torch.from_numpy(members)
    found = uncertainty.mutual_information(probability.mean(0), uncertainty.entropy(probability).mean(0))
    expected = uncertainty.entropy(probability.mean(0)) - uncertainty.entropy(probability).mean(0)
    assert (found >= 0).all()
    assert_close(found, expected, rtol=0, atol=1e-12)
    assert torch.equal(uncertainty.mutual_information(probability[0], uncertainty.entropy(probability[0])), 0 * found)


def test_mutual_information_refuses_shapes_that_differ():
    with pytest.raises(ValueError, match=r"must have the shape of the mean's entropy, \(3,\), got \(2,\)"):
        uncertainty.mutual_information(torch.ones(3), torch.ones(2))
