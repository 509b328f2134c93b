"""Warnings of a report: what is named, where it lies, and what comes first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from made_up_case import SHAPE, VOXEL, made_up_case, prediction, seen_once
from spuproj.training.data.case import Case
from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.volumes.grid import Grid
from spuproj.training.data.volumes.segmentation import LARGEST_VOLUME
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.report.warnings import LARGEST_PART, LISTED, SMALL, case_warnings


@pytest.fixture
def case() -> Case:
    return made_up_case()


def sentences(case: Case, predictions: dict[str, CasePrediction]) -> list[str]:
    return [warning.message for warning in case_warnings(case, predictions)]


def scaled(case: Case, factor: float) -> Case:
    """The case with voxels of so many times the volume."""
    return replace(case, grid=Grid(case.grid.shape, case.grid.affine @ np.diag([1, 1, factor, 1])))


def filling(part: float) -> CasePrediction:
    """A segmentation of about this part of the brain, away from its ends."""
    made = prediction((0, 0))
    inside = made_up_case().brain.copy()
    inside[[1, 7]] = False
    places = np.flatnonzero(inside)
    made.segmentation.ravel()[places[: round(part * made_up_case().brain.sum())]] = True
    return made


def test_a_sound_case_raises_no_warning(case):
    assert case_warnings(case, {"WT": prediction()}) == []


def test_an_uncertain_blob_is_named_with_its_volume_and_place(case):
    case = scaled(case, 10)
    made = prediction()
    made.variance[2:5, 5:7, 5:9] = 0.0626
    made.variance[6:8, 15, 13:16] = 0.07
    made.variance[1, 15, 15] = 0.0625
    volume, other = 240 * VOXEL, 60 * VOXEL
    assert sentences(case, {"WT": made}) == [
        f"WT is uncertain in {volume + other:.3g} ml: "
        f"{volume:.3g} ml around slice 3 (slices 2 to 4), {other:.3g} ml around slice 6 (slices 6 to 7)"
    ]


def with_regions(*sizes: int) -> CasePrediction:
    """Uncertain regions of so many voxels in a row, on slice 2."""
    made = prediction()
    for number, size in enumerate(sizes):
        made.variance[2, 2 * number, :size] = 0.2
    return made


def test_the_largest_regions_are_named_and_the_others_counted(case):
    case = scaled(case, 10)
    (warning,) = sentences(case, {"WT": with_regions(6, 6, 6, 6, 6, 1)})
    assert warning.count(f"{60 * VOXEL:.3g} ml on slice 2") == LISTED
    assert warning.endswith("and 3 smaller regions")
    assert warning.startswith(f"WT is uncertain in {310 * VOXEL:.3g} ml: ")


def test_small_regions_are_counted_alone(case):
    case = scaled(case, 10)
    assert pytest.approx(SMALL) == 50 * VOXEL
    assert sentences(case, {"WT": with_regions(4, 4, 4)}) == ["WT is uncertain in 1.2 ml: 3 small regions"]
    assert sentences(case, {"WT": with_regions(6, 4)}) == [
        "WT is uncertain in 1 ml: 0.6 ml on slice 2, and 1 smaller region"
    ]


def test_targets_that_were_not_found_are_named_together(case):
    assert sentences(case, {"WT": prediction(), "ET": prediction((0, 0))}) == ["ET was not found"]
    nothing = prediction((0, 0))
    assert sentences(case, {"WT": nothing, "TC": nothing, "ET": nothing}) == ["WT, TC and ET were not found"]


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
    assert sentences(case, {"WT": made}) == [f"WT reaches {end}: part of it may lie outside"]
    both = {"WT": made, "ET": prediction(), "TC": made}
    assert sentences(case, both) == [f"WT and TC reach {end}: parts of them may lie outside"]


def test_a_target_that_fills_too_much_of_the_brain_is_implausible(case):
    assert sentences(case, {"WT": filling(LARGEST_PART - 0.01)}) == []
    (warning,) = case_warnings(case, {"WT": filling(LARGEST_PART + 0.01), "ET": prediction()})
    assert warning.level == Level.WARNING
    assert warning.message.startswith("WT is implausibly large, 4.86 ml, 31 percent of the brain: ")
    (both,) = sentences(case, {"WT": filling(0.5), "TC": filling(0.4)})
    assert both.startswith(
        "WT and TC are implausibly large, 7.84 ml, 50 percent of the brain and 6.27 ml, 40 percent of the brain: "
    )


def test_a_target_of_too_many_ml_is_implausible(case):
    voxels = round(0.2 * case.brain.sum())
    factor = LARGEST_VOLUME / (voxels * VOXEL)
    assert sentences(scaled(case, 0.99 * factor), {"WT": filling(0.2)}) == []
    (warning,) = sentences(scaled(case, 1.01 * factor), {"WT": filling(0.2)})
    assert warning.startswith("WT is implausibly large, 404 ml, 20 percent of the brain: ")


def test_the_most_serious_come_first(case):
    brain = case.brain.copy()
    brain[2] = False
    found = (
        Finding(Level.NOTE, "the orientation is guessed"),
        Finding(Level.WARNING, "the brain is implausible"),
        Finding(Level.NOTE, "the background is -1"),
    )
    predictions = {"WT": filling(0.6), "ET": CasePrediction(*(np.zeros(SHAPE, kind) for kind in "f?fff"))}
    warnings = case_warnings(replace(case, brain=brain, findings=found), predictions)
    assert [warning.level for warning in warnings] == [Level.WARNING] * 3 + [Level.NOTE] * 3
    assert [warning.message.partition(":")[0].partition(",")[0] for warning in warnings] == [
        "WT is implausibly large",
        "the brain is implausible",
        "no brain on slice 2",
        "ET was not found",
        "the orientation is guessed",
        "the background is -1",
    ]


def test_voxels_that_fewer_than_two_views_saw_are_counted_in_the_brain(case):
    made, other = seen_once(prediction((0, 0)), np.s_[3:5]), seen_once(prediction((0, 0)), np.s_[4])
    found = case_warnings(case, {"WT": made, "TC": made, "ET": other})
    assert [each.message for each in found if "views" in each.message] == [
        "WT and TC: too few views see 448 voxels of the brain (29 percent); they have no variance, and their "
        "entropy takes its place in figures and numbers",
        "ET: too few views see 224 voxels of the brain (14 percent); they have no variance, and their entropy "
        "takes its place in figures and numbers",
    ]
    assert {each.level for each in found} == {Level.NOTE}
    whole = seen_once(prediction((0, 0)), np.s_[:])
    assert any("1568 voxels of the brain (all of it)" in each for each in sentences(case, {"WT": whole}))


def test_an_entropy_that_replaces_a_variance_can_be_uncertain(case):
    made = seen_once(prediction(variance=0.02), np.s_[4, 6:8, 7:9])
    (uncertain, _) = sentences(case, {"WT": made})
    assert uncertain.startswith(f"WT is uncertain in {4 * VOXEL:.3g} ml")
