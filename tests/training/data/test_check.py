"""``spuproj check``: every fault of a data set is found and named, in one pass."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.check import check_data, text
from spuproj.training.data.readers.registry import case_in, cases_in
from spuproj_cli.app import app
from tiny_datasets import AFFINE, OLD, SHAPE, brats, save, seg, volume


@pytest.fixture
def folder(tmp_path):
    return brats(tmp_path / "set", "one", "_", OLD, 4)


def problems(source, labels=None):
    return check_data(cases_in(source.parent, labels), lambda _: None)


def faults(source):
    return [problem.message for problem in problems(source) if problem.fatal]


def notes(source):
    return [problem.message for problem in problems(source) if not problem.fatal]


def replace(folder, kind, voxels, affine=AFFINE):
    nib.save(nib.Nifti1Image(voxels, affine), folder / f"one_{kind}.nii.gz")


def test_a_sound_case_has_no_problems(folder):
    assert problems(folder) == []


def test_a_missing_modality(folder):
    (folder / "one_t2.nii.gz").unlink()
    (message,) = faults(folder)
    assert "must hold one_t2.nii.gz, but it is missing; there are: one_flair.nii.gz, one_seg.nii.gz" in message


def test_a_damaged_file(folder):
    (folder / "one_t1.nii.gz").write_bytes(b"no image")
    (message,) = faults(folder)
    assert "one_t1.nii.gz must be a NIfTI file (.nii or .nii.gz), but it cannot be read" in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(folder, value):
    voxels = volume(5)
    voxels[2, 2, 2] = value
    replace(folder, "flair", voxels)
    (message,) = faults(folder)
    assert message.endswith("one_flair.nii.gz must hold finite values, but holds NaN or Inf")


def test_another_affine_and_another_shape(folder):
    replace(folder, "t1ce", volume(5), np.diag([-1.0, -1.0, 2.0, 1.0]))
    replace(folder, "t2", np.ones((6, 7, 4), np.float32))
    first, second = faults(folder)
    assert "one_t1ce.nii.gz must have the affine of one_t1.nii.gz" in first
    assert "one_t2.nii.gz must have the shape of one_t1.nii.gz" in second


def test_no_brain(folder):
    for kind in OLD:
        replace(folder, kind, np.zeros(SHAPE, np.float32))
    assert faults(folder) == [f"{folder} must show a brain, but every voxel of every modality is 0"]


def test_labels_outside_their_scheme(folder):
    replace(folder, "seg", seg(3))
    (message,) = faults(folder)
    assert "one_seg.nii.gz must hold the brats2020 labels 0, 1, 2, 4, got 3" in message
    assert [problem.fatal for problem in problems(folder, "brats2023")] == []


def test_labels_that_are_no_whole_numbers(folder):
    replace(folder, "seg", seg(4) + np.float32(0.5))
    (message,) = faults(folder)
    assert "got 0.5" in message


def test_labels_stored_as_floats_and_a_fourth_axis_of_one_are_no_problem(folder):
    replace(folder, "seg", seg(4).astype(np.float64)[..., None])
    replace(folder, "t1", volume(5)[..., None])
    assert problems(folder) == []


def test_a_constant_modality_an_empty_and_a_missing_segmentation_are_worth_a_note(folder):
    replace(folder, "t1", (volume(1) > 0).astype(np.float32))
    replace(folder, "seg", seg(0))
    assert notes(folder) == [
        "one_t1.nii.gz is constant inside the brain: it tells nothing, and is read as 0",
        "the segmentation is empty",
    ]
    (folder / "one_seg.nii.gz").unlink()
    assert "there is no segmentation: it can be predicted, not trained on" in notes(folder)
    assert faults(folder) == []


def test_a_segmentation_under_another_name_is_worth_a_note(folder):
    (folder / "one_seg.nii.gz").rename(folder / "W39_Segm.nii.gz")
    assert notes(folder) == ["the segmentation is W39_Segm.nii.gz, where one_seg.nii.gz is expected"]


def test_slices_unlike_the_first_ones(folder):
    other = folder.parent / "two"
    for kind in (*OLD, "seg"):
        save(other / f"two_{kind}.nii.gz", np.ones((6, 8, 5), np.uint8))
    (message,) = faults(folder)
    assert message.startswith("has slices of 8 x 6 pixels of 1 x 1 mm, one of 7 x 6 of 1 x 1; crop, pad or resample")


def test_every_problem_of_every_case_is_listed_with_its_case(folder):
    (folder / "one_t1.nii.gz").unlink()
    replace(folder, "seg", seg(3))
    brats(folder.parent, "two", "_", OLD, 4)
    found = problems(folder)
    assert [problem.case for problem in found] == ["one", "one"]
    lines = text(2, found).splitlines()
    assert lines[0].startswith("one  error  ")
    assert lines[-1] == "2 cases, 1 of them cannot be used, 0 notes"


def test_the_command_exits_with_1_where_a_case_cannot_be_used(folder, capsys):
    app(["check", str(folder.parent)], standalone_mode=False)
    assert "1 cases, 0 of them cannot be used, 0 notes" in capsys.readouterr().out
    (folder / "one_t1.nii.gz").unlink()
    with pytest.raises(SystemExit) as stopped:
        app(["check", str(folder.parent)], standalone_mode=False)
    assert stopped.value.code == 1
    assert "one_t1.nii.gz, but it is missing" in capsys.readouterr().out


def test_each_case_is_told_of(folder):
    seen: list[str] = []
    check_data([case_in(folder)], seen.append)
    assert seen == ["one"]
