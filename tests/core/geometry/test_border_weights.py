"""Border weights: zero where a view ends, one inside, smooth in between, in every view's own pixels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import refused, tables
from spuproj import Views, geometry

SIZE, VIEW_SIZE = (24, 33), (28, 20)


@settings(max_examples=20)
@given(table=tables(SIZE, VIEW_SIZE), width=st.floats(0.5, 100) | st.floats(1e18, 1e300))
def test_they_are_positive_exactly_where_the_view_shows_the_pixel(table, width):
    weights = geometry.border_weights(table, SIZE, VIEW_SIZE, width)
    shown = ~torch.isnan(geometry.view_coordinates(table, SIZE, VIEW_SIZE)[0])
    assert weights.dtype == torch.float32
    assert torch.equal(weights > 0, shown)
    # Smaller ones count as zero in ``reduce``.
    assert torch.equal(weights >= torch.finfo(torch.float32).tiny, shown)
    assert weights.max() <= 1


@settings(max_examples=10)
@given(table=tables(SIZE, VIEW_SIZE))
def test_they_fall_as_the_width_grows(table):
    narrow, wide = (geometry.border_weights(table, SIZE, VIEW_SIZE, width) for width in (2.0, 6.0))
    assert (wide <= narrow).all()


def test_of_the_identity_view_they_are_the_smooth_step_of_the_distance_to_the_edge():
    weights = Views.rigid(SIZE).border_weights(4)[0].double()
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in SIZE), indexing="ij")
    distance = torch.stack([y, SIZE[0] - 1 - y, x, SIZE[1] - 1 - x]).amin(0) + 0.5
    t = (distance / 4).clamp(max=1)
    assert_close(weights, 3 * t**2 - 2 * t**3, rtol=0, atol=1e-6)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_quarter_turns_turn_nothing_but_the_view(degrees):
    square = (24, 24)
    turned = Views.rigid(square, degrees=[degrees]).border_weights(5)
    assert_close(turned, Views.rigid(square).border_weights(5))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_distance_counts_view_pixels(factor):
    """A zoom by a factor takes a border as wide as one of width / factor in the slice."""
    size = tuple(round(n * factor) + 8 for n in (20, 30))
    zoomed = Views.zoom((20, 30), centers=[(9.5, 14.5)], factor=factor, view_size=size)
    alone = Views.rigid((20, 30), view_size=(200, 200))
    assert_close(zoomed.border_weights(4 * factor), alone.border_weights(4.0))


def test_the_end_of_the_raster_counts_where_it_comes_first():
    zoomed = Views.zoom((40, 40), centers=[(20, 20)], factor=2.0, view_size=(21, 21))
    v, u = zoomed.view_coordinates()
    t = ((torch.stack([v, 20 - v, u, 20 - u]).amin(0) + 0.5) / 6).clamp(max=1).nan_to_num()
    assert_close(zoomed.border_weights(6).double(), 3 * t**2 - 2 * t**3, rtol=0, atol=1e-6)


def test_pixels_that_are_not_square_have_the_same_border_in_millimetres():
    """A slice of 3 x 1 mm and the same slice of 1 x 1 mm: at the same place, the same distance to its end."""
    thick = Views.rigid((10, 60), spacing=(3, 1), view_size=(100, 100)).border_weights(6)
    thin = Views.rigid((30, 60), view_size=(100, 100)).border_weights(6)
    assert_close(thick, thin[:, 1::3], rtol=0, atol=1e-6)


def test_per_sample_geometry_gives_weights_per_sample():
    views = Views.spherical(SIZE, centers=[[(5, 6), (12, 20)], [(9, 9), (20, 30)]], magnification=1.4)
    weights = views.border_weights(5)
    assert weights.shape == (2, 2, *SIZE)
    assert torch.equal(weights[1], Views.from_table(views.geometry[1], SIZE).border_weights(5))


def test_a_map_of_views_that_end_has_no_step_where_they_end():
    """Two views disagree by a constant: without weights the mean jumps where one ends, with weights by little."""
    views = Views.zoom((32, 64), centers=[(16, 20), (16, 43)], factor=1.0, view_size=(32, 40))
    stack = torch.stack([torch.zeros(1, 32, 40), torch.ones(1, 32, 40)])
    row = [views.reduce(stack, weights=weights)[0][0, 16, 1:62] for weights in (None, views.border_weights(10))]
    jumps = [float(each.diff().abs().max()) for each in row]
    assert jumps[0] == 0.5
    assert jumps[1] < 0.15


@pytest.mark.parametrize("width", [0, -1, math.nan, math.inf])
def test_a_width_that_is_not_positive_and_finite_is_refused(width):
    refused(ValueError, "width must be positive and finite, got", lambda: Views.rigid(SIZE).border_weights(width))
