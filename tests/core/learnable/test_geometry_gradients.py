"""Gradients with respect to the geometry: against finite differences of the reference, and at grid points."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from helpers import LINEAR, PAIRS, noise, parts, random_geometry, source_shape, target_size
from spuproj import PROFILES, LearnableViews, Views, functional, reference

SIZE, VIEW_SIZE = (6, 7), (7, 5)
MOVING = 6
"""Columns of a table that finite differences move: tangent, radius, scale, pole."""


def table_of(lift: str = "gnomonic", chart: str = "equidistant", views: int = 2) -> torch.Tensor:
    return random_geometry(5, SIZE, VIEW_SIZE, lift, chart, views=views).table()


def learnable(lift: str = "gnomonic", chart: str = "equidistant", **placement) -> LearnableViews:
    learn = [name for name in ("centers", "radius", "magnification", "angle") if name not in placement.pop("keep", ())]
    centers = [(1.83, 2.61), (3.37, 4.29)]
    options = {"radius": 7.3, "view_size": VIEW_SIZE, **placement}
    return LearnableViews(SIZE, centers, learn=learn, lift=lift, chart=chart, **options)


def slopes_of_the_reference(name, tensor, table, wanted, pulls):
    """Central differences of the sum of all results times ``pulls``, for the columns that move."""

    def pulled(moved):
        results = getattr(reference, name)(tensor.numpy(), moved, wanted)
        found = [torch.from_numpy(result) for result in (results if isinstance(results, tuple) else (results,))]
        return float(sum((result * pull).sum() for result, pull in zip(found, pulls, strict=False)))

    slopes, step = torch.zeros(len(table), MOVING, dtype=torch.float64), 1e-6
    for view, column in np.ndindex(*slopes.shape):
        ends = []
        for side in (step, -step):
            moved = table.numpy().copy()
            moved[view, column] += side
            ends.append(pulled(moved))
        slopes[view, column] = (ends[0] - ends[1]) / (2 * step)
    return slopes


@pytest.mark.parametrize(("lift", "chart"), PAIRS)
def test_gradients_equal_finite_differences_of_the_reference(lift, chart):
    table = table_of(lift, chart)
    for name in (*LINEAR, "unproject_reduce"):
        tensor = noise(*source_shape(name, 2, SIZE, VIEW_SIZE, channels=2), dtype=torch.float64)
        wanted, leaf = target_size(name, SIZE, VIEW_SIZE), table.clone().requires_grad_()
        results = parts(getattr(functional, name)(tensor, leaf, wanted))[:2]
        pulls = [noise(*result.shape, seed=seed, dtype=torch.float64) for seed, result in enumerate(results, 7)]
        torch.autograd.backward(results, pulls)
        expected = slopes_of_the_reference(name, tensor, table, wanted, pulls)
        assert expected.abs().max() > 0.01
        assert_close(leaf.grad[:, :MOVING], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("lift", "chart", "pose"), [(*pair, ("tangent", "turned")[n % 2]) for n, pair in enumerate(PAIRS)]
)
def test_learned_parameters_pass_gradient_checks(lift, chart, pose):
    views = learnable(lift, chart, pose=pose, magnification=1.1)
    image, stack = noise(1, 2, *SIZE, dtype=torch.float64), noise(1, 2, 2, *VIEW_SIZE, dtype=torch.float64)
    parameters = tuple(views.parameters())
    for run in (
        lambda *_: views.project(image),
        lambda *_: views.project(image, padding="border"),
        lambda *_: views.unproject(stack),
        lambda *_: views.reduce(stack)[:2],
    ):
        assert gradcheck(run, parameters, fast_mode=True)


# Half of all combinations, with all that any three of the options have.
@pytest.mark.parametrize(
    ("centered", "chart", "pose", "lift"),
    [
        options
        for options in product([True, False], ["equidistant", "equal_area"], ["tangent", "turned"], PROFILES)
        if (options[0] + (options[1] == "equidistant") + (options[2] == "turned") + list(PROFILES).index(options[3]))
        % 2
    ],
)
def test_the_gradient_of_the_fit_is_part_of_that_of_centres_radius_and_angle(lift, pose, chart, centered):
    views = learnable(lift, chart, pose=pose, centered=centered, radius=4.6, keep=["magnification"])
    parameters = tuple(parameter for parameter in views.parameters() if parameter.requires_grad)
    assert gradcheck(lambda *_: views.with_gradient().geometry, parameters)


def test_second_derivatives_are_right():
    table = table_of(views=3)
    image, stack = noise(1, 1, *SIZE, dtype=torch.float64), noise(1, 3, 1, *VIEW_SIZE, dtype=torch.float64)
    columns = table[:, :MOVING].clone().requires_grad_()

    def moved(columns):
        return torch.cat([columns, table[:, MOVING:]], dim=1)

    for run, source in (
        (lambda source, columns: functional.project(source, moved(columns), VIEW_SIZE), image),
        (lambda source, columns: functional.unproject_reduce(source, moved(columns), SIZE)[:2], stack),
    ):
        assert gradgradcheck(run, (source.requires_grad_(), columns), fast_mode=True)


def test_weights_of_the_views_scale_their_share_of_the_gradient():
    views, stack = learnable(magnification=1.1), noise(1, 2, 1, *VIEW_SIZE, dtype=torch.float64)
    weights = noise(2, *SIZE, dtype=torch.float64).sigmoid()
    weights[0, :3] = 0
    assert gradcheck(lambda *_: views.reduce(stack, weights=weights)[:2], tuple(views.parameters()), fast_mode=True)
    border = views.with_gradient().border_weights(2)
    assert not border.requires_grad
    assert torch.equal(border, views.views().border_weights(2))


@pytest.mark.parametrize("off", [0.0, 1e-9, -1e-9], ids=["at it", "off by a rounding", "off by another"])
def test_at_a_grid_point_the_slope_is_that_towards_the_next_pixel(off):
    """Roundings depend on the version of torch; at a border they may lie outside, where coordinates are clamped."""
    table = Views.rigid(SIZE).geometry
    table[..., 0:2] += off
    table.requires_grad_()
    # A ramp has the same slope on both sides of a pixel.
    ramps = torch.arange(SIZE[0], dtype=torch.float64)[:, None] * 3 + torch.arange(SIZE[1], dtype=torch.float64) * 5
    image = (noise(1, 1, *SIZE, dtype=torch.float64) if off == 0 else ramps[None, None]).contiguous()
    forward = functional.project(image, table, SIZE)[0, 0, 0]
    assert_close(forward, image[0, 0], rtol=0, atol=1e-7)
    for axis in (0, 1):
        slope = image[0, 0].diff(dim=axis)
        last = slope.narrow(axis, slope.shape[axis] - 1, 1)  # the last row and column have a pixel before them alone
        expected = torch.cat([slope, last], dim=axis)
        for pixel in np.ndindex(*SIZE):
            (grad,) = torch.autograd.grad(forward[pixel], table, retain_graph=True)
            assert_close(grad[0, axis], expected[pixel], rtol=1e-12, atol=1e-12)


def test_nearest_interpolation_gives_no_gradient_to_the_geometry():
    table, image = table_of().requires_grad_(), noise(1, 1, *SIZE).requires_grad_()
    functional.project(image, table, VIEW_SIZE, interpolation="nearest").sum().backward()
    assert table.grad is None
    assert image.grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gradients_of_lower_precision_are_close_to_those_of_float64(dtype):
    image = noise(2, 3, *SIZE).to(dtype)

    def gradient(image):
        table = table_of().requires_grad_()
        functional.project(image, table, VIEW_SIZE).square().sum().backward()
        return table.grad

    assert_close(gradient(image), gradient(image.double()), rtol=0, atol=torch.finfo(dtype).eps * 1000)


def test_values_that_are_not_numbers_do_not_matter_where_nothing_pulls():
    image, table = noise(1, 1, *SIZE), Views.rigid(SIZE, degrees=[20]).geometry.requires_grad_()
    image[..., 0, :] = torch.nan
    functional.project(image, table, SIZE)[..., 3:5, 2:5].sum().backward()
    assert torch.isfinite(table.grad).all()


def test_views_of_each_sample_have_gradients_of_their_own():
    tables = torch.stack([table_of(), random_geometry(8, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=2).table()])
    image, leaf = noise(2, 2, *SIZE, dtype=torch.float64), tables.clone().requires_grad_()
    functional.project(image, leaf, VIEW_SIZE).square().sum().backward()
    for sample, table in enumerate(tables):
        alone = table.clone().requires_grad_()
        functional.project(image[sample : sample + 1], alone, VIEW_SIZE).square().sum().backward()
        assert_close(leaf.grad[sample], alone.grad, rtol=1e-12, atol=1e-12)
