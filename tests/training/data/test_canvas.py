"""Slices on a canvas of another size: the brain is there, and what was placed comes back exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuproj.training.data.canvas import Canvas, canvas_around, fits_canvas, size_around, usual_pixel
from spuproj.training.runtime.errors import InputError

SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(SIDES, SIDES, st.tuples(st.integers(-14, 14), st.integers(-14, 14)))
def test_placing_moves_by_the_offset_and_cutting_is_its_inverse(size, canvas, offset):
    slices = 1 + np.arange(2 * size[0] * size[1], dtype=np.float32).reshape(2, *size)
    placed = Canvas(canvas, offset).place(slices)
    assert placed.shape == (2, *canvas)
    shown = np.zeros(size, bool)
    for y, x in np.ndindex(size):
        to = y + offset[0], x + offset[1]
        if 0 <= to[0] < canvas[0] and 0 <= to[1] < canvas[1]:
            shown[y, x] = True
            np.testing.assert_array_equal(placed[:, to[0], to[1]], slices[:, y, x])
    assert np.count_nonzero(placed) == 2 * shown.sum()
    back = Canvas(canvas, offset).cut(placed, size, fill=-1)
    np.testing.assert_array_equal(back, np.where(shown, slices, -1))


def test_slices_of_the_canvas_size_are_not_copied():
    slices = np.zeros((3, 4, 5))
    assert Canvas((4, 5)).place(slices) is slices


@given(st.data())
def test_the_whole_brain_is_on_the_canvas_and_its_centre_as_near_as_can_be(data):
    size = data.draw(SIDES)
    y0, x0 = (data.draw(st.integers(0, side - 1)) for side in size)
    y1, x1 = data.draw(st.integers(y0, size[0] - 1)), data.draw(st.integers(x0, size[1] - 1))
    canvas = (data.draw(st.integers(y1 - y0 + 1, 16)), data.draw(st.integers(x1 - x0 + 1, 16)))
    centre = (data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1)))
    placed = canvas_around((y0, x0, y1, x1), size, canvas, centre, "one")
    for axis, (first, last) in enumerate(((y0, y1), (x0, x1))):
        offset, length = placed.offset[axis], canvas[axis]
        assert first + offset >= 0
        assert last + offset < length
        if size[axis] == length:
            assert offset == 0
        else:
            possible = range(-first, length - last)
            apart = [abs(centre[axis] * (length - 1) - (first + last) / 2 - each) for each in possible]
            assert abs(centre[axis] * (length - 1) - (first + last) / 2 - offset) <= min(apart) + 1e-9


@pytest.mark.parametrize("padding", [16, 17, 1, -1, -20, -21])
@pytest.mark.parametrize("apart", [-4, 0, 3])
def test_images_of_an_atlas_keep_their_place_on_a_canvas_of_another_size(padding, apart):
    before = padding // 2
    brain = (46 - before + apart, 50 - before, 209 - before + apart, 186 - before)
    size = (240 - padding, 240 - padding)
    placed = canvas_around(brain, size, (240, 240), (127.5 / 239, 118 / 239), "one")
    assert placed.offset == (before, before)


@pytest.mark.parametrize(("first", "offset"), [(35, 5), (33, 8)])
def test_a_place_up_to_two_percent_of_the_canvas_beside_the_centre_is_near(first, offset):
    """Slices of 90 padded evenly by 5 have the brain's centre 2 pixels beside that of 100, or 3."""
    assert canvas_around((first, 0, 50, 9), (90, 10), (100, 10), (0.5, 0.5), "one").offset == (offset, 0)


def test_the_canvas_has_six_percent_of_the_largest_brain_on_each_side():
    assert size_around([(5, 5, 103, 20), (0, 10, 20, 58)]) == (111, 55)  # 1.12 * 99 and 1.12 * 49, rounded up.


def test_pixels_share_a_canvas_up_to_one_percent_of_what_most_are():
    assert usual_pixel([(2.0, 2.0), (1.2001, 1.0), (1.1999, 1.0)]) == (1.2, 1.0)
    assert fits_canvas((1.209, 0.991), (1.2, 1.0))
    assert not fits_canvas((1.2, 1.015), (1.2, 1.0))
    assert not fits_canvas((1.18, 1.0), (1.2, 1.0))


def test_a_brain_larger_than_the_canvas_is_refused():
    with pytest.raises(
        InputError, match=r"one must have a brain of at most 10 x 20 pixels \(height, width\), got 12 x 9"
    ):
        canvas_around((2, 3, 13, 11), (30, 30), (10, 20), (0.5, 0.5), "one")
