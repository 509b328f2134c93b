"""Geometry: the closed forms and their inverses, the fit, the magnification, the poses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch.testing import assert_close

from helpers import PAIRS, random_geometry, tables
from spuproj import PROFILES, Geometry, Views, _cpu, functional, geometry, reference

SIZE, VIEW_SIZE = (40, 52), (44, 36)


def compiled_coordinates(table, size, view_size, *, inverse):
    source, wanted = (view_size, size) if inverse else (size, view_size)
    y = torch.empty(len(table), *wanted, dtype=torch.float64)
    x = torch.empty_like(y)
    sampling = _cpu.Sampling(inverse, False, False, *source)
    _cpu.coordinates(table.data_ptr(), len(table), sampling, *wanted, y.data_ptr(), x.data_ptr(), 2)
    return y, x


@pytest.mark.parametrize(("lift", "chart"), PAIRS)
@given(seed=st.integers(0, 10**6))
def test_slice_to_view_to_slice_returns_within_1e_9_pixels(lift, chart, seed):
    g = random_geometry(seed, SIZE, VIEW_SIZE, lift, chart)
    y, x = geometry.pixel_grid(SIZE, torch.device("cpu"))
    v, u = geometry.to_view(g, y, x)
    back_y, back_x = geometry.to_slice(g, v, u)
    # Where the map is singular (the horizon of a gnomonic or orthographic profile) no arithmetic can return.
    step = 1e-3
    stretch = (geometry.to_view(g, y + step, x)[0] - v).abs() + (geometry.to_view(g, y, x + step)[1] - u).abs()
    regular = (v.abs() < 1e4) & (u.abs() < 1e4) & (stretch > 1e-2 * step) & ~torch.isnan(back_y)
    off = torch.hypot(back_y - y, back_x - x)[regular]
    assert off.numel() == 0 or off.max() < 1e-9


@pytest.mark.parametrize(("lift", "chart"), PAIRS)
def test_every_pair_shows_some_of_the_slice(lift, chart):
    table = random_geometry(3, SIZE, VIEW_SIZE, lift, chart, views=4).table()
    v, _ = geometry.view_coordinates(table, SIZE, VIEW_SIZE)
    assert (~torch.isnan(v)).float().mean() > 0.1


@given(table=tables(SIZE, VIEW_SIZE))
def test_compiled_and_torch_coordinates_equal_the_reference(table):
    for inverse, name in ((False, "slice_coordinates"), (True, "view_coordinates")):
        expected = getattr(reference, name)(table.numpy(), SIZE, VIEW_SIZE)
        for computed in (
            getattr(geometry, name)(table, SIZE, VIEW_SIZE),
            compiled_coordinates(table, SIZE, VIEW_SIZE, inverse=inverse),
        ):
            for ours, theirs in zip(computed, expected, strict=True):
                both = ~torch.isnan(ours) & ~torch.from_numpy(np.isnan(theirs))
                # A point within rounding of a border may be judged either way; there are few.
                assert (torch.isnan(ours) ^ torch.from_numpy(np.isnan(theirs))).sum() <= 2
                assert_close(ours[both], torch.from_numpy(theirs)[both], rtol=0, atol=1e-8)


def test_projection_equals_scipy_on_the_same_coordinates(backend):
    views = Views.spherical(SIZE, grid=(2, 2), radius=30, view_size=VIEW_SIZE)
    image = torch.randn(1, 1, *SIZE, dtype=torch.float64)
    y, x = views.slice_coordinates()
    for projected, at_y, at_x in zip(
        backend.project(image, views.geometry, VIEW_SIZE, "bilinear", "constant")[0, :, 0], y, x, strict=True
    ):
        inside = ~torch.isnan(at_y)
        expected = ndimage.map_coordinates(image[0, 0].numpy(), np.stack([at_y[inside], at_x[inside]]), order=1)
        assert_close(projected[inside], torch.from_numpy(expected), rtol=0, atol=1e-12)
        assert (projected[~inside] == 0).all()


CONTAINED = [(lift, chart) for lift, chart in PAIRS if chart != "orthographic"] + [("gnomonic", "orthographic")]


@pytest.mark.parametrize("pose", ["tangent", "turned"])
@pytest.mark.parametrize(("lift", "chart"), CONTAINED)
def test_contain_is_the_largest_scale_that_shows_every_point(lift, chart, pose):
    size, view_size = (30, 44), (36, 40)
    centers = [(14.5, 21.5), (6.0, 30.0), (0.0, 0.0)] if chart != "gnomonic" or lift == "gnomonic" else [(14.5, 21.5)]
    if pose == "turned" and chart in ("gnomonic", "orthographic"):
        centers = [(14.5, 21.5), (12.0, 24.0)]
    views = Views.spherical(size, centers, radius=60.0, lift=lift, chart=chart, pose=pose, view_size=view_size)
    g = Geometry.from_table(views.geometry)
    fine = 401
    y = torch.linspace(0, size[0] - 1, fine, dtype=torch.float64)[:, None]
    x = torch.linspace(0, size[1] - 1, fine, dtype=torch.float64)[None, :]
    lifted = ~torch.isnan(geometry.lift_points(g, y, x)[..., 2])
    v, u = geometry.to_view(g, y, x)
    middle = torch.tensor([(n - 1) / 2 for n in view_size], dtype=torch.float64)
    assert_close(g.pole, middle.expand(len(centers), 2))
    reach_v = torch.where(lifted, (v - middle[0]).abs(), 0).flatten(1).amax(1)
    reach_u = torch.where(lifted, (u - middle[1]).abs(), 0).flatten(1).amax(1)
    fullness = torch.maximum(reach_v / middle[0], reach_u / middle[1])
    assert (fullness <= 1 + 1e-9).all()
    assert (fullness > 1 - 1e-3).all()


@pytest.mark.parametrize("pose", ["tangent", "turned"])
@pytest.mark.parametrize(("lift", "chart"), [("gnomonic", "equidistant"), ("stereographic", "equal_area")])
def test_the_box_fills_the_raster_and_what_lies_beyond_is_masked(lift, chart, pose):
    size, box = (40, 52), (6.0, 10.5, 31.0, 40.0)
    views = Views.spherical(
        size, grid=(2, 3), box=box, radius=30.0, lift=lift, chart=chart, pose=pose, fit="box", view_size=VIEW_SIZE
    )
    g = Geometry.from_table(views.geometry)
    y = torch.linspace(box[0], box[2], 301, dtype=torch.float64)[:, None]
    x = torch.linspace(box[1], box[3], 301, dtype=torch.float64)[None, :]
    v, u = geometry.to_view(g, y, x)
    half_v, half_u = ((n - 1) / 2 for n in VIEW_SIZE)
    fullness = torch.maximum(((v - half_v) / half_v).abs(), ((u - half_u) / half_u).abs()).flatten(1).amax(1)
    assert (fullness <= 1 + 1e-9).all()
    assert (fullness > 1 - 1e-3).all()
    count = views.reduce(torch.rand(1, 6, 1, *VIEW_SIZE))[2][0, 0]
    assert (count[6:32, 11:41] == 6).all()
    assert count[0, 0] < 6


def test_a_box_of_the_whole_slice_is_fitted_like_the_slice():
    whole = {"grid": (2, 2), "radius": 30.0, "box": (0.0, 0.0, 39.0, 51.0)}
    assert torch.equal(Views.spherical(SIZE, **whole, fit="box").geometry, Views.spherical(SIZE, **whole).geometry)


def test_contain_leaves_no_hole_at_its_own_border():
    views = Views.spherical((64, 64), grid=(3, 3), radius=20)
    assert not torch.isnan(views.view_coordinates()[0]).any()
    _, _, count = views.reduce(torch.rand(1, 9, 1, 64, 64))
    assert (count == 9).all()


@pytest.mark.parametrize(("lift", "chart"), [("equidistant", "gnomonic"), ("equidistant", "orthographic")])
def test_a_chart_that_cannot_show_the_slice_is_an_error_that_says_so(lift, chart):
    with pytest.raises(ValueError, match=f"chart '{chart}' ends .* cannot show the whole slice or box in view 0"):
        Views.spherical((100, 100), centers=[(0, 0)], radius=50, lift=lift, chart=chart)


def test_the_stereographic_chart_cannot_show_its_own_antipode():
    with pytest.raises(ValueError, match="chart 'stereographic' ends 180 degrees"):
        Views.spherical((100, 100), centers=[(50, 50)], radius=10, lift="equidistant", chart="stereographic")


def test_contain_reaches_the_antipode_of_a_small_sphere():
    views = Views.spherical((101, 101), centers=[(50, 50)], radius=10, lift="equidistant", chart="equal_area")
    assert Geometry.from_table(views.geometry).scale.item() == pytest.approx(25.0)


@pytest.mark.parametrize(("lift", "chart"), PAIRS)
def test_magnification_is_the_jacobian_of_slice_to_view(lift, chart):
    g = random_geometry(5, SIZE, VIEW_SIZE, lift, chart, views=2, tilt=0.2)
    computed = geometry.magnification(g.table(), SIZE, VIEW_SIZE)
    y, x = geometry.pixel_grid(SIZE, torch.device("cpu"))
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


def test_each_centre_lands_on_the_views_centre_in_both_poses():
    centers = [(10.0, 12.0), (30.0, 33.0)]
    for pose in ("tangent", "turned"):
        views = Views.spherical((41, 51), centers, pose=pose, view_size=(33, 37))
        v, u = views.view_coordinates()
        for n, (y, x) in enumerate(centers):
            assert v[n, int(y), int(x)].item() == pytest.approx(16, abs=1e-9)
            assert u[n, int(y), int(x)].item() == pytest.approx(18, abs=1e-9)


def test_the_turned_sphere_touches_at_the_middle_and_turns_by_the_shortest_arc():
    views = Views.spherical((41, 41), [(20.0, 35.0)], radius=30, pose="turned")
    g = Geometry.from_table(views.geometry)
    assert g.tangent.tolist() == [[20.0, 20.0]]
    angle = torch.arccos((torch.diagonal(g.rotation[0]).sum() - 1) / 2).item()
    assert angle == pytest.approx(math.atan(15 / 30))
    assert_close(g.rotation[0] @ g.rotation[0].T, torch.eye(3, dtype=torch.float64))


def test_radius_none_is_half_the_larger_side():
    assert Geometry.from_table(Views.spherical((20, 50), [(3, 4)]).geometry).radius.item() == 25


def test_a_grid_puts_centres_in_the_middle_of_equal_cells():
    views = Views.spherical((100, 100), grid=(2, 3), box=(10, 20, 50, 80))
    expected = [[y, x] for y in (20.0, 40.0) for x in (30.0, 50.0, 70.0)]
    assert Geometry.from_table(views.geometry).tangent.tolist() == expected


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
    y, x = geometry.to_slice(Geometry.from_table(table), *geometry.pixel_grid((9, 9), table.device))
    beyond = ~inside & ~torch.isnan(y)
    at = np.stack([y[beyond].clamp(0, 8), x[beyond].clamp(0, 8)])
    assert_close(border[0, :, 0][beyond], torch.from_numpy(ndimage.map_coordinates(image[0, 0].numpy(), at, order=1)))
