"""Gradients with respect to the geometry, and to what ``LearnableViews`` learns, equal derivatives with 60 digits.

Gradients with respect to images and stacks are other ops, whose errors ``test_error_table.py`` bounds.
"""

from functools import partial, reduce

import numpy as np
import pytest
import torch
from mpmath import atan, cos, exp, mpf, sin

from helpers import LINEAR, PAIRS, READS, noise, parts, random_geometry, source_shape, target_size
from numerics.precise import corners, derivative, lands, row_of
from spuproj import LearnableViews, functional

SIZE, VIEW_SIZE = (6, 5), (4, 6)
COLUMNS = (0, 1, 2, 3, 4, 5, *range(8, 19))
"""All but the profiles' codes."""
# As in every sum in float64, of some hundred roundings, each relative to the size of what is added.
ROUNDINGS = 400 * 2.0**-53

FEW = [("gnomonic", "equidistant")]
each_pair = pytest.mark.parametrize(
    ("lift", "chart"),
    [pytest.param(*pair, marks=[] if pair in FEW else pytest.mark.slow, id="-".join(pair)) for pair in PAIRS],
)


class Read:
    """Which pixels the points of one view read, with weights that are functions of its row of the table."""

    def __init__(self, row, size, source, *, inverse):
        self.row, self.source, self.inverse = row, source, inverse
        self.cells = {}
        for point in np.ndindex(size):
            y, x = lands(row, *map(mpf, point), inverse=inverse)
            if 0 <= y <= source[0] - 1 and 0 <= x <= source[1] - 1:
                self.cells[point] = int(y), int(x)

    def weights(self, row):
        """Weights of the corners, by point."""
        return {
            point: corners(*lands(row, *map(mpf, point), inverse=self.inverse), at) for point, at in self.cells.items()
        }


def composed(*functions):
    """The first function of the second of the third and so on."""
    return reduce(lambda outer, inner: lambda value: outer(inner(value)), functions)


def moved(row, column, value):
    return [value if n == column else number for n, number in enumerate(row)]


def values(weights, planes):
    """What each channel of ``[B, C, ., .]`` planes gives at every point: lists by point."""
    flat = planes.flatten(0, 1).tolist()
    return {
        point: [sum(weight * plane[i][j] for (i, j), weight in each.items() if weight) for plane in flat]
        for point, each in weights.items()
    }


def per_point(op, tensor, pulls, view):
    """Functions of the weights of one view: what each point adds to the sum of the results times ``pulls``."""
    if op == "project":
        source, pull = tensor, pulls[0][:, view]
    elif op == "unproject":
        source, pull = tensor[:, view], pulls[0][:, view]
    elif op == "project_adjoint":
        source, pull = pulls[0], tensor[:, view]
    else:
        source, pull = pulls[0][:, view], tensor[:, view]
    pull = pull.flatten(0, 1)
    return lambda weights: [
        sum(value * float(pull[c, i, j]) for c, value in enumerate(each))
        for (i, j), each in values(weights, source).items()
    ]


def moments_per_point(tensor, pulls, reads, view):
    """The same for the mean and the variance, to which the other views contribute what they do not move."""
    fixed = {n: values(read.weights(read.row), tensor[:, n]) for n, read in enumerate(reads) if n != view}
    grads = [pull.flatten(0, 1) for pull in pulls]

    def added(weights):
        totals = []
        for (i, j), own in values(weights, tensor[:, view]).items():
            total = mpf(0)
            for c, value in enumerate(own):
                seen = [value, *(each[i, j][c] for each in fixed.values() if (i, j) in each)]
                mean = sum(seen) / len(seen)
                variance = sum((each - mean) ** 2 for each in seen) / len(seen)
                total += mean * float(grads[0][c, i, j]) + variance * float(grads[1][c, i, j])
            totals.append(total)
        return totals

    return added


