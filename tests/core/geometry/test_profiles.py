"""Profiles: the same codes everywhere, and what equal lift and chart make of a view."""

import pytest
import torch
from torch.testing import assert_close

from spuproj import PROFILES, Views, reference


def test_profiles_have_the_same_codes_in_the_package_and_in_the_reference():
    """Kernels are compared with the reference for every pair of codes, in test_coordinates.py."""
    assert tuple(PROFILES) == tuple(reference.PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_equal_lift_and_chart_at_magnification_one_is_the_identity(profile):
    size = (20, 20)
    views = Views.spherical(size, centers=[(9.5, 9.5)], radius=40.0, lift=profile, chart=profile, magnification=1.0)
    image = torch.randn(1, 1, *size)
    assert torch.equal(views.project(image)[:, 0], image)


@pytest.mark.parametrize("profile", PROFILES)
def test_equal_lift_and_chart_is_a_pure_zoom(profile):
    size, center, factor = (31, 41), (12.0, 21.0), 1.75
    sphere = Views.spherical(size, centers=[center], radius=60.0, lift=profile, chart=profile, magnification=factor)
    zoom = Views.zoom(size, centers=[center], factor=factor)
    for first, second in zip(sphere.slice_coordinates(), zoom.slice_coordinates(), strict=True):
        assert_close(first, second, rtol=0, atol=1e-12, equal_nan=True)
    y, x = zoom.slice_coordinates()
    assert_close(y[0, :, 20], 12 + (torch.arange(31, dtype=torch.float64) - 15) / factor, rtol=0, atol=1e-12)
    assert_close(x[0, 15], 21 + (torch.arange(41, dtype=torch.float64) - 20) / factor, rtol=0, atol=1e-12)
