"""Voxel grids of every storage order: reorientation, spacing, and how far two grids lie apart."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuproj.training.data.volumes.grid import Grid, skew

OPPOSITE = {"L": "R", "P": "A", "S": "I", "R": "L", "A": "P", "I": "S"}
STORAGE_ORDERS = [
    "".join(axes)
    for order in itertools.permutations("LPS")
    for axes in itertools.product(*[(axis, OPPOSITE[axis]) for axis in order])
]


def stored(codes: str) -> nib.Nifti1Image:
    """A 3 x 4 x 5 (left, back, up) volume of distinct values in a storage order; the values count LPS voxels."""
    image = nib.Nifti1Image(np.arange(60, dtype=np.float32).reshape(3, 4, 5), np.diag([-2.0, -3.0, 4.0, 1.0]))
    return image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(codes))
    )


def grid_of(image: nib.Nifti1Image) -> Grid:
    x, y, z = image.shape
    return Grid((x, y, z), image.affine)


def test_there_are_48_storage_orders():
    assert len(set(STORAGE_ORDERS)) == 48
    assert {nib.aff2axcodes(stored(codes).affine) for codes in STORAGE_ORDERS} == set(map(tuple, STORAGE_ORDERS))


@pytest.mark.parametrize("codes", STORAGE_ORDERS)
def test_every_storage_order_turns_to_lps_and_back(codes):
    image = stored(codes)
    voxels = np.asarray(image.dataobj)
    turned = grid_of(image).to_lps(voxels)
    np.testing.assert_array_equal(turned, np.arange(60).reshape(3, 4, 5))
    np.testing.assert_array_equal(grid_of(image).from_lps(turned), voxels)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA"])
def test_a_marked_voxel_lands_where_its_millimetres_say(codes):
    image = stored(codes)
    voxels = np.zeros(image.shape, np.float32)
    mark = tuple(np.array(image.shape) - 1 - np.array([0, 1, 1]))
    voxels[mark] = 1
    right_anterior_up = image.affine @ [*mark, 1]
    found = np.argwhere(grid_of(image).to_lps(voxels))
    assert len(found) == 1
    np.testing.assert_allclose(found[0] * [-2, -3, 4], right_anterior_up[:3])


@pytest.mark.parametrize("codes", STORAGE_ORDERS)
def test_the_spacing_follows_the_axes(codes):
    assert grid_of(stored(codes)).spacing == (2.0, 3.0, 4.0)


def test_an_oblique_image_turns_to_its_closest_axes():
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 3.0, 4.0])
    voxels, grid = np.arange(60, dtype=np.float32).reshape(3, 4, 5), Grid((3, 4, 5), affine)
    np.testing.assert_array_equal(grid.to_lps(voxels), voxels[::-1, ::-1])
    assert grid.spacing == pytest.approx((2, 3, 4))


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3))
def test_the_distance_of_a_moved_grid_is_the_length_of_the_move_in_voxels(move):
    affine = np.diag([-2.0, -3.0, 4.0, 1.0])
    moved = affine.copy()
    moved[:3, 3] += move
    assert Grid((3, 4, 5), affine).distance(Grid((3, 4, 5), moved)) == pytest.approx(np.linalg.norm(move) / 2)


def test_the_distance_of_a_scaled_grid_is_that_of_its_farthest_corner():
    affine = np.eye(4)
    scaled = np.diag([1.0, 1.0, 1.01, 1.0])
    assert Grid((10, 10, 101), affine).distance(Grid((10, 10, 101), scaled)) == pytest.approx(1.0)


@given(st.permutations([1.0, 2.0, 5.0]), st.lists(st.floats(-0.9, 0.9), min_size=3, max_size=3))
def test_skewed_voxels_have_less_volume_than_the_product_of_their_sides(sides, slants):
    affine = np.eye(4)
    affine[:3, :3] = np.diag(sides)
    affine[0, 1], affine[0, 2], affine[1, 2] = slants
    lengths = [np.hypot.reduce(column) for column in affine[:3, :3].T]
    assert skew(Grid((3, 4, 5), affine)) == pytest.approx(np.prod(lengths) / np.prod(sides) - 1, abs=1e-12)
