"""Up to 1e8 pixels the coordinates of kernels are right within the tolerance of a border; beyond, views are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import BACKENDS, PAIRS, random_geometry
from numerics.exact import extended, needs_extended
from spuproj import Geometry, LearnableViews, Views, reference
from spuproj.geometry.table import LARGEST

SIZE, VIEW_SIZE = (23, 29), (27, 25)


def far(length, seed, lift, chart):
    """A view of lengths of about ``length`` pixels, moved so that the slice's middle lands in the view's middle."""
    near = random_geometry(seed, SIZE, VIEW_SIZE, lift, chart, tilt=0.2)
    away = length * torch.tensor([[0.19, -0.23]], dtype=torch.float64)
    radius = torch.tensor([length], dtype=torch.float64)
    placed = replace(near, tangent=away, radius=radius, scale=0.9 * radius, pole=torch.zeros(1, 2, dtype=torch.float64))
    middle = [np.full((1, 1), (n - 1) / 2) for n in SIZE]
    lands = np.stack(reference.to_view(extended(placed.table())[0], *middle)).reshape(2).astype(np.float64)
    return replace(placed, pole=torch.tensor([[(n - 1) / 2 for n in VIEW_SIZE]]) - torch.tensor(lands))


@needs_extended
@pytest.mark.parametrize(("lift", "chart"), PAIRS, ids=map("-".join, PAIRS))
@pytest.mark.parametrize("length", [1e4, LARGEST])
def test_coordinates_are_within_the_tolerance_of_a_border(length, lift, chart):
    """Ten roundings on the way to a coordinate are of lengths as large as these, each by at most 2^-53 of it."""
    table = Views(far(length, 1, lift, chart), SIZE, VIEW_SIZE).geometry
    ramps = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in SIZE), indexing="ij"))[None]
    found = BACKENDS["cpu"].project(ramps, table, VIEW_SIZE, "bilinear", "constant", -1)[0, 0].numpy()
    exact = np.stack(reference.slice_coordinates(extended(table), SIZE, VIEW_SIZE))[:, 0]
    both = (found[0] >= 0) & ~np.isnan(exact[0])
    assert both.mean() > 0.3
    error = np.abs(found - exact)[:, both].max()
    assert error <= 10 * 2.0**-53 * length
    assert error <= reference.TOLERANCE


def near():
    return vars(random_geometry(0, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=2))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("radius", 1.1e8), ("radius", 1e11), ("radius", 1e-9), ("scale", 1e11), ("scale", 1e-9), ("tangent", -1.1e8),
        ("tangent", 1e11), ("pole", 1.1e8), ("pole", -1e300), ("spacing", 1e10), ("spacing", 1e-9),
    ],
)  # fmt: skip
def test_a_length_beyond_is_refused_by_name(name, value):
    geometry = near()
    geometry[name][1:] = value
    named = "radius" if name == "spacing" else name  # in slice pixels, it is the radius that is out of range
    with pytest.raises(
        ValueError, match=rf"{named} must be from .* pixels.*, since coordinates lose their digits beyond"
    ):
        Views(Geometry(**geometry), SIZE, VIEW_SIZE)


@pytest.mark.parametrize("spacing", [(1e200, 1e200), (1e-200, 1e-200)], ids=str)
def test_a_spacing_whose_square_is_no_number_is_refused(spacing):
    """The identity view of such pixels showed nothing."""
    with pytest.raises(ValueError, match=r"spacing must be from 1e-100 to 1e\+100"):
        Views.rigid(SIZE, spacing=spacing)


@pytest.mark.parametrize("spacing", [1e-99, 1e-6, 1e6, 1e99])
def test_the_unit_of_the_spacing_makes_no_difference_to_what_is_shown(spacing):
    image = torch.rand(1, 1, *SIZE, dtype=torch.float64)
    expected = Views.spherical(SIZE, grid=(1, 2)).project(image)
    found = Views.spherical(SIZE, grid=(1, 2), spacing=(spacing, spacing)).project(image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "options", [{"radius": 1e9}, {"radius": 1e3, "magnification": 1e6}, {"radius": 1e-9, "magnification": 1.0}], ids=str
)
def test_constructors_refuse_a_sphere_beyond(options):
    with pytest.raises(ValueError, match="since coordinates lose their digits beyond"):
        Views.spherical(SIZE, grid=(1, 2), **options)


def test_a_learned_radius_that_leaves_the_range_is_refused():
    views = LearnableViews(SIZE, grid=(1, 2), learn=("radius",))
    with torch.no_grad():
        views.log_radius.add_(30)
    with pytest.raises(ValueError, match="radius must be from"):
        views.with_gradient()
