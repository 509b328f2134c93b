"""``blending_weights``: border weights divided by the largest of each pixel, so that their sum counts views."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import noise
from spuproj import Views, wrap
from spuproj.wrapping import blending_weights

SIZE = (64, 64)
VIEWS = {
    "turned": Views.rigid(SIZE, degrees=[0, 90, 180, 270]),
    "spherical": Views.spherical(SIZE, grid=(3, 3), radius=45, centered=False),
    "zoomed": Views.zoom(SIZE, grid=(2, 2), factor=1.6),
    "wide": Views.zoom(SIZE, grid=(2, 2), factor=1.6, view_size=(64, 96)),
    "of samples": Views.zoom(SIZE, centers=[[(16, 16), (40, 40)], [(16, 40), (40, 16)]], factor=1.3),
}


@pytest.mark.parametrize("name", VIEWS)
def test_moments_are_those_of_border_weights_and_the_count_is_of_views(name):
    views = VIEWS[name]
    stack, weights = noise(2, len(views), 1, *views.view_size), blending_weights(views)
    found, wanted = (views.reduce(stack, weights=each)[:2] for each in (weights, views.border_weights(3.2)))
    assert_close(found, wanted, rtol=0, atol=1e-5)
    shown = (~views.view_coordinates()[0].isnan()).sum(dim=-3)
    assert torch.equal(weights.amax(dim=-3), (shown > 0).float())
    assert (weights.sum(dim=-3) <= shown + 1e-5).all()


@pytest.mark.parametrize("name", ["turned", "spherical"])
def test_pixels_that_all_views_show_have_a_variance_up_to_the_edge_of_the_slice(name):
    found = wrap(nn.Conv2d(1, 1, 1), VIEWS[name])(noise(1, 1, *SIZE))
    assert (found.count >= 2).all()
    assert found.variance.isfinite().all()


def test_a_view_beside_one_that_has_all_but_faded_has_no_variance():
    found = wrap(nn.Conv2d(1, 1, 1), VIEWS["zoomed"])(noise(1, 1, *SIZE))
    weights = VIEWS["zoomed"].border_weights(3.2)
    two = (weights > 0).sum(dim=0) == 2
    fading = two & (weights.topk(2, dim=0).values.prod(dim=0) < 0.9 * weights.amax(dim=0) ** 2)
    assert fading.any()
    assert found.variance[0, 0][fading].isnan().all()
