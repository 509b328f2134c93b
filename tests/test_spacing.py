"""Slices whose pixels are not square are seen as they are: the sphere lives in their units."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.testing import assert_close

from helpers import PAIRS, noise, random_geometry, ref
from spuproj import Geometry, Views, functional, reference
from spuproj import geometry as geo

TALL, ROUND = (33, 99), (99, 99)
"""The same 99 x 99 mm: in pixels of 3 x 1 mm, and of 1 x 1 mm."""

SPACING = (3.0, 1.0)


def in_millimetres(size, spacing):
    """Coordinates (y, x) in mm from the slice's middle."""
    return tuple(
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * unit for n, unit in zip(size, spacing, strict=True)
    )


def disc(size, spacing, centre=(0.0, 0.0), radius=20.0, softness=3.0):
    """A picture of a disc in mm, smooth enough for a grid of 3 mm."""
    y, x = in_millimetres(size, spacing)
    return torch.sigmoid((radius - torch.hypot(y[:, None] - centre[0], x - centre[1])) / softness)


def same_point(point):
    """A pixel of the tall slice, in the round one: the middle of three rows."""
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
"""Views of every constructor."""

each_kind = pytest.mark.parametrize("kind", KINDS)


def views_of(kind, size, spacing, **options):
    return KINDS[kind](size, spacing=spacing, **options)


# --- what is seen


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
    """The tests above can fail: the same slices, taken for square, are seen otherwise."""
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


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (0.7, 0.7)])
def test_quarter_turns_in_degrees_are_rot90_to_the_bit(turns, spacing):
    image = noise(2, 3, 15, 15)
    views = Views.rigid((15, 15), degrees=[90 * turns], spacing=spacing)
    assert torch.equal(views.project(image)[:, 0], torch.rot90(image, turns, (-2, -1)))


@settings(max_examples=20, derandomize=True)
@given(st.lists(st.floats(-720, 720), min_size=1, max_size=4))
def test_degrees_are_angles(degrees):
    wanted = Views.rigid((9, 11), angles=[math.radians(angle) for angle in degrees], flips=("none", "both"))
    assert torch.equal(Views.rigid((9, 11), degrees=degrees, flips=("none", "both")).geometry, wanted.geometry)
    wrapped = np.array(degrees)
    assert torch.equal(Views.rigid((9, 11), degrees=wrapped, flips=("none", "both")).geometry, wanted.geometry)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degrees": [0], "angles": [0]}, "angles or degrees must be given, one of the two, got both"),
        ({"degrees": []}, "must each hold at least one entry"),
        ({"degrees": [math.nan]}, "must be finite"),
        ({"degrees": [math.inf]}, "must be finite"),
    ],
    ids=["both", "empty", "nan", "inf"],
)
def test_bad_degrees_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Views.rigid((9, 11), **options)


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


# --- sizes, centres, boxes


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
        assert Views.rigid(size, spacing=given_spacing).view_size == wanted
    middle = [((size[0] - 1) / 2, (size[1] - 1) / 2)]
    assert Views.zoom(size, middle, spacing=spacing).view_size == wanted
    assert Views.spherical(size, middle, magnification=1.0, spacing=spacing).view_size == wanted
    assert Views.rigid(size, spacing=spacing, view_size=(8, 9)).view_size == (8, 9)


@pytest.mark.parametrize("size", [(240, 240), (512, 400)])
@pytest.mark.parametrize("spacing", [(0.9375, 0.93750006), (0.4882810116, 0.48828125), (1.0, 0.9999999)])
def test_what_a_header_rounds_off_adds_no_pixel(size, spacing):
    """Sides taken from float32 headers, or from columns of an affine, differ in their last digits."""
    assert Views.rigid(size, spacing=spacing).view_size == size


@each_kind
def test_the_default_view_is_large_enough_for_the_slice(kind):
    views = views_of(kind, TALL, SPACING)
    assert views.view_size == ROUND
    assert torch.equal(views.geometry[:, 4:6], torch.tensor([[49.0, 49.0]], dtype=torch.float64).expand(len(views), 2))
    assert (views.geometry[:, 17:] == torch.tensor(SPACING, dtype=torch.float64)).all()


@pytest.mark.parametrize("spacing", [(3.0, 1.0), (1.0, 3.0), (0.5, 2.2)])
@pytest.mark.parametrize("pose", ["tangent", "turned"])
def test_contain_shows_the_whole_slice_and_no_smaller_than_it_must(spacing, pose):
    views = Views.spherical(TALL, grid=(2, 2), pose=pose, radius=150.0, spacing=spacing)
    v, u = views.view_coordinates()
    assert not torch.isnan(v).any()
    last_v, last_u = views.view_size[0] - 1, views.view_size[1] - 1
    slack = torch.stack([v.amin((1, 2)), last_v - v.amax((1, 2)), u.amin((1, 2)), last_u - u.amax((1, 2))])
    # Some point of the border touches the view's; the pixels' centres come near it.
    assert (slack.amin(0) < 0.05 * max(views.view_size)).all()
    assert (slack > -1e-6).all()


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


