"""Slices with non-square pixels: views show true proportions, and lengths are in the unit of the spacing."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from helpers import noise, ref
from spuproj import Geometry, Views
from spuproj import geometry as geo

TALL, ROUND = (33, 99), (99, 99)
SPACING = (3.0, 1.0)


def in_millimetres(size, spacing):
    """Coordinates (y, x) in mm from the slice's middle."""
    return tuple(
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * unit for n, unit in zip(size, spacing, strict=True)
    )


def disc(size, spacing, centre=(0.0, 0.0), radius=20.0, softness=3.0):
    """An image of a disc, in mm, smooth enough for a grid of 3 mm."""
    y, x = in_millimetres(size, spacing)
    return torch.sigmoid((radius - torch.hypot(y[:, None] - centre[0], x - centre[1])) / softness)


def same_point(point):
    """A pixel of the tall slice in the square one: the middle of three rows."""
    return [3 * point[0] + 1, point[1]]


def points_of(size):
    return [(size[0] * 0.3, size[1] * 0.4), (size[0] * 0.5, size[1] * 0.7)]


KINDS = {
    "tangent": lambda size, **options: Views.spherical(size, points_of(size), **options),
    "turned": lambda size, **options: Views.spherical(size, points_of(size), pose="turned", radius=80.0, **options),
    "box": lambda size, **options: Views.spherical(
        size, grid=(2, 2), box=(2, 3, size[0] - 4, size[1] - 5), fit="box", **options
    ),
    "magnified": lambda size, **options: Views.spherical(
        size, points_of(size), lift="stereographic", chart="equal_area", magnification=1.3, **options
    ),
    "zoom": lambda size, **options: Views.zoom(size, points_of(size), factor=1.5, **options),
    "rigid": lambda size, **options: Views.rigid(size, degrees=[0, 20, 90], flips=("none", "horizontal"), **options),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def views_of(kind, size, spacing, **options):
    return KINDS[kind](size, spacing=spacing, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"magnification": 1.5},
        {"radius": 40.0},
        {"pose": "turned", "radius": 100.0},
        {"lift": "stereographic", "chart": "equal_area"},
        {"lift": "orthographic", "chart": "equidistant", "radius": 120.0},
    ],
    ids=["default", "magnification", "radius", "turned", "other_profiles", "orthographic"],
)
@pytest.mark.parametrize("point", [(16, 49), (30.5, 80.25)])
def test_a_disc_on_tall_pixels_is_seen_as_on_square_ones(options, point):
    tall = Views.spherical(TALL, [point], spacing=SPACING, **options)
    square = Views.spherical(ROUND, [same_point(point)], **options)
    assert tall.view_size == square.view_size == ROUND
    # The outermost pixel centres are 96 mm apart on tall pixels and 98 mm on square ones: the fits differ by that.
    assert_close(tall.geometry[:, 3], square.geometry[:, 3], rtol=0.025, atol=0)
    table = square.geometry.clone()
    table[:, 3] = tall.geometry[:, 3]
    square = Views.from_table(table, ROUND)
    assert_close(tall.geometry[:, 2:17], square.geometry[:, 2:17], rtol=1e-9, atol=1e-9)
    for centre in ((0.0, 0.0), (12.0, -7.0)):
        seen, wanted = tall.project(disc(TALL, SPACING, centre)), square.project(disc(ROUND, (1, 1), centre))
        known = ~torch.isnan(tall.slice_coordinates()[0]) & ~torch.isnan(square.slice_coordinates()[0])
        seen, wanted = seen[known], wanted[known]
        # Linear interpolation over h = 3 mm errs by at most h^2 / 8 of the second derivative, 0.0962 / 3^2 each way.
        assert (seen - wanted).abs().max() < 0.02
        assert seen.max() > 0.9


def test_without_spacing_the_disc_would_be_squashed():
    """Checks that the tests above can fail: without spacing the views differ."""
    tall = Views.spherical(TALL, [(16, 49)], view_size=ROUND)
    square = Views.spherical(ROUND, [(49, 49)])
    assert (tall.project(disc(TALL, SPACING)) - square.project(disc(ROUND, (1, 1)))).abs().max() > 0.5


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.6])
def test_a_zoomed_disc_on_tall_pixels_is_round(factor):
    tall = Views.zoom(TALL, [(16, 49)], factor=factor, spacing=SPACING)
    square = Views.zoom(ROUND, [(49, 49)], factor=factor)
    seen, wanted = tall.project(disc(TALL, SPACING)), square.project(disc(ROUND, (1, 1)))
    assert (seen - wanted).abs().max() < 0.02
    assert wanted.max() > 0.9


