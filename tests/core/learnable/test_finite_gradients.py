"""Gradients of coordinates are right at poles and beside the ends of domains, and never NaN."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from helpers import PAIRS, noise, random_geometry
from spuproj import PROFILES, Geometry, LearnableViews, geometry

SIZE, VIEW_SIZE = (6, 7), (7, 5)


def moved(g: Geometry, tangent, radius, scale, pole, turn) -> Geometry:
    """Other views: also rotated by small angles ``turn`` about the three axes."""
    x, y, z = turn.unbind()
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).unflatten(0, (3, 3))
    return replace(
        g, tangent=tangent, radius=radius, scale=scale, pole=pole, rotation=torch.matrix_exp(skew) @ g.rotation
    )


def coordinates(to, g, at, shown, *given):
    return [part[shown] for part in to(moved(g, *given), *at)]


@pytest.mark.parametrize(("lift", "chart", "rotated"), [(*pair, n % 2 == 1) for n, pair in enumerate(PAIRS)])
def test_coordinates_pass_gradient_checks_at_the_pole_beside_it_and_beside_the_rim(lift, chart, rotated):
    g = random_geometry(2, SIZE, VIEW_SIZE, lift, chart)
    if not rotated:
        g = replace(g, rotation=torch.eye(3, dtype=torch.float64)[None])
    inputs = [each.clone().requires_grad_() for each in (g.tangent, g.radius, g.scale, g.pole)]
    inputs.append(torch.zeros(3, dtype=torch.float64, requires_grad=True))
    for to, origin, profile, size in (
        (geometry.to_view, g.tangent[0], PROFILES[lift], g.radius[0]),
        (geometry.to_slice, g.pole[0], PROFILES[chart], g.scale[0]),
    ):
        rim = size * min(profile.radius_limit, math.pi)
        distances = torch.stack([0 * rim, 0 * rim + 1e-9, 0.3 * rim, 0.97 * rim])
        at = [(origin[axis] + distances * part)[None, :] for axis, part in enumerate((0.6, -0.8))]
        shown = ~torch.isnan(to(g, *at)[0])
        assert shown[0, 0, 0] or rotated
        run = partial(coordinates, to, g, at, shown)
        assert gradcheck(run, inputs, atol=1e-4)


def finite(views: LearnableViews) -> None:
    image, stack = noise(1, 1, *SIZE), noise(1, len(views), 1, *VIEW_SIZE)
    now = views.with_gradient()
    results = [now.project(image), now.project(image, padding="border"), now.unproject(stack), *now.reduce(stack)[:2]]
    results += [torch.where(torch.isnan(part), 0, part) for part in (*now.slice_coordinates(), *now.view_coordinates())]
    for result in results:
        parameters = [parameter for parameter in views.parameters() if parameter.requires_grad]
        grads = torch.autograd.grad(result.sum(), [now.geometry, *parameters], retain_graph=True)
        assert all(torch.isfinite(grad).all() for grad in grads)


def places(n: int) -> st.SearchStrategy[float]:
    special = [0.0, 5e-324, 1e-12, 1.0, 2.0 - 1e-15, (n - 1) / 2, n - 1.0]
    return st.sampled_from(special) | st.floats(0, n - 1)


EXTREMES = {
    "centers": st.lists(st.tuples(places(SIZE[0]), places(SIZE[1])), min_size=1, max_size=2),
    "radius": st.sampled_from([1e-6, 1.0, 2.0, 3.0, 1e3, 1e9]) | st.floats(1e-6, 1e9),
    "lift": st.sampled_from(list(PROFILES)),
    "pose": st.sampled_from(["tangent", "turned"]),
}


@given(chart=st.sampled_from(list(PROFILES)), factor=st.sampled_from([1e-6, 0.5, 1.0, 2.0, 1e6]), **EXTREMES)
def test_gradients_are_finite_for_every_magnification(centers, radius, lift, chart, pose, factor):
    with contextlib.suppress(ValueError):  # a small sphere does not reach the centres of turned views
        options = {"lift": lift, "chart": chart, "pose": pose, "magnification": factor, "radius": radius}
        learn = ("centers", "radius", "magnification", "angle")
        finite(LearnableViews(SIZE, centers, learn=learn, view_size=VIEW_SIZE, **options))


@given(chart=st.sampled_from(["equidistant", "equal_area"]), centered=st.booleans(), **EXTREMES)
def test_gradients_are_finite_for_every_fit(centers, radius, lift, chart, pose, centered):
    with contextlib.suppress(ValueError):
        options = {"lift": lift, "chart": chart, "pose": pose, "radius": radius, "centered": centered}
        finite(LearnableViews(SIZE, centers, learn=("centers", "radius", "angle"), view_size=VIEW_SIZE, **options))
