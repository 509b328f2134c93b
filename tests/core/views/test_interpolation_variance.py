"""The variance that views of a mask have without a network: at edges alone, at most 0.25, lower on finer rasters."""

import math

import pytest
import torch
from torch.testing import assert_close

from helpers import noise, refused
from spuproj import Views

SIZE = (32, 40)


def edge():
    mask = torch.zeros(SIZE)
    mask[10:22, 14:27] = 1
    return mask


def spherical(view_size=SIZE):
    return Views.spherical(SIZE, grid=(3, 3), view_size=view_size)


def test_an_edge_has_a_floor_and_the_inside_none():
    floor = spherical().interpolation_variance(edge())
    assert floor.shape == SIZE
    assert 0.01 < floor.max() <= 0.25
    assert floor[14:18, 18:23].max() < 1e-6
    assert floor[:5].max() == 0


def test_finer_rasters_lower_it():
    floors = [spherical((n * SIZE[0], n * SIZE[1])).interpolation_variance(edge()).sum() for n in (1, 2, 4)]
    assert floors[1] < 0.6 * floors[0]
    assert floors[2] < 0.6 * floors[1]


def test_views_that_do_not_interpolate_have_none():
    views = Views.rigid((32, 32), degrees=[0, 90, 180, 270], flips=["none", "horizontal"])
    assert views.interpolation_variance(noise(2, 3, 32, 32).sigmoid()).count_nonzero() == 0


def test_it_is_the_variance_of_a_network_that_returns_its_input():
    views, image = spherical(), noise(2, 3, *SIZE).sigmoid()
    options = {"weights": views.border_weights(5), "min_count": 2, "fill": math.nan}
    wanted = views.reduce(views.project(image), **options)[1]
    assert_close(views.interpolation_variance(image, **options), wanted, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("kind", [torch.as_tensor, lambda mask: mask.numpy()], ids=["tensor", "array"])
@pytest.mark.parametrize("axes", [2, 3, 4])
def test_masks_of_any_dtype_kind_and_rank(dtype, kind, axes):
    mask = edge().to(dtype)[(None,) * (axes - 2)]
    result = spherical().interpolation_variance(kind(mask))
    assert type(result) is type(kind(mask))
    assert torch.as_tensor(result).dtype == (dtype if dtype.is_floating_point else torch.float32)
    assert result.shape == mask.shape
    wanted = spherical().interpolation_variance(edge())
    assert_close(torch.as_tensor(result).float().view(SIZE), wanted, rtol=0, atol=1e-3)


def test_a_mask_of_another_size_is_refused():
    message = "mask must end in the pixel size of these views, (32, 40), got (40, 32)"
    refused(ValueError, message, lambda: spherical().interpolation_variance(edge().mT))
