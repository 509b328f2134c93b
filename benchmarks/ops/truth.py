"""The tensors of a case, and the right results of its op: in float64, at the points of ``spuproj.reference``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spuproj import Views, reference
from spuproj.benchmarks.ops.cases import Case

# Views of their own for all samples of a GPU's batch would take long to prepare: after so many samples they repeat.
_OWN_VIEWS = 4
# Where peers are sent for a point that is not valid, in pixels: beyond the border, so that they fill in zero.
_OUTSIDE = -10.0


@dataclass(frozen=True)
class Problem:
    """A case's inputs.

    Attributes:
        case: what is measured.
        views: the geometry.
        planes: what is sampled: ``[B, C, H, W]`` for project, ``[B, N, C, h, w]`` for unproject and reduce. Of a
            backward op, the tensor that the gradient is taken of.
        gradients: of a backward op, the gradients of the forward op's results.
        y, x: ``[D, N, P, Q]`` float64, the row and the column that each point reads, in pixels; NaN where it is not
            valid. Sample b has the points ``b % D``; D is 1 where all samples share the views.
    """

    case: Case
    views: Views
    planes: Tensor
    gradients: tuple[Tensor, ...]
    y: Tensor
    x: Tensor

    @property
    def valid(self) -> Tensor:
        """``[D, N, P, Q]``: whether the view shows the point."""
        return ~self.y.isnan()

    @property
    def points(self) -> tuple[Tensor, Tensor]:
        """y and x for peers: outside the image where they are not valid."""
        return self.y.nan_to_num(nan=_OUTSIDE), self.x.nan_to_num(nan=_OUTSIDE)

    def first(self, samples: int | None, device: torch.device) -> Problem:
        """The problem of the first samples, or of all for None, with its tensors on a device."""
        case = replace(self.case, batch=min(samples or self.case.batch, self.case.batch))
        planes, *gradients = (tensor[: case.batch].to(device) for tensor in (self.planes, *self.gradients))
        return replace(self, case=case, planes=planes, gradients=tuple(gradients))


def make_problem(case: Case, device: str = "cpu") -> Problem:
    """The inputs of a case on a device: noise, the same at every call."""
    generator, dtype = torch.Generator(device).manual_seed(0), case.torch_dtype

    def noise(shape: tuple[int, ...]) -> Tensor:
        if dtype.is_floating_point:
            return torch.empty(shape, device=device).normal_(generator=generator).to(dtype)
        return torch.randint(-1000, 1000, shape, dtype=dtype, device=device, generator=generator)

    views, project = make_views(case), case.forward_op == "project"
    points = reference.slice_coordinates if project else reference.view_coordinates
    tables = views.geometry.reshape(-1, case.views, views.geometry.shape[-1])[:_OWN_VIEWS].numpy()
    y, x = torch.from_numpy(np.stack([points(table, case.size, case.size) for table in tables], axis=1))
    planes = noise(case.image_shape if project else case.stack_shape)
    shapes = [case.image_shape] * 2 if case.forward_op == "reduce" else [case.stack_shape]
    gradients = tuple(map(noise, shapes)) if case.backward else ()
    return Problem(case, views.to(device), planes, gradients, y, x)


def make_views(case: Case) -> Views:
    """The case's views, their centres on a grid; per sample, each centre is moved at random within its cell."""
    rows = math.isqrt(case.views)
    height, width = case.size
    if case.geometry == "magnified":
        middle = (0.25 * (height - 1), 0.25 * (width - 1), 0.75 * (height - 1), 0.75 * (width - 1))
        return Views.spherical(case.size, grid=(rows, rows), box=middle, magnification=3.0)
    if not case.per_sample:
        return Views.spherical(case.size, grid=(rows, rows))
    cells = torch.cartesian_prod(torch.arange(rows), torch.arange(rows)).expand(_OWN_VIEWS, -1, -1)
    moved = cells + torch.rand(cells.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centers = moved / rows * torch.tensor([height - 1, width - 1], dtype=torch.float64)
    return Views.spherical(case.size, centers=centers[torch.arange(case.batch) % _OWN_VIEWS])


@dataclass(frozen=True)
class Truth:
    """The right results of some samples of a problem: float64 tensors ``[len(samples), ...]``."""

    problem: Problem
    samples: list[int]
    results: tuple[Tensor, ...]


def make_truth(problem: Problem) -> Truth:
    """The right results of a problem's op on the first two samples, the middle and the last."""
    batch = problem.case.batch
    samples = sorted({0, min(1, batch - 1), batch // 2, batch - 1})
    results = zip(*(_right(problem, sample) for sample in samples), strict=True)
    return Truth(problem, samples, tuple(map(torch.stack, results)))


def _right(problem: Problem, sample: int) -> Sequence[Tensor]:
    """The op's results on one sample; gradients are autograd's."""
    case = problem.case
    y, x = (axis[sample % len(axis)] for axis in (problem.y, problem.x))
    planes = _float64(problem.planes[sample]).requires_grad_(case.backward)
    results: Sequence[Tensor] = [_read(planes.expand(case.stack_shape[1:]), y, x, case.interpolation)]
    if case.forward_op == "reduce":
        results = _moments(results[0], ~y.isnan()[:, None])
    if not case.backward:
        return results
    gradients = [_float64(gradient[sample]) for gradient in problem.gradients]
    return torch.autograd.grad(results[: len(gradients)], planes, gradients)


def _read(planes: Tensor, y: Tensor, x: Tensor, interpolation: str) -> Tensor:
    """``[N, C, P, Q]``: planes ``[N, C, H, W]`` at points ``[N, P, Q]``, zero where those are NaN."""
    (height, width), valid = planes.shape[-2:], ~y.isnan()
    row, column = y.nan_to_num(), x.nan_to_num()
    if interpolation == "nearest":
        row, column = (row + 0.5).floor(), (column + 0.5).floor()
    top, left = row.floor(), column.floor()
    flat = planes.flatten(2)
    total = torch.zeros(*planes.shape[:2], *y.shape[1:], dtype=torch.float64)
    for i, weight_y in ((0, 1 - (row - top)), (1, row - top)):
        for j, weight_x in ((0, 1 - (column - left)), (1, column - left)):
            # Beyond the last row or column the weight is zero.
            pixel = (top + i).clamp(0, height - 1) * width + (left + j).clamp(0, width - 1)
            found = flat.gather(2, pixel.long().flatten(1)[:, None].expand(-1, flat.shape[1], -1)).view_as(total)
            total = total + (weight_y * weight_x * valid)[:, None] * found
    return total


def _moments(slices: Tensor, valid: Tensor) -> list[Tensor]:
    """Mean, population variance and count ``[C, H, W]`` over the valid views of ``[N, C, H, W]``."""
    count = valid.expand_as(slices).sum(0).double()
    divisor = count.clamp(min=1)
    mean = slices.sum(0) / divisor
    return [mean, ((slices - mean) ** 2 * valid).sum(0) / divisor, count]


def _float64(values: Any) -> Tensor:
    return torch.as_tensor(values).to("cpu", torch.float64)


def difference(results: Sequence[Any], truth: Truth, near: float, samples: float = math.inf) -> float:
    """The largest difference of the op's results, over the largest right value of each.

    Args:
        results: tensors or arrays ``[B, ...]``, or ``[1, ...]`` where they are the same for all samples.
        truth: the right results.
        near: nearest neighbours are not compared where a point lies within so many pixels of half way between two.
        samples: how many of the batch the results hold.
    """
    problem, worst = truth.problem, 0.0
    by_row, by_column = (~((axis % 1 - 0.5).abs() <= near) for axis in (problem.y, problem.x))
    compared = by_row & by_column
    for result, right in zip(results, truth.results, strict=True):
        for sample, expected in zip(truth.samples, right, strict=True):
            if sample < samples:
                gap = (_float64(result[sample % len(result)]) - expected).abs() / right.abs().max().clamp(min=1e-300)
                if problem.case.interpolation == "nearest":
                    gap = gap.where(compared[sample % len(compared)][:, None], 0)
                worst = max(worst, gap.nan_to_num(nan=math.inf).max().item())
    return worst
