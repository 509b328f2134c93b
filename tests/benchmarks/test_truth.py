"""What results are compared with is the reference, and a wrong result is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import noise
from spuproj import reference
from spuproj.benchmarks.ops.cases import SMALL
from spuproj.benchmarks.ops.contenders import contenders, moments
from spuproj.benchmarks.ops.truth import difference, make_problem, make_truth
from spuproj.benchmarks.timing import checked

LITTLE = replace(SMALL, batch=2, channels=3, size=(11, 9), peers=())


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("op", ["project", "unproject", "reduce"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_the_truth_of_a_forward_op_is_the_reference(op, interpolation, per_sample):
    problem = make_problem(replace(LITTLE, op=op, interpolation=interpolation, per_sample=per_sample))
    function = {"reduce": "unproject_reduce"}.get(op, op)
    for sample in range(LITTLE.batch):
        table = problem.views.geometry[sample] if per_sample else problem.views.geometry
        right = getattr(reference, function)(
            problem.planes[sample : sample + 1].double().numpy(), table.numpy(), LITTLE.size, interpolation
        )
        for part, expected in zip(make_truth(problem).results, right if op == "reduce" else [right], strict=True):
            np.testing.assert_allclose(part[sample], expected[0], atol=1e-12)


@pytest.mark.parametrize("op", ["project", "unproject"])
def test_the_truth_of_a_backward_op_is_the_references_adjoint(op):
    problem = make_problem(replace(LITTLE, op=f"{op} backward"))
    (gradient,) = problem.gradients
    right = getattr(reference, f"{op}_adjoint")(gradient.double().numpy(), problem.views.geometry.numpy(), LITTLE.size)
    np.testing.assert_allclose(make_truth(problem).results[0], right, atol=1e-12)


def test_the_truth_of_the_gradient_of_reduce_is_the_slope_of_the_reference():
    problem = make_problem(replace(LITTLE, op="reduce backward"))
    planes, table = problem.planes.double().numpy(), problem.views.geometry.numpy()
    step = 1e-6 * noise(*problem.planes.shape, seed=1, dtype=torch.float64).numpy()

    def weighted(stack: np.ndarray) -> float:
        mean, variance, _ = reference.unproject_reduce(stack, table, LITTLE.size)
        return sum(
            (part * gradient.numpy()).sum() for part, gradient in zip((mean, variance), problem.gradients, strict=True)
        )

    slope = (weighted(planes + step) - weighted(planes - step)) / 2
    assert (make_truth(problem).results[0].numpy() * step).sum() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(("batch", "samples"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3]), (155, [0, 1, 77, 154])])
def test_the_first_two_samples_the_middle_and_the_last_are_compared(batch, samples):
    assert make_truth(make_problem(replace(LITTLE, batch=batch))).samples == samples


@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_peers_mean_and_variance_are_the_references(as_tensor):
    problem = make_problem(replace(LITTLE, op="reduce", geometry="magnified"))
    assert 0 < problem.valid.double().mean() < 1
    stack, table = problem.planes.double().numpy(), problem.views.geometry.numpy()
    slices, valid = reference.unproject(stack, table, LITTLE.size), problem.valid[:, :, None].double()
    given = (torch.from_numpy(slices), valid) if as_tensor else (slices, valid.numpy())
    for found, right in zip(moments(*given), reference.unproject_reduce(stack, table, LITTLE.size), strict=True):
        np.testing.assert_allclose(np.broadcast_to(found, right.shape), right, atol=1e-12)


@pytest.mark.parametrize("wrong", [1e-3, float("nan"), float("inf")])
def test_one_wrong_value_is_seen(wrong):
    problem = make_problem(LITTLE)
    truth = make_truth(problem)
    result = truth.results[0].clone()
    assert difference([result], truth, 0) == 0
    result[1, 2, 0, 5, 5] += wrong
    assert difference([result], truth, 0) >= 1e-4
    assert difference([result], truth, 0, samples=1) == 0
    entry = replace(contenders(problem)[0], call=lambda: result, results=lambda stack: (stack,))
    with pytest.raises(
        RuntimeError, match=r"spuproj \(new tensor\) must agree with the reference to .* on project, B=2"
    ):
        checked(entry, truth)


def test_a_neighbour_may_be_either_only_where_a_point_lies_half_way():
    truth = make_truth(make_problem(replace(LITTLE, interpolation="nearest")))
    distance = np.minimum(*(np.abs(axis[0].numpy() % 1 - 0.5) for axis in (truth.problem.y, truth.problem.x)))
    nearest = np.nanmin(distance[distance > 0])
    n, row, column = np.argwhere(distance == nearest)[0]
    result = truth.results[0].clone()
    result[0, n, 0, row, column] += 1
    assert difference([result], truth, nearest) == 0
    assert difference([result], truth, nearest / 2) > 0


def test_views_of_samples_differ_and_magnified_views_have_no_empty_parts():
    own = make_problem(replace(LITTLE, per_sample=True))
    assert own.y.shape[0] == LITTLE.batch
    assert not torch.allclose(own.y[0], own.y[1], equal_nan=True)
    cases = (replace(LITTLE, geometry="magnified"), LITTLE)
    magnified, usual = (make_problem(case).valid.double().mean() for case in cases)
    assert magnified > 0.95 > usual


def test_views_of_samples_repeat_after_four_of_them():
    problem = make_problem(replace(LITTLE, batch=9, per_sample=True))
    table = problem.views.geometry
    assert problem.y.shape[0] == 4
    assert torch.equal(table[4:8], table[:4])
    assert torch.equal(table[8], table[0])
    assert not torch.equal(table[0], table[1])
    assert problem.planes.unique(dim=0).shape[0] == 9