@pytest.mark.parametrize("degrees", [0, 30, 90, -135, 200])
@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical", "both"])
def test_anatomy_turns_rigidly_in_millimetres(degrees, flip):
    """A disc off the middle lands where a rotation of the plane in mm takes it, and stays round."""
    centre = np.array([12.0, -20.0])
    views = Views.rigid(TALL, degrees=[degrees], flips=[flip], spacing=SPACING)
    seen = views.project(disc(TALL, SPACING, centre, radius=12.0))[0]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # torch.rot90(image, 1, (-2, -1)) takes (y, x) to (-x, y).
    moved = np.array([[cosine, -sine], [sine, cosine]]) @ centre
    moved *= [-1.0 if flip in ("vertical", "both") else 1.0, -1.0 if flip in ("horizontal", "both") else 1.0]
    wanted = disc(ROUND, (1, 1), moved, radius=12.0)
    inside = ~torch.isnan(views.slice_coordinates()[0][0])
    assert seen.shape == wanted.shape
    assert (seen - wanted)[inside].abs().max() < 0.02


@each_kind
def test_square_pixels_of_any_unit_are_as_pixels(kind):
    """The radius of the turned views is a length: it scales with the unit."""
    if kind == "turned":
        small, large = (
            Views.spherical(TALL, [(9, 40)], pose="turned", radius=80 * unit, spacing=(unit, unit))
            for unit in (1, 0.25)
        )
    else:
        small, large = views_of(kind, TALL, None), views_of(kind, TALL, (0.25, 0.25))
    assert small.view_size == large.view_size == TALL
    for first, second in zip(small.slice_coordinates(), large.slice_coordinates(), strict=True):
        assert_close(first, second, rtol=0, atol=1e-9, equal_nan=True)


