"""NaN and Inf stay local: exactly the pixels that read them become non-finite."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import each_variant, noise, parts, ref, source_shape, tables, target_size
from spuproj import Views, reference

SIZE, VIEW_SIZE = (9, 11), (8, 10)


def reached(op, table, interpolation, padding, touched):
    """Which results read the touched pixels (weight > 0), from the sampling matrices of the reference."""
    if op.startswith("project"):
        matrices = reference.project_matrices(table.numpy(), SIZE, VIEW_SIZE, interpolation, padding)
    else:
        matrices = reference.unproject_matrices(table.numpy(), SIZE, VIEW_SIZE, interpolation)
    if op.endswith("adjoint"):
        matrices = matrices.transpose(0, 2, 1)
    source = touched if touched.dim() == 5 else touched.unsqueeze(1)
    weights = (matrices > 0).astype(np.float64)
    reads = reference.apply(weights, source.double().numpy(), target_size(op, SIZE, VIEW_SIZE)) > 0
    return torch.from_numpy(reads.any(axis=1) if op in ("project_adjoint", "unproject_reduce") else reads)


@each_variant
@settings(max_examples=6)
@given(
    table=tables(SIZE, VIEW_SIZE),
    value=st.sampled_from([math.nan, math.inf, -math.inf]),
    pixels=st.lists(st.integers(0, 10**6), min_size=1, max_size=3),
)
def test_only_the_pixels_that_read_it_become_non_finite(backend, op, options, table, value, pixels):
    clean = noise(*source_shape(op, len(table), SIZE, VIEW_SIZE))
    touched = torch.zeros(clean.shape, dtype=torch.bool)
    touched.view(-1)[np.array(pixels) % clean.numel()] = True
    wanted = target_size(op, SIZE, VIEW_SIZE)
    results = parts(getattr(backend, op)(clean.masked_fill(touched, value), table, wanted, *options))
    expected = parts(ref(op, clean, table, wanted, *options))
    hit = reached(op, table, options[0], options[-1], touched)
    for result, exact in zip(results[:2], expected[:2], strict=True):
        assert torch.equal(~torch.isfinite(result), hit)
        assert_close(result[~hit].double(), exact[~hit], rtol=1e-5, atol=1e-5)
    if op == "unproject_reduce":
        assert torch.equal(results[2].double(), expected[2])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("channels", [1, 4, 16])
def test_an_identity_view_keeps_a_non_finite_number_in_its_pixel(backend, value, channels):
    image = noise(1, channels, 6, 7)
    image[0, 0, 2, 3] = image[0, 0, 0, 6] = image[0, 0, 5, 0] = value
    seen = backend.project(image, Views.rigid((6, 7)).geometry, (6, 7), "bilinear", "constant")[:, 0]
    assert_close(seen, image, rtol=0, atol=0, equal_nan=True)


def test_a_view_that_does_not_show_a_pixel_cannot_spoil_its_mean(backend):
    views = Views.zoom((8, 8), centers=[(2, 2), (5, 5)], factor=2.0)
    stack = torch.ones(1, 2, 1, 8, 8)
    stack[:, 1] = math.nan
    mean, variance, count = backend.unproject_reduce(stack, views.geometry, (8, 8), "bilinear")
    only_first = ~torch.isnan(views.view_coordinates()[0][0]) & torch.isnan(views.view_coordinates()[0][1])
    assert only_first.any()
    assert (mean[0, 0][only_first] == 1).all()
    assert (variance[0, 0][only_first] == 0).all()
    assert (count[0, 0][only_first] == 1).all()
