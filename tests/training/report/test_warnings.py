"""Warnings of a report: what is named, and where it lies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from made_up_case import VOXEL, made_up_case, prediction
from spuproj.training.data.case import Case
from spuproj.training.report.warnings import LISTED, case_warnings


@pytest.fixture
def case() -> Case:
    return made_up_case()


def test_a_sound_case_raises_no_warning(case):
    assert case_warnings(case, {"WT": prediction()}) == []


def test_an_uncertain_blob_is_named_with_its_volume_and_place(case):
    made = prediction()
    made.variance[2:5, 5:7, 5:9] = 0.0626
    made.variance[7, 15, 15:17] = 0.07
    made.variance[1, 15, 15] = 0.0625
    volume, other = 24 * VOXEL, 2 * VOXEL
    assert case_warnings(case, {"WT": made}) == [
        f"WT is uncertain in {volume + other:.3g} ml: "
        f"{volume:.3g} ml around slice 3 (slices 2 to 4), {other:.3g} ml on slice 7"
    ]


def test_the_largest_regions_are_named_and_the_others_counted(case):
    made = prediction()
    for number in range(LISTED + 2):
        made.variance[2, 4, 3 * number : 3 * number + (1 if number < 2 else 2)] = 0.2
    (warning,) = case_warnings(case, {"WT": made})
    assert warning.count(f"{2 * VOXEL:.3g} ml on slice 2") == LISTED
    assert warning.endswith("and 2 smaller regions")
    assert warning.startswith(f"WT is uncertain in {(2 + 2 * LISTED) * VOXEL:.3g} ml: ")


def test_a_target_that_was_not_found_is_named(case):
    assert case_warnings(case, {"WT": prediction(), "ET": prediction((0, 0))}) == ["ET was not found"]


@pytest.mark.parametrize(
    ("where", "end"),
    [
        (np.s_[1, 6, 7], "the first slice with brain (slice 1)"),
        (np.s_[7, 6, 7], "the last slice with brain (slice 7)"),
        (np.s_[4, 0, 7], "the front edge of the image"),
        (np.s_[4, 19, 7], "the back edge of the image"),
        (np.s_[4, 6, 0], "the right edge of the image"),
        (np.s_[4, 6, 23], "the left edge of the image"),
    ],
)
def test_a_target_at_the_end_of_the_image_is_named(case, where, end):
    made = prediction()
    made.segmentation[where] = True
    assert case_warnings(case, {"WT": made}) == [f"WT reaches {end}: part of it may lie outside"]


@pytest.mark.parametrize(("names", "name"), [(("t1ce", "flair"), "flair"), ((), "channel 2")])
def test_a_constant_modality_is_named(case, names, name):
    image = case.image.copy()
    image[:, 1] = 0
    flat = replace(case, image=image, modalities=names)
    assert case_warnings(flat, {"WT": prediction()}) == [f"{name} is constant inside the brain: it tells nothing"]