# --- against other sources


@each_kind
@pytest.mark.parametrize("spacing", [(3.0, 1.0), (0.8, 1.25)])
def test_coordinates_are_those_of_the_reference(kind, spacing):
    views = views_of(kind, (17, 21), spacing, view_size=(15, 37))
    table = views.geometry.numpy()
    for ours, theirs in (
        (views.slice_coordinates(), reference.slice_coordinates(table, views.size, views.view_size)),
        (views.view_coordinates(), reference.view_coordinates(table, views.size, views.view_size)),
    ):
        for first, second in zip(ours, theirs, strict=True):
            assert (~torch.isnan(first)).any()
            np.testing.assert_allclose(first.numpy(), second, rtol=0, atol=1e-9)


@each_kind
def test_every_op_is_that_of_the_reference(backend, kind):
    size, view_size = (9, 13), (11, 13)
    table = views_of(kind, size, SPACING, view_size=view_size).geometry.clone()
    # So that no point lies half-way between two pixels, where rounding decides which is the nearest.
    table[:, :2] += torch.tensor([0.0123, 0.0071])
    image = noise(1, 2, *size, dtype=torch.float64)
    stack = noise(1, table.shape[0], 2, *view_size, dtype=torch.float64)
    for op, tensor, wanted, options in (
        ("project", image, view_size, ("bilinear", "constant")),
        ("project", image, view_size, ("nearest", "border")),
        ("project_adjoint", stack, size, ("bilinear", "constant")),
        ("unproject", stack, size, ("bilinear",)),
    ):
        result = getattr(backend, op)(tensor, table, wanted, *options)
        assert_close(result, ref(op, tensor, table, wanted, *options), rtol=0, atol=1e-9)
    for result, theirs in zip(
        backend.unproject_reduce(stack, table, size, "bilinear"),
        ref("unproject_reduce", stack, table, size),
        strict=True,
    ):
        assert_close(result.double(), theirs, rtol=0, atol=1e-9)


