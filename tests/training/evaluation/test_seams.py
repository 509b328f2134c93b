"""Seams: edges of views, the variance along them, and how much of a brain a view shows, against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spuproj.training.evaluation.seams import BAND, FLANKS, Seam, edge_distance, seam, smallest_share


def rectangle(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[rows, columns] = True
    return mask


def plain_distance(shown: np.ndarray) -> np.ndarray:
    """The definition, pixel by pixel."""
    height, width = shown.shape[1:]
    edges = [
        (y, x)
        for view in shown
        for y, x in np.argwhere(view)
        for i, j in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if 0 <= i < height and 0 <= j < width and not view[i, j]
    ]
    return np.array(
        [
            [min((math.dist((y, x), edge) for edge in edges), default=math.inf) for x in range(width)]
            for y in range(height)
        ]
    )


@given(arrays(bool, (2, 5, 6)))
def test_the_distance_is_that_from_the_nearest_pixel_where_a_view_ends_inside_the_slice(shown):
    np.testing.assert_allclose(edge_distance(shown), plain_distance(shown))


def test_views_that_show_all_or_nothing_of_a_slice_have_no_edge():
    assert np.isinf(edge_distance(np.stack([np.ones((4, 5), bool), np.zeros((4, 5), bool)]))).all()


def test_the_seam_is_the_ratio_of_the_means_of_band_and_flanks():
    shape = (20, 30)
    distance = edge_distance(rectangle(shape, slice(0, 20), slice(0, 10))[None])
    variance = np.full((2, *shape), 0.02)
    variance[:, :, 8:11] = 0.05  # The edge is column 9.
    variance[:, :, 16:] = 0.2
    found = seam(variance, np.ones((2, *shape), bool), distance)
    assert found.ratio == pytest.approx(2.5)
    assert found.share == pytest.approx(3 / 30)


@given(
    arrays(np.float64, (2, 8, 9), elements=st.floats(0.001, 0.25) | st.just(math.nan)),
    arrays(bool, (2, 8, 9)).filter(np.any),
    arrays(bool, (3, 8, 9)),
)
def test_the_seam_agrees_with_a_loop_over_voxels(variance, brain, shown):
    distance, band, flanks = plain_distance(shown), list[float](), list[float]()
    for z, y, x in np.argwhere(brain):
        if not math.isnan(variance[z, y, x]):
            (band if distance[y, x] <= BAND else flanks if distance[y, x] <= FLANKS else []).append(variance[z, y, x])
    found = seam(variance, brain, edge_distance(shown))
    assert found.share == pytest.approx(np.mean([distance[y, x] <= BAND for _, y, x in np.argwhere(brain)]))
    if found.share == 0:
        assert found == Seam(1.0, 0.0)
    elif band and flanks:
        assert found.ratio == pytest.approx(np.mean(band) / np.mean(flanks))
    else:
        assert math.isnan(found.ratio)


def test_an_edge_beside_the_brain_makes_no_seam():
    distance = edge_distance(rectangle((10, 20), slice(0, 10), slice(0, 18))[None])
    brain = rectangle((10, 20), slice(2, 8), slice(2, 12))[None]
    assert seam(np.full((1, 10, 20), 0.1), brain, distance) == Seam(1.0, 0.0)


def test_a_band_with_variance_beside_flanks_without_is_infinitely_worse():
    distance = edge_distance(rectangle((10, 20), slice(0, 10), slice(0, 10))[None])
    brain, nothing = np.ones((1, 10, 20), bool), np.zeros((1, 10, 20))
    assert seam(nothing, brain, distance).ratio == 1
    assert seam(np.where(distance <= BAND, 0.1, 0.0)[None], brain, distance).ratio == math.inf


@given(arrays(bool, (3, 6, 7)), arrays(bool, (4, 6, 7)).filter(np.any))
def test_the_smallest_share_is_that_of_the_worst_view_of_the_worst_slice(shown, brain):
    expected = min((view & mask).sum() / mask.sum() for mask in brain if mask.any() for view in shown)
    assert smallest_share(shown, brain) == pytest.approx(expected)
