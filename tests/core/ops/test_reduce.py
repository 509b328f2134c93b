"""The fused mean, variance and count over views: its statistics, its limits, its gradient and its memory."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from helpers import noise, random_geometry, ref, tables
from processes.forked import run_forked
from spuproj import Geometry, Views, functional, geometry

SIZE, VIEW_SIZE = (13, 17), (11, 15)


@cache
def nine_views():
    """A table of views that all show the whole slice."""
    return Views.spherical(SIZE, grid=(3, 3), view_size=VIEW_SIZE).geometry


def two_halves():
    """A view of the left part of a slice and one of the right part; both show columns 4 to 7, neither shows row 0."""
    plain = Geometry.from_table(Views.rigid((8, 12), view_size=(7, 8)).geometry)
    tangent, pole = torch.zeros(2, 2, dtype=torch.float64), torch.tensor([[-1.0, 0.0], [-1.0, -4.0]])
    radius, scale, lift, chart = (getattr(plain, name).repeat(2) for name in ("radius", "scale", "lift", "chart"))
    return Geometry(
        tangent, radius, scale, pole, lift, chart, plain.rotation.repeat(2, 1, 1), plain.spacing.repeat(2, 1)
    ).table()


def masked_statistics(slices, valid):
    """Mean, population variance and count over axis 1, from the definition."""
    valid = valid.expand(slices.shape)
    count = valid.sum(1)
    mean = torch.where(valid, slices, 0).sum(1) / count.clamp(min=1)
    squares = torch.where(valid, (slices - mean.unsqueeze(1)).square(), 0)
    return mean, squares.sum(1) / count.clamp(min=1), count.int()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@settings(max_examples=20)
@given(table=tables(SIZE, VIEW_SIZE, max_views=5))
def test_reduce_equals_unproject_then_masked_statistics(backend, interpolation, table):
    stack = noise(2, len(table), 3, *VIEW_SIZE, dtype=torch.float64)
    valid = ~torch.isnan(geometry.view_coordinates(table, SIZE, VIEW_SIZE)[0])[None, :, None]
    expected = masked_statistics(backend.unproject(stack, table, SIZE, interpolation), valid)
    assert_close(backend.unproject_reduce(stack, table, SIZE, interpolation), expected, rtol=0, atol=1e-12)


def test_pixels_that_no_view_or_only_some_views_show(backend):
    left, right = torch.full((1, 1, 1, 7, 8), 1.0), torch.full((1, 1, 1, 7, 8), 3.0)
    mean, variance, count = backend.unproject_reduce(torch.cat([left, right], 1), two_halves(), (8, 12), "bilinear")
    seen = torch.tensor([[1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1]], dtype=torch.int32).repeat(7, 1)
    assert torch.equal(count[0, 0], torch.cat([torch.zeros(1, 12, dtype=torch.int32), seen]))
    assert torch.equal(mean[0, 0, 1:], torch.tensor([[1.0] * 4 + [2.0] * 4 + [3.0] * 4]).repeat(7, 1))
    assert torch.equal(variance[0, 0, 1:], (seen == 2).float())
    assert torch.equal(mean[0, 0, 0], torch.zeros(12))
    assert torch.equal(variance[0, 0, 0], torch.zeros(12))


def test_one_view_has_no_variance(backend):
    table = random_geometry(0, SIZE, VIEW_SIZE, "gnomonic", "equidistant").table()
    stack = noise(2, 1, 3, *VIEW_SIZE)
    mean, variance, count = backend.unproject_reduce(stack, table, SIZE, "bilinear")
    assert torch.equal(mean, backend.unproject(stack, table, SIZE, "bilinear")[:, 0])
    assert torch.equal(variance, torch.zeros_like(mean))
    assert (count <= 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_a_constant_stack_has_exactly_no_variance(backend, dtype):
    stack = torch.full((1, 9, 2, *VIEW_SIZE), 0.1, dtype=dtype)
    mean, variance, count = backend.unproject_reduce(stack, nine_views(), SIZE, "bilinear")
    assert torch.equal(count, torch.full_like(count, 9))
    assert torch.equal(mean, torch.full_like(mean, 0.1))
    assert torch.equal(variance, torch.zeros_like(variance))


@pytest.mark.parametrize("outlier", [None, 0, 8], ids=["none", "first", "last"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_a_large_offset_leaves_the_variance_its_digits(backend, outlier, interpolation):
    stack = 1000 + 0.1 * noise(1, 9, 2, *VIEW_SIZE)
    if outlier is not None:
        stack[:, outlier] -= 1000
    _, variance, _ = backend.unproject_reduce(stack, nine_views(), SIZE, interpolation)
    expected = ref("unproject_reduce", stack, nine_views(), SIZE, interpolation)[1]
    assert_close(variance.double(), expected, rtol=1e-2, atol=0)


def test_the_variance_of_nearly_equal_views_is_never_negative(backend):
    table = Views.rigid((64, 64), angles=[0.0] * 5).geometry
    stack = (0.1 * (1 + 2**-23 * torch.randint(0, 3, (1, 5, 8, 64, 64)))).float()
    assert (backend.unproject_reduce(stack, table, (64, 64), "bilinear")[1] >= 0).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@settings(max_examples=20)
@given(table=tables(SIZE, VIEW_SIZE))
def test_gradient_equals_that_of_unproject_then_masked_statistics(backend, interpolation, table):
    stack = noise(2, len(table), 3, *VIEW_SIZE, dtype=torch.float64).requires_grad_()
    valid = ~torch.isnan(geometry.view_coordinates(table, SIZE, VIEW_SIZE)[0])[None, :, None]
    slices = functional.unproject(stack, table, SIZE, interpolation=interpolation)
    mean, variance, count = masked_statistics(slices, valid)
    grads = [noise(*mean.shape, seed=seed, dtype=torch.float64) for seed in (1, 2)]
    (expected,) = torch.autograd.grad([mean, variance], stack, grads)
    computed = backend.unproject_reduce_backward(*grads, stack.detach(), table, mean.detach(), count, interpolation)
    assert_close(computed, expected, rtol=0, atol=1e-12)


MEMORY = """
import resource
import torch
from spuproj import Views

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

views = Views.spherical((128, 128), grid=(8, 8), magnification=0.7)
stack = torch.empty(2, 64, 16, 128, 128).fill_(1.0)
views[:2].reduce(stack[:, :2])
before = peak()
views.reduce(stack)
print((peak() - before) / stack.nbytes)
"""


def test_reduce_allocates_no_stack_of_slices():
    run = run_forked(MEMORY)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 0.25
