"""Cases whose answer is known exactly: identity, quarter turns, flips, constants, ramps, pure zooms."""

import math

import pytest
import torch
from torch.testing import assert_close

from helpers import PAIRS
from spuproj import Views

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(8, 8), (7, 12), (1, 5), (1, 1)])
def test_identity_view_returns_the_image_bit_for_bit(backend, dtype, size):
    views = Views.rigid(size)
    image = torch.randn(2, 3, *size).to(dtype)
    projected = backend.project(image, views.geometry, size, "bilinear", "constant")
    assert torch.equal(projected[:, 0], image)
    assert torch.equal(backend.unproject(projected, views.geometry, size, "bilinear")[:, 0], image)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, -1])
def test_quarter_turns_equal_rot90(backend, turns):
    views = Views.rigid((9, 14), angles=[turns * math.pi / 2], view_size=(9, 14) if turns % 2 == 0 else (14, 9))
    image = torch.randn(1, 2, 9, 14)
    projected = backend.project(image, views.geometry, views.view_size, "bilinear", "constant")
    assert torch.equal(projected[:, 0], torch.rot90(image, turns, (-2, -1)))


@pytest.mark.parametrize(("flip", "axes"), [("horizontal", [-1]), ("vertical", [-2]), ("both", [-1, -2])])
def test_flips_equal_torch_flip(backend, flip, axes):
    views = Views.rigid((9, 14), flips=[flip])
    image = torch.randn(1, 2, 9, 14)
    projected = backend.project(image, views.geometry, (9, 14), "bilinear", "constant")
    assert torch.equal(projected[:, 0], image.flip(axes))


@pytest.mark.parametrize(("lift", "chart"), PAIRS)
def test_a_constant_stays_constant_where_a_view_shows_the_slice(backend, lift, chart):
    views = Views.spherical((24, 24), centers=[(8, 15)], radius=30, lift=lift, chart=chart, magnification=1.2)
    image = torch.full((1, 1, 24, 24), 0.1)
    projected = backend.project(image, views.geometry, (24, 24), "bilinear", "constant")
    shown = ~torch.isnan(views.slice_coordinates()[0])
    assert shown.any()
    assert torch.equal(projected[0, :, 0], torch.where(shown, image[0, 0], 0))


def test_a_linear_ramp_is_exact_under_zoom(backend):
    views = Views.zoom((33, 33), centers=[(10, 20), (16, 16)], factor=2.0)
    y, x = torch.meshgrid(*[torch.arange(33, dtype=torch.float64)] * 2, indexing="ij")
    ramp = (2 * y - 3 * x + 1)[None, None]
    projected = backend.project(ramp, views.geometry, (33, 33), "bilinear", "constant")
    at_y, at_x = views.slice_coordinates()
    assert_close(projected[0, :, 0], torch.nan_to_num(2 * at_y - 3 * at_x + 1), rtol=0, atol=1e-12)
