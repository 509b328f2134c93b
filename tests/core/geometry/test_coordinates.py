"""Slice and view coordinates: closed forms and their inverses, for every pair of profiles and in every backend."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.testing import assert_close

from helpers import PAIRS, random_geometry, tables
from spuproj import PROFILES, Geometry, Views, functional, geometry, reference
from spuproj.geometry.coordinates import pixel_grid

SIZE, VIEW_SIZE = (40, 52), (44, 36)


@pytest.mark.parametrize(("lift", "chart"), PAIRS)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), spacing=st.sampled_from([(1.0, 1.0), (3.0, 1.0), (0.8, 1.25)]))
def test_slice_to_view_to_slice_returns_within_1e_9_pixels(lift, chart, seed, spacing):
    g = random_geometry(seed, SIZE, VIEW_SIZE, lift, chart)
    g = replace(g, radius=g.radius * max(spacing), spacing=torch.tensor([spacing], dtype=torch.float64))
    y, x = pixel_grid(SIZE, torch.device("cpu"))
    v, u = geometry.to_view(g, y, x)
    back_y, back_x = geometry.to_slice(g, v, u)
    # Near a singularity (the horizon of a gnomonic or orthographic profile) the round trip loses precision.
    step = 1e-3
    stretch = (geometry.to_view(g, y + step, x)[0] - v).abs() + (geometry.to_view(g, y, x + step)[1] - u).abs()
    regular = (v.abs() < 1e3) & (u.abs() < 1e3) & (stretch > 1e-2 * step) & ~torch.isnan(back_y)
    off = torch.hypot(back_y - y, back_x - x)[regular]
    assert off.numel() == 0 or off.max() < 1e-9


@pytest.mark.parametrize(("lift", "chart"), PAIRS)
def test_every_pair_shows_some_of_the_slice(lift, chart):
    table = random_geometry(3, SIZE, VIEW_SIZE, lift, chart, views=4).table()
    v, _ = geometry.view_coordinates(table, SIZE, VIEW_SIZE)
    assert (~torch.isnan(v)).float().mean() > 0.1


def coordinates_read_by(backend, table, *, inverse):
    """Coordinates that a backend reads, from its results for the ramps y and x; NaN where it reads nothing."""
    source, wanted = (VIEW_SIZE, SIZE) if inverse else (SIZE, VIEW_SIZE)
    y, x = pixel_grid(source, torch.device("cpu"))
    ramps = torch.stack(torch.broadcast_tensors(y, x, torch.ones(source, dtype=torch.float64)))
    if inverse:
        seen = backend.unproject(ramps.expand(1, len(table), *ramps.shape), table, wanted, "bilinear")
    else:
        seen = backend.project(ramps[None], table, wanted, "bilinear", "constant")
    at_y, at_x, shown = seen[0].unbind(1)
    return [torch.where(shown > 0.5, at, torch.nan) for at in (at_y, at_x)]


@settings(max_examples=20)
@given(table=tables(SIZE, VIEW_SIZE))
def test_coordinates_of_every_backend_equal_the_reference(backend, table):
    for inverse, name in ((False, "slice_coordinates"), (True, "view_coordinates")):
        expected = getattr(reference, name)(table.numpy(), SIZE, VIEW_SIZE)
        for computed in (
            getattr(geometry, name)(table, SIZE, VIEW_SIZE),
            coordinates_read_by(backend, table, inverse=inverse),
        ):
            for ours, theirs in zip(computed, expected, strict=True):
                both = ~torch.isnan(ours) & ~torch.from_numpy(np.isnan(theirs))
                # A point within rounding of a border may be judged either way; there are few.
                assert (torch.isnan(ours) ^ torch.from_numpy(np.isnan(theirs))).sum() <= 2
                assert_close(ours[both], torch.from_numpy(theirs)[both], rtol=0, atol=1e-8)


@pytest.mark.parametrize("spacing", [None, (3.0, 1.0)])
def test_projection_equals_scipy_on_the_same_coordinates(backend, spacing):
    views = Views.spherical(SIZE, grid=(2, 2), radius=30, view_size=VIEW_SIZE, spacing=spacing)
    image = torch.randn(1, 1, *SIZE, dtype=torch.float64)
    y, x = views.slice_coordinates()
    for projected, at_y, at_x in zip(
        backend.project(image, views.geometry, VIEW_SIZE, "bilinear", "constant")[0, :, 0], y, x, strict=True
    ):
        inside = ~torch.isnan(at_y)
        expected = ndimage.map_coordinates(image[0, 0].numpy(), np.stack([at_y[inside], at_x[inside]]), order=1)
        assert_close(projected[inside], torch.from_numpy(expected), rtol=0, atol=1e-12)
        assert (projected[~inside] == 0).all()


def test_coordinates_are_nan_outside_the_domains_and_nothing_crashes_there():
    views = Views.spherical((32, 32), [(16, 16)], radius=4, lift="orthographic", chart="gnomonic", magnification=8.0)
    v, u = views.view_coordinates()
    y, x = torch.meshgrid(*[torch.arange(32.0)] * 2, indexing="ij")
    beyond = torch.hypot(y - 16, x - 16) > 4
    assert torch.isnan(v[0][beyond]).all()
    assert torch.isnan(u[0][beyond]).all()
    stack = views.project(torch.rand(1, 1, 32, 32))
    assert torch.isfinite(views.unproject(stack)).all()


@pytest.mark.parametrize("profile", PROFILES)
def test_huge_and_tiny_parameters_give_finite_results_or_nothing(backend, profile):
    for radius, scale in ((1e-150, 1e150), (1e150, 1e-150), (1e-300, 1.0), (1.0, 1e300)):
        g = random_geometry(0, (8, 8), (8, 8), profile, "equidistant")
        table = g.table()
        table[:, 2], table[:, 3] = radius, scale
        for padding in ("constant", "border"):
            assert torch.isfinite(backend.project(torch.rand(1, 1, 8, 8), table, (8, 8), "bilinear", padding)).all()
        assert torch.isfinite(backend.unproject(torch.rand(1, 1, 1, 8, 8), table, (8, 8), "bilinear")).all()


@given(table=tables((9, 9), (9, 9), max_views=1))
def test_border_padding_reads_the_nearest_slice_pixel(table):
    image = torch.rand(1, 1, 9, 9, dtype=torch.float64)
    zeros = functional.project(image, table, (9, 9))
    border = functional.project(image, table, (9, 9), padding="border")
    inside = ~torch.isnan(geometry.slice_coordinates(table, (9, 9), (9, 9))[0])
    assert_close(border[0, :, 0][inside], zeros[0, :, 0][inside])
    y, x = geometry.to_slice(Geometry.from_table(table), *pixel_grid((9, 9), table.device))
    beyond = ~inside & ~torch.isnan(y)
    at = np.stack([y[beyond].clamp(0, 8), x[beyond].clamp(0, 8)])
    assert_close(border[0, :, 0][beyond], torch.from_numpy(ndimage.map_coordinates(image[0, 0].numpy(), at, order=1)))
