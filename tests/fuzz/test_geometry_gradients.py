"""Fuzzing of the gradient with respect to the geometry: of where the pole lies, in closed form; of the rest, finite.

The last step of a view's map adds the tangent point, or from slice to view the pole, to an offset. So the gradient with
respect to that point is the sum of what pulls at the values times the slope of the image where they are read.
"""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuzz.calls import by_sample, flat, plain, threads
from fuzz.cases import cases
from fuzz.coordinates import landing
from fuzz.profile import fuzzed
from fuzz.readings import inside
from fuzz.tolerance import arithmetic_of
from helpers import noise, target_size


def slope_along(planes, along, across):
    """Differences of neighbouring rows of planes ``[C, A, B]`` at coordinates, the rows blended: ``[C, P]``."""
    steps = np.diff(planes, axis=1)
    if steps.shape[1] == 0:
        return np.zeros((len(planes), len(along)))
    row = np.clip(np.floor(along), 0, steps.shape[1] - 1).astype(int)
    column = np.clip(np.floor(across), 0, planes.shape[2] - 1).astype(int)
    right = np.minimum(column + 1, planes.shape[2] - 1)
    return steps[:, row, column] + (across - column) * (steps[:, row, right] - steps[:, row, column])


def slopes_of(planes, row, points, inverse, border, unit):
    """Slopes along y and x of what every point reads of planes ``[C, A, B]``, and their errors: ``[2, C, P]`` each."""
    at, lengths = landing(row, points, inverse), planes.shape[1:]
    largest = np.abs(planes).max()
    sure, possible = at.certain, at.possible
    for y, error, length in ((at.y, at.error_y, lengths[0]), (at.x, at.error_x, lengths[1])):
        certain, perhaps = inside(y, error, length)
        sure, possible = (sure, possible) if border else (sure & certain, possible & perhaps)
    found = []
    ends = ((at.y, at.error_y), (at.x, at.error_x))
    for axis, ((along, error), (across, other)) in enumerate((ends, ends[::-1])):
        last, wide = lengths[axis] - 1, lengths[1 - axis] - 1
        known, straight = sure & ((along - error > 0) | border), np.clip(np.nan_to_num(across), 0, wide)
        # Without a border, what is read beyond the image lies within the tolerance and has the slope of its edge.
        beyond = border & ((along + error < 0) | (along - error > last))
        known &= beyond | (np.abs(along - np.round(along)) > error)
        slope = slope_along(planes.swapaxes(1, 2) if axis else planes, np.nan_to_num(along).clip(0, last), straight)
        slope = np.where(known & ~beyond, slope, 0)
        loose = np.where(known, np.minimum(4 * other + 12 * unit, 2), 2) * largest * possible
        found.append((slope, np.broadcast_to(np.where(beyond & known, 0, loose), slope.shape)))
    return (np.stack(each) for each in zip(*found, strict=True))


@fuzzed
@given(data=st.data())
def test_gradient_of_where_the_pole_lies(data):
    case, op = data.draw(cases(empty=False)), data.draw(st.sampled_from(("project", "unproject")))
    dtype = data.draw(st.sampled_from((torch.float32, torch.float64)))
    inverse, wanted = op == "unproject", target_size(op, case.size, case.view_size)
    source = noise(*case.shape("stack" if inverse else "image"), seed=data.draw(st.integers(0, 99)), dtype=dtype)
    leaf = case.table.clone().requires_grad_()
    options = ("bilinear",) if inverse else ("bilinear", case.padding)
    with threads(case.threads):
        result = getattr(torch.ops.spuproj, op)(source, leaf, wanted, *options)
        pulls = noise(*result.shape, seed=1, dtype=dtype)
        (grad,) = torch.autograd.grad(result, leaf, pulls)
    assert torch.isfinite(grad).all()
    unit, weight = arithmetic_of(dtype).both, flat(plain(pulls))
    planes = plain(source if inverse else source.unsqueeze(1).expand(-1, case.views, -1, -1, -1))
    columns = slice(4, 6) if inverse else slice(0, 2)
    for n in range(case.views):
        exact, error = (np.zeros((case.batch, 2)) for _ in range(2))
        for b in range(case.batch):
            row = by_sample(case.tables, b)[n]
            border = not inverse and case.padding == "border"
            slope, loose = slopes_of(planes[b, n], row, wanted, inverse, border, unit)
            pull, size = weight[b, n], np.abs(weight[b, n])
            exact[b] = (pull * slope).sum(axis=(1, 2))
            error[b] = (size * loose).sum(axis=(1, 2)) + size.size * unit * (size * np.abs(slope)).sum(axis=(1, 2))
        if case.table.dim() == 2:
            exact, error = exact.sum(axis=0, keepdims=True), error.sum(axis=0, keepdims=True)
        got = grad.reshape(-1, case.views, 19)[:, n, columns].numpy()
        assert (np.abs(got - exact) <= error * (1 + 1e-6) + 1e-300).all(), (op, n, got, exact, error)
