"""Offsets beyond 2^31 elements."""

import pytest
import torch

from spuproj import Views, functional


@pytest.mark.slow
def test_a_stack_of_more_than_two_to_the_31_elements_is_right_to_its_end():
    views = Views.zoom((240, 240), [(100.0, 130.0)], factor=1.5)
    image = torch.randint(0, 255, (1, 520, 240, 240), dtype=torch.uint8)
    expected = views.project(image, interpolation="nearest")[:, 0]
    table = views.geometry.expand(75, -1)
    stack = functional.project(image, table, interpolation="nearest")
    assert stack.numel() > 2**31
    assert torch.equal(stack[:, 0], expected)
    assert torch.equal(stack[:, -1], expected)
