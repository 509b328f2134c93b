"""Very many small calls, good and bad ones, leave nothing behind: no memory, descriptor, thread or object."""

import contextlib
import gc

import pytest
import torch

from load.resources import held, needs_proc
from spuproj import Views

SIZE = (6, 5)
VIEWS = Views.spherical(SIZE, grid=(1, 2))
IMAGE, STACK = torch.rand(1, 1, *SIZE), torch.rand(1, 2, 1, *SIZE)
OUT, LABELS = torch.empty(1, 2, 1, *SIZE), torch.ones(1, 1, *SIZE, dtype=torch.uint8)


def backward():
    leaf = IMAGE.clone().requires_grad_()
    VIEWS.reduce(VIEWS.project(leaf))[0].sum().backward()


def geometry_backward():
    leaf = VIEWS.geometry.clone().requires_grad_()
    torch.ops.spuproj.project(IMAGE, leaf, SIZE).sum().backward()


def refused():
    with contextlib.suppress(TypeError):
        VIEWS.project(LABELS)
    with contextlib.suppress(ValueError):
        VIEWS.project(IMAGE[..., 1:])


KINDS = {
    "project": lambda: VIEWS.project(IMAGE),
    "unproject": lambda: VIEWS.unproject(STACK),
    "reduce": lambda: VIEWS.reduce(STACK),
    "out": lambda: VIEWS.project(IMAGE, out=OUT),
    "labels": lambda: VIEWS.project(LABELS, interpolation="nearest"),
    "strided": lambda: VIEWS.unproject(STACK.mT.contiguous().mT),
    "new_geometry": lambda: torch.ops.spuproj.project(IMAGE, VIEWS.geometry.clone(), SIZE),
    "refused": refused,
    "backward": backward,
    "geometry_backward": geometry_backward,
}
SLOW_KINDS = {"backward": 10, "geometry_backward": 100, "new_geometry": 10, "strided": 5, "refused": 5}
"""Kinds that take longer than a repeated call, and are made so many times less often."""


@needs_proc
@pytest.mark.parametrize("calls", [2000, pytest.param(200_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_left_behind(kind, calls):
    call, count = KINDS[kind], calls // SLOW_KINDS.get(kind, 1)
    for _ in range(max(count // 10, 20)):
        call()
    grown: list[float] = []
    while not grown or (grown[-1] >= 4 and len(grown) < 3):
        before, objects = held(), len(gc.get_objects())
        for _ in range(count):
            call()
        after = held()
        assert after[1:] == before[1:]
        assert len(gc.get_objects()) - objects < 50
        grown.append(after.megabytes - before.megabytes)
    # Threads of other tests may take memory meanwhile; what calls leave behind grows each time.
    assert min(grown) < 4, grown
