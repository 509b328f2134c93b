"""The tensors of a case: what the op reads, the gradients that it is given, and the points that every peer samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuproj import Views, reference
from spuproj.benchmarks.cases import Case

Coordinates = NDArray[np.float64]

OUTSIDE = -10.0
"""Where peers are sent for a point that is not valid, in pixels: beyond the border, so that they fill in zero."""

_MAGNIFICATION = 3.0


@dataclass(frozen=True)
class Problem:
    """A case's inputs.

    Attributes:
        case: what is measured.
        views: the geometry.
        planes: what is sampled: ``[B, C, H, W]`` for project, ``[B, N, C, h, w]`` for unproject and reduce. Of a
            backward op, the tensor that the gradient is taken of.
        gradients: of a backward op, the gradients of the forward op's results.
        y: ``[B or 1, N, P, Q]`` float64, the row that each point reads, in pixels; NaN where it is not valid.
        x: the column, likewise.
    """

    case: Case
    views: Views
    planes: Tensor
    gradients: tuple[Tensor, ...]
    y: Coordinates
    x: Coordinates

    @property
    def valid(self) -> NDArray[np.bool_]:
        """``[B or 1, N, P, Q]``: whether the view shows the point."""
        return ~np.isnan(self.y)


def make_problem(case: Case) -> Problem:
    """The inputs of a case: noise, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    views = make_views(case, generator)
    shape = case.image_shape if case.forward_op == "project" else case.stack_shape
    y, x = _coordinates(case, views)
    return Problem(
        case=case,
        views=views,
        planes=_noise(shape, case, generator),
        gradients=tuple(_noise(shape, case, generator) for shape in _gradient_shapes(case)),
        y=y,
        x=x,
    )


def make_views(case: Case, generator: torch.Generator) -> Views:
    """The case's views, their centres on a grid; per sample, each centre is moved at random within its cell."""
    rows = math.isqrt(case.views)
    height, width = case.size
    if case.geometry == "magnified":
        middle = (0.25 * (height - 1), 0.25 * (width - 1), 0.75 * (height - 1), 0.75 * (width - 1))
        return Views.spherical(case.size, grid=(rows, rows), box=middle, magnification=_MAGNIFICATION)
    if not case.per_sample:
        return Views.spherical(case.size, grid=(rows, rows))
    cells = torch.cartesian_prod(torch.arange(rows), torch.arange(rows)).expand(case.batch, -1, -1)
    places = torch.rand(cells.shape, generator=generator, dtype=torch.float64)
    limits = torch.tensor([height - 1, width - 1], dtype=torch.float64)
    return Views.spherical(case.size, centers=(cells + places) / rows * limits)


def _coordinates(case: Case, views: Views) -> tuple[Coordinates, Coordinates]:
    """Of the reference, in float64."""
    points = reference.slice_coordinates if case.forward_op == "project" else reference.view_coordinates
    tables = views.geometry.reshape(-1, case.views, views.geometry.shape[-1]).numpy()
    pairs = [points(table, case.size, case.size) for table in tables]
    return np.stack([y for y, _ in pairs]), np.stack([x for _, x in pairs])


def _gradient_shapes(case: Case) -> list[tuple[int, ...]]:
    if not case.backward:
        return []
    return [case.image_shape] * 2 if case.forward_op == "reduce" else [case.stack_shape]


def _noise(shape: tuple[int, ...], case: Case, generator: torch.Generator) -> Tensor:
    dtype = case.torch_dtype
    if dtype.is_floating_point:
        return torch.empty(shape).normal_(generator=generator).to(dtype)
    return torch.randint(-1000, 1000, shape, dtype=dtype, generator=generator)


def filled(coordinates: Coordinates) -> Coordinates:
    """Coordinates with ``OUTSIDE`` in place of NaN."""
    return np.nan_to_num(coordinates, nan=OUTSIDE)
