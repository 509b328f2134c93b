"""Sizes and batches that an exported or compiled program leaves open."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import noise
from spuproj import Views, functional

VIEWS = Views.spherical((12, 10), grid=(2, 2))


class Back(nn.Module):
    """Brings views back to the size of another image."""

    geometry: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("geometry", VIEWS.geometry)

    def forward(self, stack: Tensor, like: Tensor) -> Tensor:
        return functional.unproject(stack, self.geometry, like.shape[-2:])


@pytest.mark.parametrize("strict", [True, False])
def test_a_program_is_exported_for_slices_of_any_size(strict):
    stack = noise(1, 4, 2, 12, 10)
    open_sizes = {2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=4)}
    program = torch.export.export(
        Back(), (stack, noise(1, 1, 16, 17)), dynamic_shapes=({}, open_sizes), strict=strict
    ).module()
    for size in ((16, 17), (20, 9)):
        assert torch.equal(program(stack, noise(1, 1, *size)), functional.unproject(stack, VIEWS.geometry, size))


class Chosen(nn.Module):
    """Reduces the samples of a batch that a mask chooses."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.views, self.options = VIEWS, options

    def forward(self, stack: Tensor, mask: Tensor) -> Tensor:
        moments: tuple[Tensor, Tensor, Tensor] = self.views.reduce(stack[mask], **self.options)
        return moments[1]


@pytest.mark.parametrize("options", [{}, {"min_count": 2, "fill": float("nan")}])
def test_a_number_of_samples_that_the_data_decide_is_exported(options):
    stack, mask = noise(5, 4, 1, 12, 10), torch.tensor([True, False, True, True, False])
    program = torch.export.export(Chosen(**options), (stack, mask)).module()
    for kept in (mask, ~mask):
        found, wanted = program(stack, kept), Chosen(**options)(stack, kept)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("size", [b"ab", "12", {3, 4}, {3: 4, 5: 6}, (2**63, 3.0), (True, 3), (3,), ("3", "4"), 3])
def test_what_are_no_two_numbers_is_no_size(size):
    with pytest.raises(ValueError, match="size must be two positive whole numbers"):
        Views.rigid(size)


def test_a_size_without_numbers_is_no_size():
    with pytest.raises(ValueError, match="size must be two positive whole numbers"):
        Views.rigid(torch.empty(2, device="meta"))  # type: ignore[arg-type]
