"""The scale that fit='contain' and fit='box' choose, and charts that cannot show the slice."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from helpers import PAIRS
from spuproj import Geometry, Views, geometry
from spuproj.geometry.coordinates import lift_points

SIZE, VIEW_SIZE = (40, 52), (44, 36)
TALL, SPACING = (33, 99), (3.0, 1.0)


CONTAINED = [(lift, chart) for lift, chart in PAIRS if chart != "orthographic"] + [("gnomonic", "orthographic")]


@pytest.mark.parametrize("pose", ["tangent", "turned"])
@pytest.mark.parametrize(("lift", "chart"), CONTAINED)
def test_contain_is_the_largest_scale_that_shows_every_point(lift, chart, pose):
    size, view_size = (30, 44), (36, 40)
    centers = (
        [(14.5, 21.5), (6.0, 30.0), (0.0, 0.0), (29.0, 43.0)]
        if chart != "gnomonic" or lift == "gnomonic"
        else [(14.5, 21.5)]
    )
    if pose == "turned" and chart in ("gnomonic", "orthographic"):
        centers = [(14.5, 21.5), (12.0, 24.0)]
    views = Views.spherical(size, centers, radius=60.0, lift=lift, chart=chart, pose=pose, view_size=view_size)
    g = Geometry.from_table(views.geometry)
    fine = 101
    y = torch.linspace(0, size[0] - 1, fine, dtype=torch.float64)[:, None]
    x = torch.linspace(0, size[1] - 1, fine, dtype=torch.float64)[None, :]
    lifted = ~torch.isnan(lift_points(g, y, x)[..., 2])
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
    whole: dict[str, Any] = {"grid": (2, 2), "radius": 30.0, "box": (0.0, 0.0, 39.0, 51.0)}
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


@pytest.mark.parametrize(("size", "center"), [((7, 101), (0, 30)), ((101, 7), (30, 0))])
def test_a_turned_stereographic_chart_cannot_show_an_antipode_between_the_borders(size, center):
    with pytest.raises(ValueError, match=r"chart 'stereographic' ends 180 degrees \(not reached\) .* in view 0"):
        Views.spherical(size, [center], radius=10, lift="equidistant", chart="stereographic", pose="turned")


def test_contain_reaches_the_antipode_of_a_small_sphere():
    views = Views.spherical((101, 101), centers=[(50, 50)], radius=10, lift="equidistant", chart="equal_area")
    assert Geometry.from_table(views.geometry).scale.item() == pytest.approx(25.0)


@pytest.mark.parametrize(
    "where",
    [
        {"size": (7, 101), "centers": [(0, 30)]},
        {"size": (101, 7), "centers": [(30, 0)]},
        # The box has the antipodes of its centres, but not where the first of them is mirrored at the slice's middle.
        {"size": (101, 101), "grid": (2, 1), "box": (36.0, 48.0, 80.0, 52.2), "fit": "box"},
    ],
    ids=["wide", "tall", "box"],
)
@pytest.mark.parametrize(("chart", "reach"), [("equal_area", 2.0), ("equidistant", torch.pi)])
def test_a_turned_view_reaches_its_antipode_between_the_borders(where, chart, reach):
    views = Views.spherical(**where, radius=10, lift="equidistant", chart=chart, pose="turned", view_size=(64, 64))
    assert Geometry.from_table(views.geometry).scale.tolist() == pytest.approx([31.5 / reach] * len(views), rel=1e-12)


@pytest.mark.parametrize("spacing", [(3.0, 1.0), (1.0, 3.0), (0.5, 2.2)])
@pytest.mark.parametrize("pose", ["tangent", "turned"])
def test_contain_shows_the_whole_slice_and_no_smaller_than_it_must(spacing, pose):
    views = Views.spherical(TALL, grid=(2, 2), pose=pose, radius=150.0, spacing=spacing)
    v, u = views.view_coordinates()
    assert not torch.isnan(v).any()
    last_v, last_u = views.view_size[0] - 1, views.view_size[1] - 1
    slack = torch.stack([v.amin((1, 2)), last_v - v.amax((1, 2)), u.amin((1, 2)), last_u - u.amax((1, 2))])
    # The slice's border touches the view's; pixel centres come close to it.
    assert (slack.amin(0) < 0.05 * max(views.view_size)).all()
    assert (slack > -1e-6).all()


@pytest.mark.parametrize("fit", ["contain", "box"])
@pytest.mark.parametrize(("lift", "chart"), [("gnomonic", "equidistant"), ("stereographic", "equal_area")])
def test_views_that_are_not_centered_are_filled_and_show_more(lift, chart, fit):
    size, box, view_size = (40, 52), (0.0, 4.0, 38.0, 50.0), (60, 48)
    shown = box if fit == "box" else (0.0, 0.0, 39.0, 51.0)
    chosen: dict[str, Any] = {"grid": (2, 3), "box": box, "radius": 18.0, "lift": lift, "chart": chart, "fit": fit}
    free = Views.spherical(size, **chosen, centered=False, view_size=view_size)
    centered = Views.spherical(size, **chosen, view_size=view_size)
    g = Geometry.from_table(free.geometry)
    y = torch.linspace(shown[0], shown[2], 301, dtype=torch.float64)[:, None]
    x = torch.linspace(shown[1], shown[3], 301, dtype=torch.float64)[None, :]
    v, u = (part.flatten(1) for part in geometry.to_view(g, y, x))
    ends = torch.stack([v.amin(1), view_size[0] - 1 - v.amax(1), u.amin(1), view_size[1] - 1 - u.amax(1)])
    assert (ends >= -1e-6).all()
    # Along one axis the box touches both borders of the view; along the other it is in the middle.
    assert_close(ends[0], ends[1], atol=0.02, rtol=0)
    assert_close(ends[2], ends[3], atol=0.02, rtol=0)
    assert (torch.minimum(ends[0], ends[2]) < 0.02).all()
    assert (g.scale >= Geometry.from_table(centered.geometry).scale - 1e-9).all()
    assert (g.scale > 1.1 * Geometry.from_table(centered.geometry).scale).any()


@pytest.mark.parametrize("lift", ["equidistant", "equal_area"])
def test_a_corner_that_sees_the_whole_sphere_fills_a_view_that_is_not_centered(lift):
    # The slice shows a quarter of the sphere, out to the antipode, at an angle of pi from the pole.
    views = Views.spherical(
        (50, 60), [(0, 0)], radius=5.0, lift=lift, pose="tangent", view_size=(64, 64), centered=False
    )
    g = Geometry.from_table(views.geometry)
    assert_close(g.scale, torch.tensor([63 / torch.pi], dtype=torch.float64))
    assert_close(g.pole, torch.zeros(1, 2, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "radius", "center", "chart", "at"),
    [
        ((40, 59), 28.25, (0.93, 41.96), "equal_area", (None, 58)),
        ((31, 57), 25.14, (17.55, 2.87), "equidistant", (30, None)),
    ],
)
def test_the_view_ends_where_the_rim_of_the_sphere_crosses_an_edge_of_the_slice(size, radius, center, chart, at):
    views = Views.spherical(
        size, [center], radius=radius, lift="orthographic", chart=chart, view_size=(64, 64), centered=False
    )
    (ty, tx), (y, x) = center, at
    # Not on the rim itself: rounding may leave the domain.
    y = ty + (radius**2 - (x - tx) ** 2) ** 0.5 * (1 - 1e-13) if y is None else y
    x = tx + (radius**2 - (y - ty) ** 2) ** 0.5 * (1 - 1e-13) if x is None else x
    shown = geometry.to_view(Geometry.from_table(views.geometry), *torch.tensor([[[y]], [[x]]], dtype=torch.float64))
    assert max(map(float, shown)) == pytest.approx(63, abs=2e-5)


@pytest.mark.parametrize(
    ("size", "center", "radius", "lift", "limit", "view_size", "spacing"),
    [
        # The farthest point is on an edge, close to where it leaves the lift's domain.
        ((46, 14), (20.94, 10.85), 24.79, "equal_area", 2, (53, 51), (10.0, 1.0)),
        # It is on a narrow peak, which 65 samples of an edge miss.
        ((44, 19), (14.13, 4.39), 21.4, "equal_area", 2, (64, 64), (2.0, 1.0)),
        # On the rim of the domain, of which short arcs on two sides lie in the slice.
        ((20, 58), (12.72, 25.55), 92.65, "orthographic", 1, (19, 59), (1.0, 20.0)),
        ((52, 31), (36.2, 11.58), 43.35, "orthographic", 1, (36, 8), (1.0, 4.0)),
    ],
)
def test_no_point_of_the_border_lies_beyond_the_view(size, center, radius, lift, limit, view_size, spacing):
    chart: dict[str, Any] = {"chart": "equal_area", "pose": "turned", "centered": False}
    views = Views.spherical(size, [center], radius=radius, lift=lift, view_size=view_size, spacing=spacing, **chart)
    g, at = Geometry.from_table(views.geometry), torch.linspace(0, 1, 100_001, dtype=torch.float64)
    rim = limit * radius * (1 - 1e-13) * torch.stack([torch.sin(2 * torch.pi * at), torch.cos(2 * torch.pi * at)])
    last = [n - 1 for n in size]
    edges = [(last[0] * at, 0 * at + x) for x in (0, last[1])] + [(0 * at + y, last[1] * at) for y in (0, last[0])]
    for y, x in (*edges, [last[n] / 2 + rim[n] / spacing[n] for n in (0, 1)]):
        inside = (y >= 0) & (y <= last[0]) & (x >= 0) & (x <= last[1])
        for shown, n in zip(geometry.to_view(g, y[inside, None], x[inside, None]), view_size, strict=True):
            assert (
                shown.isnan().all()
                or -1e-6 < shown[~shown.isnan()].amin() <= shown[~shown.isnan()].amax() < n - 1 + 1e-6
            )


def test_a_slice_of_one_pixel_has_the_scale_of_its_radius():
    g = Geometry.from_table(Views.spherical((1, 1), [(0, 0)], radius=5.0).geometry)
    assert g.scale.tolist() == [5.0]