@each_kind
@pytest.mark.parametrize("unit", [1e-6, 25.4])
def test_the_unit_of_length_does_not_matter(kind, unit):
    if kind == "turned":
        first, second = (
            Views.spherical(TALL, [(9, 40)], pose="turned", radius=80 * u, spacing=(3 * u, u)) for u in (1, unit)
        )
    else:
        first, second = views_of(kind, TALL, SPACING), views_of(kind, TALL, (3 * unit, unit))
    assert first.view_size == second.view_size
    for a, b in zip(first.view_coordinates(), second.view_coordinates(), strict=True):
        assert_close(a, b, rtol=0, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize(
    ("size", "spacing", "wanted"),
    [
        ((10, 30), (3, 1), (30, 30)),
        ((10, 30), (1, 3), (10, 90)),
        ((10, 10), (0.3, 0.1), (30, 10)),
        ((100, 100), (3, 0.3), (1000, 100)),
        ((7, 9), (1.5, 1), (11, 9)),
        ((7, 9), (2, 2), (7, 9)),
        ((240, 240), (0.9375, 0.9375), (240, 240)),
        ((1, 5), (1, 2), (1, 10)),
    ],
    ids=str,
)
def test_the_view_has_square_pixels_as_large_as_the_smaller_side(size, spacing, wanted):
    for given_spacing in (spacing, list(spacing), np.array(spacing), torch.tensor(spacing, dtype=torch.float64)):
        assert Views.rigid(size, spacing=given_spacing).view_size == wanted  # type: ignore[arg-type]
    middle = [((size[0] - 1) / 2, (size[1] - 1) / 2)]
    assert Views.zoom(size, middle, spacing=spacing).view_size == wanted
    assert Views.spherical(size, middle, magnification=1.0, spacing=spacing).view_size == wanted
    assert Views.rigid(size, spacing=spacing, view_size=(8, 9)).view_size == (8, 9)


@pytest.mark.parametrize("size", [(240, 240), (512, 400)])
@pytest.mark.parametrize("spacing", [(0.9375, 0.93750006), (0.4882810116, 0.48828125), (1.0, 0.9999999)])
def test_rounding_in_a_header_adds_no_pixel(size, spacing):
    """Sides taken from float32 headers, or from columns of an affine, differ in their last digits."""
    assert Views.rigid(size, spacing=spacing).view_size == size


def test_what_is_more_than_rounding_adds_a_pixel():
    assert Views.rigid((100, 100), spacing=(1.00005, 1.0)).view_size == (101, 100)


@each_kind
def test_the_default_view_is_large_enough_for_the_slice(kind):
    views = views_of(kind, TALL, SPACING)
    assert views.view_size == ROUND
    assert torch.equal(views.geometry[:, 4:6], torch.tensor([[49.0, 49.0]], dtype=torch.float64).expand(len(views), 2))
    assert (views.geometry[:, 17:] == torch.tensor(SPACING, dtype=torch.float64)).all()


def test_boxes_and_centres_stay_in_pixels():
    box = (8, 20, 25, 70)
    views = Views.spherical(TALL, grid=(2, 2), box=box, fit="box", spacing=SPACING)
    assert_close(views.geometry[:, :2], Views.spherical(TALL, grid=(2, 2), box=box).geometry[:, :2])
    shown = ~torch.isnan(views.view_coordinates()[0])
    assert shown[:, 8:26, 20:71].all()
    assert not shown.all()
    point = torch.tensor([[10.0, 30.0]])
    for views in (
        Views.spherical(TALL, point, spacing=SPACING),
        Views.zoom(TALL, point, spacing=SPACING),
        Views.spherical(TALL, point, pose="turned", radius=90.0, spacing=SPACING),
    ):
        v, u = geo.to_view(
            Geometry.from_table(views.geometry), point[:, :1, None].double(), point[:, 1:, None].double()
        )
        assert_close(torch.stack([v, u]).flatten(), torch.tensor([49.0, 49.0], dtype=torch.float64), rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match=r"centers must lie inside the slice, \[0, 32\] x \[0, 98\]"):
        Views.spherical(TALL, [(33, 50)], spacing=SPACING)


@pytest.mark.parametrize("spacing", [(3.0, 1.0), (1.0, 3.0), (0.4, 1.0)])
@pytest.mark.parametrize("factor", [1.0, 1.7])
def test_a_factor_counts_view_pixels_per_smaller_side(spacing, factor):
    smaller = min(spacing)
    zoomed = Views.zoom(TALL, [(16, 49)], factor=factor, spacing=spacing)
    sphere = Views.spherical(TALL, [(16, 49)], magnification=factor, radius=1e4, spacing=spacing)
    for views, tolerance in ((zoomed, 1e-9), (sphere, 1e-3)):
        table = Geometry.from_table(views.geometry)
        y, x = torch.tensor([[[16.0], [17.0]]]), torch.tensor([[[49.0, 50.0]]])
        v, u = geo.to_view(table, y.double(), x.double())
        assert_close((v[0, 1, 0] - v[0, 0, 0]).item(), factor * spacing[0] / smaller, rtol=0, atol=tolerance)
        assert_close((u[0, 0, 1] - u[0, 0, 0]).item(), factor * spacing[1] / smaller, rtol=0, atol=tolerance)


@each_kind
def test_a_slice_comes_back_from_its_views(kind):
    """project, then unproject or reduce, gives a smooth slice back where a view shows it."""
    views = views_of(kind, TALL, SPACING)
    image = disc(TALL, SPACING, (5.0, -10.0), radius=25.0, softness=6.0)
    slices = views.unproject(views.project(image))
    shown = ~torch.isnan(views.view_coordinates()[0])
    inner = torch.zeros_like(shown)
    inner[:, 3:-3, 3:-3] = shown[:, 3:-3, 3:-3]
    assert inner.any()
    error = (slices - image).abs()[inner]
    assert error.quantile(0.9) < 0.02
    mean, _, count = views.reduce(views.project(image))
    assert torch.equal(count, shown.sum(0).int())
    assert (mean - image)[3:-3, 3:-3][count[3:-3, 3:-3] > 0].abs().mean() < 0.02


def test_views_of_several_spacings_add_up():
    both = Views.rigid((9, 12), spacing=(2, 1), view_size=(8, 8)) + Views.rigid((9, 12), view_size=(8, 8))
    image = noise(1, 2, 9, 12)
    assert both.geometry[:, 17:].tolist() == [[2.0, 1.0], [1.0, 1.0]]
    assert_close(both.project(image).double(), ref("project", image, both.geometry, (8, 8)), rtol=0, atol=1e-5)


def test_per_sample_centres_take_a_spacing():
    centers = noise(2, 3, 2).sigmoid() * (torch.tensor(TALL) - 1)
    together = Views.spherical(TALL, centers, spacing=SPACING)
    image = noise(2, 1, *TALL)
    for b in range(2):
        alone = Views.spherical(TALL, centers[b], spacing=SPACING)
        assert_close(together.geometry[b], alone.geometry, rtol=1e-12, atol=1e-12)
        assert_close(together.project(image)[b], alone.project(image[b : b + 1])[0], rtol=1e-5, atol=1e-5)