@each_kind
def test_views_are_what_scipy_reads_at_their_coordinates(kind):
    views = views_of(kind, TALL, SPACING)
    image = noise(*TALL, dtype=torch.float64)
    y, x = (part.numpy() for part in views.slice_coordinates())
    valid = ~np.isnan(y)
    wanted = np.zeros(y.shape)
    wanted[valid] = ndimage.map_coordinates(image.numpy(), [y[valid], x[valid]], order=1)
    np.testing.assert_allclose(views.project(image).numpy(), wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("lift", "chart"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
@settings(max_examples=10, derandomize=True)
@given(seed=st.integers(0, 10**6), dy=st.floats(0.1, 10), dx=st.floats(0.1, 10))
def test_slice_to_view_to_slice_is_exact(lift, chart, seed, dy, dx):
    size, view_size = (13, 17), (11, 15)
    views = random_geometry(seed, size, view_size, lift, chart, views=2)
    views = Geometry(**{**vars(views), "spacing": torch.tensor([[dy, dx]] * 2, dtype=torch.float64)})
    # Radii in the units of the spacing, so that the slice lies well within every profile's domain.
    views = Geometry(**{**vars(views), "radius": views.radius * 3 * max(dy, dx)})
    y, x = geo.pixel_grid(size, torch.device("cpu"))
    v, u = geo.to_view(views, y, x)
    back_y, back_x = geo.to_slice(views, v, u)
    known = ~torch.isnan(v)
    assert known.any()
    # Far out on the sphere a profile may be steep; coordinates there are as exact as its slope allows.
    near = known & (v.abs() < 1e3) & (u.abs() < 1e3)
    assert_close(back_y[near], y.expand_as(v)[near], rtol=0, atol=1e-9)
    assert_close(back_x[near], x.expand_as(v)[near], rtol=0, atol=1e-9)


@each_kind
def test_a_slice_comes_back_from_its_views(kind):
    """Two interpolations of a smooth slice: what comes back is the slice, where a view shows it."""
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


@each_kind
def test_magnification_is_the_jacobian_of_the_coordinates(kind):
    views = views_of(kind, (15, 25), (2.0, 0.7), view_size=(40, 44))
    table = Geometry.from_table(views.geometry)
    y, x = geo.pixel_grid((15, 25), torch.device("cpu"))
    step = 1e-5
    across = [
        (b - a) / (2 * step)
        for a, b in zip(geo.to_view(table, y, x - step), geo.to_view(table, y, x + step), strict=True)
    ]
    down = [
        (b - a) / (2 * step)
        for a, b in zip(geo.to_view(table, y - step, x), geo.to_view(table, y + step, x), strict=True)
    ]
    area = (down[0] * across[1] - down[1] * across[0]).abs()
    found = views.magnification()
    known = ~torch.isnan(found)
    assert known.any()
    assert_close(found[known], area[known], rtol=1e-6, atol=1e-8)


def test_magnification_integrates_to_the_area_of_the_view_of_the_slice():
    """Over the slice it adds up to the area that the slice takes in the view, counted in view pixels."""
    views = Views.spherical(TALL, [(16, 49), (10, 30)], spacing=SPACING)
    # Pixels as cells: the slice reaches half a pixel beyond its centres, for which its border pixels stand.
    inside = (~torch.isnan(views.slice_coordinates()[0])).sum((1, 2)).double()
    weight = torch.ones(TALL, dtype=torch.float64)
    weight[[0, -1]] /= 2
    weight[:, [0, -1]] /= 2
    assert_close((views.magnification() * weight).sum((1, 2)), inside, rtol=0.02, atol=0)
    flat = Views.zoom(TALL, [(16, 49)], factor=1.0, spacing=SPACING)
    assert_close(flat.magnification(), torch.full((1, *TALL), 3.0, dtype=torch.float64))


# --- what else spacing meets


def test_views_of_several_spacings_add_up():
    both = Views.rigid((9, 12), spacing=(2, 1), view_size=(8, 8)) + Views.rigid((9, 12), view_size=(8, 8))
    image = noise(1, 2, 9, 12)
    assert both.geometry[:, 17:].tolist() == [[2.0, 1.0], [1.0, 1.0]]
    assert_close(both.project(image).double(), ref("project", image, both.geometry, (8, 8)), rtol=0, atol=1e-5)


def test_gradients_pass_through_spaced_views():
    views = Views.spherical((4, 7), grid=(1, 2), spacing=(2.0, 1.0))
    image = noise(1, 1, 4, 7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(views.project, image)
    stack = noise(1, 2, 1, *views.view_size, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda stack: views.reduce(stack)[:2], stack)


def test_per_sample_centres_take_a_spacing():
    centers = noise(2, 3, 2).sigmoid() * (torch.tensor(TALL) - 1)
    together = Views.spherical(TALL, centers, spacing=SPACING)
    image = noise(2, 1, *TALL)
    for b in range(2):
        alone = Views.spherical(TALL, centers[b], spacing=SPACING)
        assert_close(together.geometry[b], alone.geometry, rtol=1e-12, atol=1e-12)
        assert_close(together.project(image)[b], alone.project(image[b : b + 1])[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "spacing",
    [
        0, 1, (0, 1), (1, -1), (math.nan, 1), (1, math.inf), (1,), (1, 1, 1), "ab", (None, 1), {}, (1j, 1),
        ((1, 2), (3, 4)), np.ones(3), torch.zeros(2),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "make",
    [
        lambda spacing: Views.spherical((9, 12), grid=(1, 2), spacing=spacing),
        lambda spacing: Views.zoom((9, 12), [(3, 4)], spacing=spacing),
        lambda spacing: Views.rigid((9, 12), spacing=spacing),
    ],
    ids=["spherical", "zoom", "rigid"],
)
def test_a_bad_spacing_is_refused(make, spacing):
    with pytest.raises(ValueError, match="spacing must be two positive, finite numbers"):
        make(spacing)


@pytest.mark.parametrize("spacing", [(1e-320, 1), (1, 1e308), (1e300, 1e-300)], ids=str)
def test_a_spacing_that_no_view_could_hold_is_refused(spacing):
    with pytest.raises(ValueError, match=r"spacing|view_size"):
        Views.rigid((9, 12), spacing=spacing)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("column", [17, 18])
def test_a_table_with_a_bad_spacing_is_refused(value, column):
    table = Views.rigid((9, 12)).geometry.clone()
    table[0, column] = value
    with pytest.raises(ValueError, match="spacing must be positive and finite"):
        Views.from_table(table, (9, 12))


def test_the_stateless_functions_read_the_spacing_from_the_table():
    views = Views.spherical(TALL, [(10, 30)], spacing=SPACING)
    image = noise(1, 1, *TALL)
    assert torch.equal(functional.project(image, views.geometry, views.view_size), views.project(image))
    plain = views.geometry.clone()
    plain[:, 17:] = 1
    assert not torch.allclose(functional.project(image, plain, views.view_size), views.project(image))
