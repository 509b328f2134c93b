"""The model of the GPU kernels' memory traffic counts what warps and blocks touch; its figures are held."""

from __future__ import annotations

import re

import pytest
import torch

from helpers import ROOT
from spuproj import Views
from spuproj.benchmarks.gpu_model.__main__ import table
from spuproj.benchmarks.gpu_model.traffic import KERNELS, traffic_of

SMALL = Views.spherical((48, 40), grid=(2, 2))
TINY = Views.spherical((20, 36), grid=(1, 2))

# Loads, lines and sectors of a load, idle warps, bytes read, from the second-level cache, turns; for each layout.
FIGURES: dict[str, list[tuple[float, ...]]] = {
    "project": [
        (3.033, 3.321, 5.198, 0.526, 1, 4.95, 1),
        (3.033, 2.35, 4.098, 0.526, 0.5, 3.204, 1),
        (3.033, 5.198, 12.6, 0.526, 0.5, 2.055, 1),
    ],
    "unproject": [(6.4, 2.484, 3.677, 0, 2.167, 4.467, 1), (6.4, 1.824, 2.964, 0, 1.358, 3.246, 1)],
    "reduce": [(4.8, 2.834, 4, 0, 2.167, 3.667, 1), (4.8, 1.996, 3.233, 0, 1.358, 2.746, 1)],
    "project backward": [
        (3.417, 2.283, 3.329, 0.01389, 2.033, 3.4, 1.799),
        (3.417, 1.69, 2.67, 0.01389, 1.275, 2.612, 1.799),
    ],
    "unproject backward": [
        (9.092, 4.072, 5.923, 0.4167, 4, 6.133, 1.953),
        (9.092, 2.732, 4.796, 0.4167, 2, 4.312, 1.953),
    ],
}
FILES = {
    "project": "gather",
    "unproject": "gather",
    "reduce": "reduce",
    "project backward": "gather_adjoint",
    "unproject backward": "gather_adjoint",
}

each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.label)


@each_kernel
def test_the_figures_of_small_views_are_held(kernel):
    for found, held in zip(traffic_of(kernel, SMALL), FIGURES[kernel.label], strict=True):
        assert tuple(found) == pytest.approx(held, rel=0.02)


@each_kernel
def test_tiles_are_those_of_the_kernels(kernel):
    code = (ROOT / f"csrc/cuda/{FILES[kernel.label]}.cu").read_text()
    assert re.search(r"kTile = \{(\d+), (\d+)\}", code).groups() == tuple(map(str, kernel.tile))


def reads(views: Views, *, inverse: bool) -> torch.Tensor:
    """``[N, points, pixels]``: which pixels each point reads, as sampling shows that has one pixel set at a time."""
    if not inverse:
        pixels = views.size[0] * views.size[1]
        return (
            views.project(torch.eye(pixels).reshape(pixels, 1, *views.size)).flatten(-2)[:, :, 0].permute(1, 2, 0) > 0
        )
    pixels = views.view_size[0] * views.view_size[1]
    ones = torch.eye(pixels).reshape(pixels, 1, 1, *views.view_size).expand(-1, len(views), -1, -1, -1)
    return views.unproject(ones).flatten(-2)[:, :, 0].permute(1, 2, 0) > 0


@each_kernel
def test_a_block_fetches_each_sector_that_it_reads_once(kernel):
    seen = reads(TINY, inverse=kernel.inverse)
    seen = seen.transpose(1, 2) if kernel.adjoint else seen
    height, width = TINY.size
    for layout, found in zip(kernel.layouts, traffic_of(kernel, TINY), strict=True):
        fetched = 0
        for row in range(0, height, kernel.tile[0]):
            for column in range(0, width, kernel.tile[1]):
                part = seen.unflatten(1, (height, width))[
                    :, row : row + kernel.tile[0], column : column + kernel.tile[1]
                ]
                view, pixel = part.flatten(1, 2).any(1).nonzero(as_tuple=True)
                sector = pixel * layout.size * layout.side // 32
                fetched += 32 * len({*zip(view.tolist(), sector.tolist(), strict=True)})
        assert found.fetched == pytest.approx(fetched / (len(TINY) * height * width * layout.side))


@pytest.mark.parametrize(
    ("label", "degrees", "loads", "lines", "sectors"),
    [
        # A warp reads 32 neighbours of a row, or of a column; the adjoint two rows, or columns, of 16.
        ("project", 0, 4, 1, 4),
        ("project", 90, 4, 32, 32),
        ("reduce", 0, 4, 2, 4),
        ("reduce", 90, 4, 16, 16),
        ("project backward", 0, 1, 2, 4),
        ("project backward", 90, 1, 16, 16),
    ],
)
def test_rows_and_columns_touch_as_many_lines_as_one_can_count(label, degrees, loads, lines, sectors):
    kernel = next(kernel for kernel in KERNELS if kernel.label == label)
    found = traffic_of(kernel, Views.rigid((32, 32), degrees=[degrees]))[0]
    assert found[:3] == pytest.approx((loads, lines, sectors))
    assert found.idle == 0


def test_the_table_has_a_row_for_every_layout_of_every_kernel():
    labels = [row[:32].partition(",")[0].strip() for row in table(TINY).splitlines()[1:]]
    assert labels == [kernel.label for kernel in KERNELS for _ in kernel.layouts]
