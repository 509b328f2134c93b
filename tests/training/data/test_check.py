"""``spuproj check``: every fault of a data set is found and named, in one pass."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.case import load_case
from spuproj.training.data.check import CaseFinding, check_data, text
from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.readers.registry import case_in, cases_in, read_data
from spuproj.training.data.volumes.image_file import Volume
from spuproj_cli.app import app
from tiny_datasets import AFFINE, OLD, SHAPE, brats, save, seg, volume


@pytest.fixture
def folder(tmp_path):
    return brats(tmp_path / "set", "one", "_", OLD, 4)


def found(source, labels=None):
    return check_data(cases_in(source.parent, labels), lambda _: None)


def messages(source, level, labels=None):
    """The findings of a level, without the doubt about the volume of so small a brain."""
    return [
        each.finding.message
        for each in found(source, labels)
        if each.finding.level == level and "taken as brain" not in each.finding.message
    ]


def errors(source, labels=None):
    return messages(source, Level.ERROR, labels)


def replace(folder, kind, voxels, affine=AFFINE):
    nib.save(nib.Nifti1Image(voxels, affine), folder / f"one_{kind}.nii.gz")


def test_a_sound_case_has_no_findings_but_that_its_brain_is_small(folder):
    (only,) = found(folder)
    assert only.finding.level == Level.WARNING
    assert only.finding.message.startswith("what is taken as brain has 6e-05 litres, where 0.9 to 1.8 are usual")


def test_a_damaged_file(folder):
    (folder / "one_t1.nii.gz").write_bytes(b"no image")
    (message,) = errors(folder)
    assert "one_t1.nii.gz must be an image (NIfTI, MGH, NRRD or MetaImage), but cannot be read" in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_in_every_file_that_has_them(folder, value):
    voxels = volume(5)
    voxels[2, 2, 2] = value
    replace(folder, "flair", voxels)
    replace(folder, "t1", voxels)
    first, second = errors(folder)
    for name, message in (("t1", first), ("flair", second)):
        assert f"one_{name}.nii.gz must hold finite values, but holds NaN or Inf; if they are background" in message


@pytest.mark.parametrize("value", [np.nan, 0.0, np.inf])
def test_an_affine_that_is_none_is_an_error_of_its_case_alone(folder, value):
    content = bytearray(nib.Nifti1Image(volume(5), AFFINE).to_bytes())
    # The sform begins at byte 280 of the header.
    content[280 : 280 + 48] = np.full(12, value, np.float32).tobytes()
    (folder / "one_t2.nii").write_bytes(content)
    (folder / "one_t2.nii.gz").unlink()
    brats(folder.parent, "two", "_", OLD, 4)
    (message,) = errors(folder)
    assert "one_t2.nii must be placed by a finite and invertible affine" in message
    assert "two" in {each.case for each in found(folder)}


def test_an_exception_of_a_library_is_a_finding_of_its_case(folder, monkeypatch):
    brats(folder.parent, "two", "_", OLD, 4)
    broken = folder / "one_seg.nii.gz"
    read = Volume.numbers

    def fail(volume):
        if volume.path == broken:
            raise np.linalg.LinAlgError("SVD did not converge")
        return read(volume)

    monkeypatch.setattr(Volume, "numbers", fail)
    assert errors(folder) == ["LinAlgError: SVD did not converge"]
    assert [each.case for each in found(folder)] == ["one", "one", "two"]


def test_another_place_and_another_shape(folder):
    replace(folder, "t1ce", volume(5), np.diag([-1.0, -1.0, 2.0, 1.0]))
    replace(folder, "t2", np.ones((6, 7, 4), np.float32))
    (message,) = errors(folder)
    assert "one_t1ce.nii.gz 6 x 7 x 5 voxels of 1 x 1 x 2 mm, 4 voxels away; one_t2.nii.gz 6 x 7 x 4" in message


def test_no_voxel_is_read_where_headers_contradict_each_other(folder, monkeypatch):
    replace(folder, "t2", np.ones((60, 70, 40), np.float32))

    def refuse(volume):
        raise AssertionError(f"{volume.path} is read")

    monkeypatch.setattr(Volume, "numbers", refuse)
    (message,) = errors(folder)
    assert "one_t2.nii.gz 60 x 70 x 40" in message


@pytest.mark.parametrize("twice", ["T1", "SEG"])
def test_a_case_of_two_files_for_one_thing_has_this_error_alone_and_makes_no_other_unusual(folder, twice):
    brats(folder.parent, "two", "_", OLD, 4)
    save(folder / f"one_{twice}.nii.gz", volume(100) if twice == "T1" else seg(4))
    (message,) = errors(folder)
    assert f"one_{twice}.nii.gz and one/one_{twice.lower()}.nii.gz are both named so" in message
    assert not [each for each in messages(folder, Level.NOTE) if "no segmentation" in each]


def test_no_brain(folder):
    for kind in OLD:
        replace(folder, kind, np.zeros(SHAPE, np.float32))
    assert errors(folder) == [f"{folder} must show a brain, but every modality is constant"]


def test_labels_outside_their_scheme(folder):
    replace(folder, "seg", seg(3))
    (message,) = errors(folder)
    assert "one_seg.nii.gz must hold the brats2020 labels 0, 1, 2, 4, got 3" in message
    assert errors(folder, "brats2023") == []


def test_labels_that_are_no_whole_numbers(folder):
    replace(folder, "seg", seg(4) + np.float32(0.5))
    (message,) = errors(folder)
    assert message.endswith(
        "one_seg.nii.gz must hold whole numbers as labels, but holds 0.5; threshold probabilities, and "
        "resample label maps by nearest neighbour"
    )


def test_a_link_whose_content_was_not_fetched_is_an_error_and_not_the_absence_of_a_segmentation(folder):
    (folder / "one_seg.nii.gz").unlink()
    (folder / "one_seg.nii.gz").symlink_to("../.git/annex/objects/x")
    (message,) = errors(folder)
    assert "one_seg.nii.gz must be a file, but is a link to ../.git/annex/objects/x, which does not exist" in message


def test_labels_stored_as_floats_and_a_fourth_axis_of_one_are_no_problem(folder):
    replace(folder, "seg", seg(4).astype(np.float64)[..., None])
    replace(folder, "t1", volume(5)[..., None])
    assert all(messages(folder, level) == [] for level in Level)


def test_a_constant_modality_an_empty_and_a_missing_segmentation(folder):
    replace(folder, "t1", (volume(1) > 0).astype(np.float32))
    replace(folder, "seg", seg(0))
    constant = "t1: one single value inside the brain, which tells nothing and is read as 0"
    assert messages(folder, Level.WARNING) == [constant]
    assert messages(folder, Level.NOTE) == ["the segmentation is empty"]
    (folder / "one_seg.nii.gz").unlink()
    assert messages(folder, Level.NOTE) == ["there is no segmentation: it can be predicted, not trained on"]


def test_a_case_without_its_files_is_not_called_one_to_predict(tmp_path):
    entry = {"name": "one", "images": {"t1": "a.nii", "t2": "b.nii"}}
    (tmp_path / "cohort.json").write_text(json.dumps({"cases": [entry]}))
    told = check_data(cases_in(tmp_path / "cohort.json"), lambda _: None)
    assert [each.finding.level for each in told] == [Level.ERROR] * 2


def test_pixels_unlike_those_of_most_cases(folder):
    for name in ("two", "three"):
        for kind in (*OLD, "seg"):
            voxels = seg(4) if kind == "seg" else volume(5)
            path = save(folder.parent / name / f"{name}_{kind}.nii.gz", voxels)
            nib.save(nib.Nifti1Image(voxels, np.diag([-2.0, -3.0, 1.0, 1.0])), path)
    (each,) = (each for each in found(folder) if each.finding.level == Level.ERROR)
    assert each.case == "one"
    assert each.finding.message.startswith("has pixels of 1 x 1 mm, where most cases have 3 x 2 mm")


def test_slices_of_other_sizes_are_no_problem(folder):
    other = folder.parent / "two"
    for kind in (*OLD, "seg"):
        voxels = seg(4) if kind == "seg" else volume(5)
        save(other / f"two_{kind}.nii.gz", np.pad(voxels, ((1, 1), (2, 0), (0, 0))))
    assert errors(folder) == []


def test_findings_that_say_the_same_of_several_cases_share_a_line(folder):
    names = [f"case_{number:03d}" for number in range(5)]
    for name, label in zip(names, (1, 2, 4, 4, 4), strict=True):
        brats(folder.parent, name, "_", OLD, label)
        (folder.parent / name / f"{name}_t1.nii.gz").write_bytes(b"no image")
    lines = text(6, ("3 files of another kind",), found(folder)).splitlines()
    assert lines[0] == "left out: 3 files of another kind"
    assert lines[1].startswith("error    in 5 cases (case_000, case_001, case_002, ...): ")
    assert "/CASE/CASE_t1.nii.gz must be an image" in lines[1]
    assert lines[2].startswith("warning  one: what is taken as brain")
    assert lines[-1] == "6 cases, 5 of them cannot be used, 1 warning, 0 notes"
    assert len(lines) == 4


def test_the_command_exits_with_1_where_a_case_cannot_be_used(folder, capsys):
    app(["check", str(folder.parent)], standalone_mode=False)
    assert "1 case, 0 of them cannot be used, 1 warning, 0 notes" in capsys.readouterr().out
    (folder / "one_t1.nii.gz").write_bytes(b"")
    with pytest.raises(SystemExit) as stopped:
        app(["check", str(folder.parent)], standalone_mode=False)
    assert stopped.value.code == 1
    assert "one_t1.nii.gz must be an image, but is an empty file" in capsys.readouterr().out


def test_each_case_is_told_of(folder):
    seen: list[str] = []
    check_data([case_in(folder)], seen.append)
    assert seen == ["one"]


def test_volumes_of_a_file_that_no_modality_is_named_for_are_told(tmp_path):
    save(tmp_path / "all.nii", np.stack([volume(100 * number) for number in range(4)], -1))
    images = {name: {"file": "all.nii", "channel": number} for number, name in enumerate(("t1", "t2", "flair"))}
    (tmp_path / "m.json").write_text(json.dumps({"cases": [{"name": "one", "images": images}]}))
    told = [each.finding.message for each in check_data(read_data(tmp_path / "m.json").cases, lambda _: None)]
    assert any(message.startswith("all.nii holds 4 volumes, but 3 are used") for message in told)


def test_many_findings_that_differ_in_numbers_share_a_line():
    found = [CaseFinding(f"p{number}", Finding(Level.NOTE, f"it has {number / 7:g} litres")) for number in range(9)]
    lines = text(9, [], found).splitlines()
    assert lines[0] == ("note     in 9 cases (p0, p1, p2, ...): with other numbers in each, such as: it has 0 litres")
    assert len(lines) == 2
    assert len(text(3, [], found[:3]).splitlines()) == 4


def big(folder, tumour, label=1):
    """A case of four images with a large brain, and a segmentation of a part of the image."""
    voxels = np.zeros((24, 24, 24), np.float32)
    voxels[4:20, 4:20, 4:20] = np.random.default_rng(0).uniform(50, 1500, (16, 16, 16))
    labels = np.zeros(voxels.shape, np.uint8)
    labels[tumour] = label
    for kind in ("t1", "t1ce", "t2", "flair"):
        nib.save(nib.Nifti1Image(voxels * (1 + len(kind)) + len(kind) + ord(kind[-1]) * (voxels > 0), AFFINE),
                 folder / f"{folder.name}_{kind}.nii.gz")  # fmt: skip
    nib.save(nib.Nifti1Image(labels, AFFINE), folder / f"{folder.name}_seg.nii.gz")


def test_a_segmentation_that_is_outside_of_the_brain_is_a_warning(folder):
    for tumour, share in (((slice(6, 10),) * 3, ""), ((slice(1, 5), slice(6, 10), slice(6, 10)), "75%")):
        big(folder, tumour)
        outside = [message for message in messages(folder, Level.WARNING) if "outside of the brain" in message]
        assert [message.startswith(share) for message in outside] == [True] * bool(share)
        warned = [finding for finding in load_case(folder, with_labels=True).findings if "outside" in finding.message]
        assert len(warned) == bool(share)


def test_an_image_of_few_values_is_a_warning(folder):
    big(folder, (slice(6, 10),) * 3)
    labels = nib.Nifti1Image.from_filename(folder / "one_t2.nii.gz").get_fdata() > 700
    nib.save(nib.Nifti1Image(labels.astype(np.float32), AFFINE), folder / "one_t2.nii.gz")
    (message,) = [each for each in messages(folder, Level.WARNING) if "values" in each]
    assert message.startswith("t2: only 2 values, such as 1, like a segmentation or a mask")


@pytest.mark.parametrize(("labels", "absent"), [((1, 1, 1), "2 or 4"), ((1, 2, 4), None), ((1, 1), None)])
def test_a_label_that_no_segmentation_has_is_a_warning(tmp_path, labels, absent):
    for name, label in zip(("one", "two", "three"), labels, strict=False):
        big(brats(tmp_path / "set", name, "_", OLD, 4), (slice(6, 10),) * 3, label)
    told = [each for each in messages(tmp_path / "set" / "one", Level.WARNING) if "segmentations" in each]
    message = f"of 3 segmentations none has the label {absent} of brats2020: look whether the labels are of this scheme"
    assert told == [message] * (absent is not None)