@each_pair
def test_gradients_of_every_op_equal_derivatives_with_60_digits(lift, chart):
    table = random_geometry(3, SIZE, VIEW_SIZE, lift, chart, views=2, tilt=0.3).table()
    table[:, 2] *= 2  # no rim in sight: there a coordinate has half the digits
    table[:, 3] *= 2
    for op in READS:
        tensor = noise(*source_shape(op, 2, SIZE, VIEW_SIZE, 1, 2), dtype=torch.float64)
        wanted, leaf = target_size(op, SIZE, VIEW_SIZE), table.clone().requires_grad_()
        results = parts(getattr(functional, op)(tensor, leaf, wanted))[:2]
        pulls = [noise(*result.shape, seed=seed, dtype=torch.float64) for seed, result in enumerate(results, 7)]
        torch.autograd.backward(results, pulls)
        inverse = op.startswith("project")
        sizes = (VIEW_SIZE, SIZE) if inverse else (SIZE, VIEW_SIZE)
        reads = [Read(row_of(row), *sizes, inverse=inverse) for row in table]
        for view, read in enumerate(reads):
            assert read.cells
            linear = op in LINEAR
            added = per_point(op, tensor, pulls, view) if linear else moments_per_point(tensor, pulls, reads, view)
            for column in COLUMNS:
                at = partial(moved, read.row, column)
                shares = derivative(composed(added, read.weights, at), read.row[column])
                error = abs(leaf.grad[view, column].item() - sum(shares))
                assert error <= ROUNDINGS * (sum(map(abs, shares)) + 1), (op, view, column)


def placed(parameters, magnification):
    """The row of the table of a learned view of a slice of SIZE, gnomonic to equidistant, and its scale."""
    logit_y, logit_x, log_radius, log_magnification, angle = parameters
    center = [(n - 1) / (1 + exp(-logit)) for n, logit in zip(SIZE, (logit_y, logit_x), strict=True)]
    radius = exp(log_radius)
    if magnification is None:
        # Along an edge, atan(r / R) / r is largest at the edge's nearest point, so that is what fits the view last.
        farthest = [max(at, n - 1 - at) for n, at in zip(SIZE, center, strict=True)]
        scale = min(mpf(n - 1) / 2 / atan(far / radius) for n, far in zip(VIEW_SIZE, farthest, strict=True))
    else:
        scale = radius * exp(log_magnification)
    pole = [mpf(n - 1) / 2 for n in VIEW_SIZE]
    turn = [cos(angle), -sin(angle), 0, sin(angle), cos(angle), 0, 0, 0, 1]
    return [*center, radius, scale, *pole, mpf(0), mpf(2), *map(mpf, turn), mpf(1), mpf(1)]


# The fit finds the farthest points to 2^-19 of an edge.
@pytest.mark.parametrize(("magnification", "tolerance"), [(0.8, ROUNDINGS), (None, 2.0**-19)])
def test_gradients_of_learned_parameters_equal_derivatives_with_60_digits(magnification, tolerance):
    learn = ["centers", "radius", "angle", *([] if magnification is None else ["magnification"])]
    options = {"radius": 4.1, "magnification": magnification, "view_size": VIEW_SIZE}
    views = LearnableViews(SIZE, [(1.9, 2.3)], learn=learn, **options)
    parameters = [views.center_logits, views.log_radius, views.log_magnification, views.angle]
    numbers = row_of(torch.cat([each.detach().flatten() for each in parameters]))
    geometry = views.with_gradient().geometry
    pulls = noise(*geometry.shape, dtype=torch.float64)
    (geometry * pulls).sum().backward()
    found = torch.cat([torch.zeros(each.numel()) if each.grad is None else each.grad.flatten() for each in parameters])

    def shares_of_pulls(numbers):
        return [entry * pull for entry, pull in zip(placed(numbers, magnification), pulls[0].tolist(), strict=True)]

    for n, number in enumerate(numbers):
        shares = derivative(composed(shares_of_pulls, partial(moved, numbers, n)), number)
        assert abs(found[n].item() - sum(shares)) <= tolerance * (sum(map(abs, shares)) + 1)
