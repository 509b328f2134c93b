"""Tensors beyond the processor's caches, and of more than 2^31 elements."""

import numpy as np
import pytest
import torch

from helpers import noise
from spuproj import Views, functional


def test_large_results_are_streamed_and_the_same():
    """Results larger than the caches are written with streaming stores."""
    views = Views.spherical((64, 64), grid=(3, 3), view_size=(128, 128))
    image = noise(64, 1, 64, 64)
    stack = views.project(image)
    assert stack.nbytes > 2**25
    few = views.project(image[:3])
    assert torch.equal(stack[:3], few)
    assert torch.equal(views.unproject(stack)[:3], views.unproject(few))
    np.testing.assert_array_equal(stack[63], views.project(image[63:])[0])


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
