"""``min_count`` and ``fill`` of reduce: where there is no variance, and no mean, and no gradient comes from there."""

import math

import pytest
import torch
from torch.testing import assert_close

from helpers import noise, same_bits
from spuproj import Views

SIZE = (12, 16)
# Each view shows a part of the slice: of its pixels, some are seen by no view, by one and by several.
VIEWS = Views.zoom(SIZE, centers=[(4, 4), (4, 8), (7, 9)], factor=1.6)
STACK = noise(2, 3, 2, *SIZE)


def test_the_default_marks_nothing():
    assert same_bits(VIEWS.reduce(STACK), torch.ops.spuproj.unproject_reduce(STACK, VIEWS.geometry, SIZE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("fill", [math.nan, -1.0, 0.25, torch.tensor(2.0)], ids=str)
@pytest.mark.parametrize("min_count", [1, 2, 2.5, 3, 100])
def test_variance_below_min_count_and_mean_of_no_view_are_filled(dtype, fill, min_count):
    stack = STACK.to(dtype)
    plain_mean, plain_variance, plain_count = VIEWS.reduce(stack)
    assert set(plain_count.unique().tolist()) == {0, 1, 2, 3}
    mean, variance, count = VIEWS.reduce(stack, min_count=min_count, fill=fill)
    few, none = plain_count < min_count, plain_count == 0
    assert_close(mean, torch.where(none, float(fill), plain_mean).to(dtype), rtol=0, atol=0, equal_nan=True)
    assert_close(variance, torch.where(few, float(fill), plain_variance).to(dtype), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(count, plain_count)
    assert count.dtype == torch.int32


@pytest.mark.parametrize(("dtype", "fill"), [(torch.float16, 1e5), (torch.float32, -1e300), (torch.bfloat16, 1e300)])
def test_a_fill_beyond_the_dtype_is_infinite(dtype, fill):
    mean, variance, count = VIEWS.reduce(STACK.to(dtype), min_count=2, fill=fill)
    infinite = torch.tensor(math.copysign(math.inf, fill), dtype=dtype)
    assert (mean[count == 0] == infinite).all()
    assert (variance[count < 2] == infinite).all()


@pytest.mark.parametrize("per_sample", [False, True])
def test_weights_that_sum_to_less_than_min_count_give_no_variance(per_sample):
    weights = VIEWS.border_weights(3)
    weights = torch.stack([weights, 0.5 * weights]) if per_sample else weights
    mean, variance, count = VIEWS.reduce(STACK, weights=weights, min_count=1.5, fill=math.nan)
    assert torch.equal(torch.isnan(variance), count < 1.5)
    assert torch.equal(torch.isnan(mean), count == 0)
    assert 0 < (count < 1.5).float().mean() < 1


@pytest.mark.parametrize("fill", [0.0, math.nan])
def test_views_of_small_weights_are_views(fill):
    weights = 0.01 * VIEWS.border_weights(3)
    mean, variance, count = VIEWS.reduce(STACK, weights=weights, fill=fill)
    assert 0 < count.max() < 1
    other_mean, other_variance, other_count = VIEWS.reduce(STACK, weights=100 * weights, fill=fill)
    assert_close(mean, other_mean, equal_nan=True)
    assert_close(variance, other_variance, equal_nan=True)
    assert (variance[count > 0] > 0).any()
    assert torch.equal(count > 0, other_count > 0)


def test_geometry_per_sample_is_filled_sample_by_sample():
    views = Views.zoom(SIZE, centers=[[(4, 4), (4, 8), (7, 9)], [(8, 2), (8, 12), (2, 9)]], factor=1.6)
    _, variance, count = views.reduce(STACK, min_count=2, fill=math.nan)
    assert not torch.equal(count[0], count[1])
    assert torch.equal(torch.isnan(variance), count < 2)


@pytest.mark.parametrize("weighted", [False, True])
def test_no_gradient_comes_from_filled_pixels(weighted):
    weights = VIEWS.border_weights(3) if weighted else None
    leaf = STACK.clone().requires_grad_()
    mean, variance, count = VIEWS.reduce(leaf, weights=weights, min_count=2, fill=math.nan)
    # Not a number, and with such a gradient, at every filled pixel.
    (mean * mean + variance * variance).sum().backward()
    assert torch.isfinite(leaf.grad).all()
    other = STACK.clone().requires_grad_()
    mean, variance, count = VIEWS.reduce(other, weights=weights)
    ((mean * mean)[count > 0].sum() + (variance * variance)[count >= 2].sum()).backward()
    assert_close(leaf.grad, other.grad)


def test_vmap_equals_the_batch():
    mapped = torch.vmap(lambda stack: VIEWS.reduce(stack, min_count=2, fill=-1.0))(STACK)
    assert_close(mapped, VIEWS.reduce(STACK, min_count=2, fill=-1.0))


def test_empty_batches_stay_empty():
    assert [part.shape for part in VIEWS.reduce(STACK[:0], min_count=2, fill=1.0)] == [(0, 2, *SIZE)] * 3
