"""``LearnableViews``: begin as ``Views.spherical``, stay inside the slice, and find where to look."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from helpers import noise
from spuproj import LearnableViews, Views, functional

SIZE, VIEW_SIZE = (24, 20), (18, 22)
PLACED = {
    "fitted": {"grid": (2, 3)},
    "turned": {"grid": (2, 2), "pose": "turned", "view_size": VIEW_SIZE},
    "magnified": {"centers": [(3.0, 4.5), (20.0, 11.0)], "magnification": 1.5, "spacing": (2.0, 1.0)},
    "box": {"grid": (2, 2), "box": (4, 5, 20, 17), "fit": "box", "centered": False, "chart": "equal_area"},
    "samples": {"centers": noise(2, 3, 2, seed=3).sigmoid() * 18, "radius": 15.0},
}
LEARNED = {
    "centers": "center_logits",
    "radius": "log_radius",
    "magnification": "log_magnification",
    "angle": "angle",
}


@pytest.mark.parametrize("learn", [(), ("centers",), tuple(LEARNED)])
@pytest.mark.parametrize("placement", PLACED.values(), ids=PLACED)
def test_they_begin_as_spherical_views_do(placement, learn):
    views, fixed = LearnableViews(SIZE, learn=learn, **placement), Views.spherical(SIZE, **placement)
    assert_close(views.views().geometry, fixed.geometry, rtol=1e-9, atol=1e-9)
    assert (views.size, views.view_size, len(views)) == (fixed.size, fixed.view_size, len(fixed))
    learned = {name for name, parameter in views.named_parameters() if parameter.requires_grad}
    assert learned == {LEARNED[name] for name in learn}


def test_results_are_those_of_the_frozen_views():
    views = LearnableViews(SIZE, grid=(2, 3), view_size=VIEW_SIZE, learn=tuple(LEARNED))
    frozen, image, stack = views.views(), noise(2, 3, *SIZE), noise(2, 6, 3, *VIEW_SIZE)
    assert type(frozen) is Views
    assert not frozen.geometry.requires_grad
    assert torch.equal(views(image), frozen.project(image))
    assert torch.equal(views.project(image, padding="border"), frozen.project(image, padding="border"))
    assert torch.equal(views.unproject(stack), frozen.unproject(stack))
    for ours, theirs in zip(views.reduce(stack, min_count=2), frozen.reduce(stack, min_count=2), strict=True):
        assert torch.equal(ours, theirs)


def test_arrays_give_arrays():
    views = LearnableViews(SIZE, grid=(2, 3), view_size=VIEW_SIZE)
    image, stack = noise(2, 3, *SIZE), noise(2, 6, 3, *VIEW_SIZE)
    np.testing.assert_array_equal(views.project(image.numpy()), views.project(image).detach())
    np.testing.assert_array_equal(views.unproject(stack.numpy()), views.unproject(stack).detach())
    for ours, theirs in zip(views.reduce(stack.numpy()), views.reduce(stack), strict=True):
        np.testing.assert_array_equal(ours, theirs.detach())


def test_an_angle_turns_the_view_as_rigid_views_do():
    options = {"radius": 9.0, "lift": "equidistant", "chart": "equidistant", "magnification": 1.0}
    views = LearnableViews(SIZE, [(11.5, 9.5)], learn=("angle",), **options)
    with torch.no_grad():
        views.angle.fill_(math.radians(30))
    for ours, theirs in zip(
        views.views().slice_coordinates(), Views.rigid(SIZE, degrees=[30]).slice_coordinates(), strict=True
    ):
        assert_close(ours, theirs, rtol=0, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("step", [-1e3, 1e3])
def test_no_step_takes_a_centre_out_of_the_slice_or_makes_a_radius_negative(step):
    views = LearnableViews(SIZE, grid=(2, 2), learn=tuple(LEARNED))
    with torch.no_grad():
        views.center_logits.add_(step)
        views.log_radius.add_(step / 200)
        views.log_magnification.add_(step / 200)
    last = torch.tensor(SIZE) - 1
    assert ((views.centers >= 0) & (views.centers <= last)).all()
    assert (views.views().geometry[:, 2:4] > 0).all()


def test_the_fit_follows_the_centres_so_that_every_view_shows_the_whole_slice():
    views = LearnableViews(SIZE, grid=(2, 2), learn=("centers", "radius"))
    with torch.no_grad():
        views.center_logits.add_(noise(4, 2, seed=2))
        views.log_radius.add_(0.3)
    assert not torch.isnan(views.views().view_coordinates()[0]).any()
    assert_close(views.views().geometry[:, :2], views.centers.detach())


def blurred_spot(y: float, x: float) -> torch.Tensor:
    rows, columns = torch.meshgrid(*[torch.arange(float(n)) for n in SIZE], indexing="ij")
    return torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 40)[None, None]


@pytest.mark.parametrize("pose", ["tangent", "turned"])
def test_learning_recovers_the_centre_that_made_a_view(pose):
    image, options = blurred_spot(15, 8), {"radius": 20.0, "magnification": 1.0, "pose": pose}
    target = Views.spherical(SIZE, [(14.0, 7.0)], **options).project(image)
    views = LearnableViews(SIZE, [(10.0, 11.0)], **options)
    optimizer = torch.optim.Adam(views.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (views.project(image) - target).square().mean().backward()
        optimizer.step()
    assert_close(views.centers.detach(), torch.tensor([[14.0, 7.0]], dtype=torch.float64), rtol=0, atol=0.05)


def test_a_state_dict_restores_them():
    first = LearnableViews(SIZE, grid=(2, 2), learn=tuple(LEARNED))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(0.1)
    second = LearnableViews(SIZE, [(1, 1), (2, 2), (3, 3), (4, 4)], learn=tuple(LEARNED))
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.views().geometry, first.views().geometry)


def test_parameters_stay_float64_where_a_network_becomes_half():
    views = LearnableViews(SIZE, grid=(2, 2))
    before = views.views().geometry
    assert torch.equal(views.half().views().geometry, before)
    assert {parameter.dtype for parameter in views.parameters()} == {torch.float64}


def test_a_compiled_step_has_the_same_gradient():
    image = noise(1, 1, *SIZE)

    def loss(image, table):
        mean, variance, _ = functional.unproject_reduce(functional.project(image, table), table, SIZE)
        return mean.square().sum() + variance.sum()

    def gradient(loss):
        table = Views.spherical(SIZE, grid=(2, 2)).geometry.requires_grad_()
        loss(image, table).backward()
        return table.grad

    assert_close(gradient(torch.compile(loss, backend="aot_eager")), gradient(loss))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learn": ("centres",), "grid": (2, 2)}, "learn must be one of centers, radius, magnification, angle"),
        ({}, "centers or grid must be given"),
        ({"centers": [(30, 2)]}, "centers must lie inside the slice"),
        ({"grid": (2, 2), "radius": -1.0}, "radius must be positive"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnableViews(SIZE, **arguments)


def test_a_radius_too_small_for_the_chart_is_named_while_learning():
    views = LearnableViews(SIZE, [(4, 4)], learn=("radius",), lift="equidistant", chart="gnomonic", radius=30.0)
    with torch.no_grad():
        views.log_radius.sub_(2)
    with pytest.raises(ValueError, match="cannot show the whole slice"):
        views.project(noise(1, 1, *SIZE))
