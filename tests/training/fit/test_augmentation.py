"""Augmented slices: reproducible, of the same brain and label, and at times without some modalities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import get_track_meta
from scipy.ndimage import binary_dilation

from spuproj.training.fit.augmentation import MISSING, augmented

SEEDS = st.integers(0, 2**31 - 1)
SIZE = (40, 32)


def slice_of_brain(dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    """An ellipse of brain with a bright square, 0 outside, and the square as label."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    brain = ((y - 20) / 15) ** 2 + ((x - 16) / 11) ** 2 < 1
    label = np.zeros(SIZE, np.uint8)
    label[14:24, 18:26] = 1
    noise = np.random.default_rng(0).normal(0, 0.4, (4, *SIZE))
    return ((noise + 2.5 * label - 0.4) * brain).astype(dtype), label


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_same_seed_gives_the_same_slice_and_another_one_another(dtype):
    image, label = slice_of_brain(dtype)
    before = image.copy(), label.copy()
    first, again, other = augmented(image, label, 3), augmented(image, label, 3), augmented(image, label, 4)
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    assert not np.array_equal(first[0], other[0])
    assert (first[0].dtype, first[0].shape, first[1].dtype, first[1].shape) == (dtype, image.shape, np.uint8, SIZE)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_the_label_follows_the_image_and_what_is_not_brain_stays_zero(seed):
    image, label = slice_of_brain()
    changed, moved = augmented(image, label, seed)
    assert np.isfinite(changed).all()
    assert set(np.unique(moved)) <= {0, 1}
    assert 0.5 * label.sum() < moved.sum() < 2 * label.sum()
    present = changed[changed.any(axis=(1, 2))]
    brain = present.any(axis=0)
    assert 0.5 * np.count_nonzero(image.any(axis=0)) < np.count_nonzero(brain) < 1.6 * np.count_nonzero(image.any(0))
    # The square is brighter than the rest of the brain in every modality, wherever it is now.
    inside, outside = moved.astype(bool) & brain, brain & ~binary_dilation(moved, iterations=3)
    assert all(each[inside].mean() > each[outside].mean() + 0.5 for each in present)


def test_left_and_right_are_exchanged_in_about_half_of_the_slices_and_top_and_bottom_in_none():
    image, label = slice_of_brain()[0], np.zeros(SIZE, np.uint8)
    label[8:14, 8:14] = 1
    moved = [np.argwhere(augmented(image, label, seed)[1]) for seed in range(60)]
    y, x = np.transpose([each.mean(axis=0) for each in moved])
    assert (y < SIZE[0] / 2).all()
    assert np.mean(x > SIZE[1] / 2) == pytest.approx(0.5, abs=0.2)
    # Deformed without a bias: larger as often as smaller.
    assert len(set(zip(y, x, strict=True))) > 30
    assert np.mean([len(each) for each in moved]) == pytest.approx(label.sum(), rel=0.1)


def test_each_modality_keeps_its_place_and_has_a_contrast_of_its_own():
    image, label = np.ones((4, *SIZE), np.float32) * [[[0.5]], [[4.0]], [[9.0]], [[18.0]]], np.zeros(SIZE, np.uint8)
    middle = np.array([augmented(image, label, seed)[0][:, 20, 16] for seed in range(60)])
    factors = np.where(middle == 0, np.nan, middle / image[:, 0, 0])
    assert all((np.diff(each[each != 0]) > 0).all() for each in middle)
    np.testing.assert_allclose(np.nanmedian(factors, axis=0), 1, atol=0.1)
    assert (np.nanstd(factors, axis=0) > 0.02).all()
    assert np.nanmax(np.abs(np.corrcoef(factors[~np.isnan(factors).any(axis=1)].T) - np.eye(4))) < 0.9


def test_some_slices_lack_modalities_but_none_lacks_all():
    image, label = slice_of_brain()
    shown = np.array([augmented(image, label, seed)[0].any(axis=(1, 2)) for seed in range(150)])
    counts = shown.sum(axis=1)
    assert not shown.all(axis=0).any()
    assert set(np.unique(counts)) == {1, 2, 3, 4}
    assert np.mean(counts < 4) == pytest.approx(MISSING, abs=0.1)


def test_a_modality_that_is_missing_stays_missing():
    image, label = slice_of_brain()
    image[2] = 0
    assert not any(augmented(image, label, seed)[0][2].any() for seed in range(30))


def test_a_single_modality_is_always_there():
    image, label = slice_of_brain()
    assert all(augmented(image[:1], label, seed)[0].any() for seed in range(30))


def test_monais_own_setting_is_left_as_it_was():
    before = get_track_meta()
    augmented(*slice_of_brain(), 0)
    assert get_track_meta() == before
