"""The local area factor of slice to view, against finite differences and the area of the view."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from helpers import PAIRS, random_geometry
from spuproj import Views, geometry
from spuproj.geometry.coordinates import pixel_grid

SIZE, VIEW_SIZE = (40, 52), (44, 36)
TALL, SPACING = (33, 99), (3.0, 1.0)


@pytest.mark.parametrize(("lift", "chart"), PAIRS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.7)], ids=str)
def test_magnification_is_the_jacobian_of_slice_to_view(lift, chart, spacing):
    g = random_geometry(5, SIZE, VIEW_SIZE, lift, chart, views=2, tilt=0.2)
    g = replace(g, radius=g.radius * max(spacing), spacing=torch.tensor([spacing] * 2, dtype=torch.float64))
    computed = geometry.magnification(g.table(), SIZE, VIEW_SIZE)
    y, x = pixel_grid(SIZE, torch.device("cpu"))
    d = 1e-4
    v_y, u_y = ((a - b) / (2 * d) for a, b in zip(geometry.to_view(g, y + d, x), geometry.to_view(g, y - d, x),
                                                 strict=True))  # fmt: skip
    v_x, u_x = ((a - b) / (2 * d) for a, b in zip(geometry.to_view(g, y, x + d), geometry.to_view(g, y, x - d),
                                                 strict=True))  # fmt: skip
    jacobian = (v_y * u_x - v_x * u_y).abs()
    both = ~torch.isnan(computed) & ~torch.isnan(jacobian) & (computed > 1e-2) & (computed < 1e2)
    assert both.any()
    assert_close(computed[both], jacobian[both], rtol=1e-4, atol=1e-6)


def test_magnification_at_the_tangent_point_is_scale_over_radius_squared():
    views = Views.spherical((41, 41), centers=[(20, 20), (10, 30)], radius=25, magnification=1.5)
    magnification = views.magnification()
    assert magnification[0, 20, 20].item() == pytest.approx(2.25)
    assert magnification[1, 10, 30].item() == pytest.approx(2.25)


def test_magnification_integrates_to_the_area_of_the_view_of_the_slice():
    """Over the slice it adds up to the area that the slice takes in the view, counted in view pixels."""
    views = Views.spherical(TALL, [(16, 49), (10, 30)], spacing=SPACING)
    # Trapezoidal rule over the pixel centres: those on the border count half.
    inside = (~torch.isnan(views.slice_coordinates()[0])).sum((1, 2)).double()
    weight = torch.ones(TALL, dtype=torch.float64)
    weight[[0, -1]] /= 2
    weight[:, [0, -1]] /= 2
    assert_close((views.magnification() * weight).sum((1, 2)), inside, rtol=0.02, atol=0)
    flat = Views.zoom(TALL, [(16, 49)], factor=1.0, spacing=SPACING)
    assert_close(flat.magnification(), torch.full((1, *TALL), 3.0, dtype=torch.float64))
