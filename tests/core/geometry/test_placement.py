"""Where constructors place spheres: centres, grids, poses, rotations, flips, radius and the size of a view."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import noise
from small_views import SIZE
from spuproj import Geometry, Views


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


@pytest.mark.parametrize(("short_of_pi", "exact"), [(1e-3, True), (1e-5, False), (0.0, False)])
def test_a_center_opposite_the_middle_is_refused_where_rounding_would_spoil_its_rotation(short_of_pi, exact):
    def turned():
        centers = [(50.0, 50.0 + 10.0 * (math.pi - short_of_pi))]
        return Views.spherical((101, 101), centers, radius=10.0, lift="equidistant", pose="turned", magnification=1.0)

    if exact:
        rotation = Geometry.from_table(turned().geometry).rotation[0]
        assert_close(rotation @ rotation.T, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-8)
    else:
        with pytest.raises(ValueError, match="centers must lie within the lift's reach of the slice's centre"):
            turned()


def test_radius_none_is_half_the_larger_side():
    assert Geometry.from_table(Views.spherical((20, 50), [(3, 4)]).geometry).radius.item() == 25


def test_a_grid_puts_centres_in_the_middle_of_equal_cells():
    views = Views.spherical((100, 100), grid=(2, 3), box=(10, 20, 50, 80))
    expected = [[y, x] for y in (20.0, 40.0) for x in (30.0, 50.0, 70.0)]
    assert Geometry.from_table(views.geometry).tangent.tolist() == expected


def test_per_sample_turned_views_equal_those_of_each_sample():
    centers = noise(2, 3, 2).sigmoid() * (torch.tensor(SIZE) - 1)
    together = Views.spherical(SIZE, centers, pose="turned", radius=30, magnification=1.0)
    for b in range(2):
        alone = Views.spherical(SIZE, centers[b], pose="turned", radius=30, magnification=1.0)
        assert_close(together.geometry[b], alone.geometry, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "arrange",
    [lambda points: points.astype(">f8"), lambda points: points[:, ::-1][:, ::-1], lambda points: points[::-1][::-1]],
    ids=["big_endian", "swapped_columns", "reversed"],
)
@pytest.mark.parametrize("make", [Views.spherical, Views.zoom])
def test_centres_may_come_as_any_array(make, arrange):
    """For example np.argwhere(mask)[:, ::-1], which has a negative stride."""
    points = np.array([[3.0, 4.0], [5.0, 6.0]])
    reversed_twice = arrange(points[::-1, ::-1])
    wanted = make(SIZE, points[::-1, ::-1].copy())
    assert torch.equal(make(SIZE, reversed_twice).geometry, wanted.geometry)


def test_rigid_makes_every_pair_of_angle_and_flip_in_order():
    views = Views.rigid((8, 8), angles=[0, math.pi / 2], flips=["none", "horizontal"])
    image = torch.randn(1, 1, 8, 8)
    turned = torch.rot90(image, 1, (-2, -1))
    expected = torch.stack([image, image.flip(-1), turned, turned.flip(-1)], dim=1)
    assert torch.equal(views.project(image), expected)


def test_the_mirror_is_a_reflection_of_the_sphere():
    plain = Views.spherical((16, 16), centers=[(7.5, 7.5)], radius=12)
    g = Geometry.from_table(plain.geometry)
    mirrored = Views.from_table(
        Geometry(g.tangent, g.radius, g.scale, g.pole, g.lift, g.chart,
                 torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)) @ g.rotation, g.spacing).table(),
        (16, 16),
    )  # fmt: skip
    image = torch.randn(1, 1, 16, 16)
    assert_close(mirrored.project(image), plain.project(image).flip(-1))


@settings(max_examples=20, derandomize=True)
@given(st.lists(st.floats(-720, 720), min_size=1, max_size=4))
def test_degrees_give_the_views_of_the_same_angles(degrees):
    wanted = Views.rigid((9, 11), angles=[math.radians(angle) for angle in degrees], flips=("none", "both"))
    assert torch.equal(Views.rigid((9, 11), degrees=degrees, flips=("none", "both")).geometry, wanted.geometry)
    wrapped = np.array(degrees)
    assert torch.equal(Views.rigid((9, 11), degrees=wrapped, flips=("none", "both")).geometry, wanted.geometry)  # type: ignore[arg-type]


@pytest.mark.parametrize("turns", [1, 2, 3, -1])
@pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (0.7, 0.7)])
def test_quarter_turns_in_degrees_are_rot90_to_the_bit(turns, spacing):
    image = noise(2, 3, 15, 15)
    views = Views.rigid((15, 15), degrees=[90 * turns], spacing=spacing)
    assert torch.equal(views.project(image)[:, 0], torch.rot90(image, turns, (-2, -1)))


@pytest.mark.parametrize("angle", [1e-12, -1e-9, math.pi / 2 + 1e-10])
def test_an_angle_that_is_no_quarter_turn_is_not_rounded_to_one(angle):
    rotation = Geometry.from_table(Views.rigid(SIZE, angles=[angle]).geometry).rotation[0]
    assert_close(rotation[1, :2].tolist(), [math.sin(angle), math.cos(angle)], rtol=1e-15, atol=0)


def test_the_view_size_is_the_slice_size_unless_given():
    assert Views.rigid(SIZE).view_size == SIZE
    assert Views.rigid(SIZE, view_size=[3, 4]).view_size == (3, 4)
