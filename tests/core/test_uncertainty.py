"""Predictive entropy."""

import math

import pytest
import torch
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
    with pytest.raises(TypeError, match=f"probability must be of a floating-point dtype, got {dtype}"):
        uncertainty.entropy(torch.ones(2, dtype=dtype))
