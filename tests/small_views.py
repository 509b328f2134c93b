"""Small views, an image, a stack and the arguments of every function, which several test files share."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import noise, ref
from spuproj import Views

SIZE, VIEW_SIZE = (12, 16), (10, 14)
IMAGE, STACK = noise(2, 3, *SIZE), noise(2, 4, 3, *VIEW_SIZE, seed=1)
METHODS = {"project": IMAGE, "unproject": STACK, "reduce": STACK}
FUNCTIONS = {
    "project": (IMAGE, VIEW_SIZE),
    "project_adjoint": (STACK, SIZE),
    "unproject": (STACK, SIZE),
    "unproject_adjoint": (noise(2, 4, 3, *SIZE), VIEW_SIZE),
    "unproject_reduce": (STACK, SIZE),
}
"""The arguments of every function, beside the geometry."""

each_method = pytest.mark.parametrize("method", METHODS)
each_function = pytest.mark.parametrize("function", FUNCTIONS)


def four_views() -> Views:
    return Views.spherical(SIZE, grid=(2, 2), radius=8.0, magnification=0.7, view_size=VIEW_SIZE, spacing=(1.2, 1.0))


def four_rotations(size: tuple[int, int] = SIZE, view_size: tuple[int, int] = VIEW_SIZE) -> Views:
    """As many views, of another kind."""
    return Views.rigid(size, degrees=[5, 15, 25, 35], view_size=view_size)


def per_sample(batch: int = 2, views: int = 4, seed: int = 0) -> Views:
    """Views that differ from sample to sample."""
    centers = noise(batch, views, 2, seed=seed).sigmoid() * (torch.tensor(SIZE) - 1)
    return Views.spherical(SIZE, centers, magnification=0.7, view_size=VIEW_SIZE)


class NetworkOfViews(nn.Module):
    """A convolution whose result is projected."""

    def __init__(self, views: Views | None = None) -> None:
        super().__init__()
        self.views = four_views() if views is None else views
        self.convolution = nn.Conv2d(3, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stack: torch.Tensor = self.views.project(self.convolution(image))
        return stack


def used(views: Views) -> Views:
    """The views after two calls of every method, so that taps and calls are cached."""
    batch = 1 if views.geometry.dim() == 2 else len(views.geometry)
    for _ in range(2):
        stack = views.project(noise(batch, 2, *views.size))
        views.unproject(stack)
        views.reduce(stack)
    return views


def assert_same_views(first: Views, second: Views) -> None:
    assert torch.equal(first.geometry, second.geometry)
    assert (first.size, first.view_size) == (second.size, second.view_size)


def assert_projects_as_the_reference(views: Views) -> None:
    wanted = ref("project", IMAGE, views.geometry.detach(), views.view_size)
    assert_close(views.project(IMAGE).double(), wanted, rtol=0, atol=1e-5)
