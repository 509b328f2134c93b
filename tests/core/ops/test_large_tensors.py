"""Results that are written past the caches, and tensors of more than 2^31 elements."""

import pytest
import torch

from helpers import noise, random_geometry
from spuproj import Views, functional

STREAMED = 2**20
"""Bytes from which on results are written with streaming stores, past the caches."""

VIEWS = 25
SIZES = pytest.mark.parametrize(
    "size",
    [(96, 128), (160, 72), (93, 129)],
    ids=["rows of whole cache lines", "planes of whole cache lines", "planes of parts of lines"],
)


def geometry_of(size, views):
    return random_geometry(3, size, size, "gnomonic", "equidistant", views).table()


@SIZES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("batch", "channels"), [(1, 2), (1, 3), (1, 4), (3, 2), (1, 10), (2, 5)])
def test_large_results_are_those_of_each_view_alone(size, dtype, batch, channels):
    table = geometry_of(size, VIEWS)
    image, stack = noise(batch, channels, *size, dtype=dtype), noise(batch, VIEWS, channels, *size, dtype=dtype)
    ops = {
        "project": lambda views: functional.project(image, table[views], size, fill=0.5),
        "channels last": lambda views: functional.project(image, table[views], memory_format=torch.channels_last),
        "unproject": lambda views: functional.unproject(stack[:, views], table[views], size),
        "unproject_adjoint": lambda views: functional.unproject_adjoint(stack[:, views], table[views], size),
    }
    for name, op in ops.items():
        together, alone = op(slice(VIEWS)), [op(slice(n, n + 1)) for n in range(VIEWS)]
        assert alone[0].nbytes < STREAMED <= together.nbytes, name
        assert torch.equal(together, torch.cat(alone, 1)), name


@SIZES
def test_large_moments_are_those_of_each_sample_alone(size):
    table, stack = geometry_of(size, 5), noise(40, 5, 1, *size).requires_grad_()
    together = functional.unproject_reduce(stack, table, size)
    alone = [functional.unproject_reduce(sample, table, size) for sample in stack.split(1)]
    assert sum(part.nbytes for part in alone[0]) < STREAMED <= sum(part.nbytes for part in together)
    for part, each in zip(together, zip(*alone, strict=True), strict=True):
        assert torch.equal(part, torch.cat(each))
    grads = [torch.autograd.grad(moments[0].sum() + moments[1].sum(), stack)[0] for moments in (together, alone[7])]
    assert torch.equal(grads[0][7], grads[1][7])


@SIZES
@pytest.mark.parametrize("channels", [1, 3, 4, 16])
@pytest.mark.parametrize("offset", [0, 4, 60, 2, 1])
def test_a_large_result_may_begin_at_any_byte(size, channels, offset):
    table, image = geometry_of(size, VIEWS), noise(1, channels, *size)
    expected = functional.project(image, table)
    memory = bytearray(expected.nbytes + 128)
    out = torch.frombuffer(memory, dtype=torch.float32, offset=offset, count=expected.numel()).view(expected.shape)
    functional.project(image, table, out=out)
    assert torch.equal(out, expected)
    assert not any(memory[:offset])
    assert not any(memory[offset + expected.nbytes :])


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
