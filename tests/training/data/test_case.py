"""Case folders: orientation, normalisation, labels, and what is wrong with a folder that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.case import Case, add_labels, as_volume, load_case, load_slices
from spuproj.training.data.findings import Level
from spuproj.training.data.readers.case_files import MODALITIES, CaseFiles
from spuproj.training.data.readers.registry import case_in, cases_in
from spuproj.training.data.volumes.image_file import Volume
from spuproj.training.runtime.errors import InputError

SHAPE = (6, 7, 5)  # left, back, up
LPS = np.diag([-2.0, -3.0, 4.0, 1.0])
MARK = (5, 1, 3)  # on the left, near the front, towards the top


def brain_volumes() -> dict[str, np.ndarray]:
    """Four modalities of random values around a mark, inside a box of brain, in LPS order."""
    random, volumes = np.random.default_rng(0), {}
    for name in MODALITIES:
        volumes[name] = np.zeros(SHAPE, np.float32)
        volumes[name][1:, 1:6, 1:4] = random.uniform(50, 150, (5, 5, 3))
        volumes[name][MARK] = 1000
    return volumes


def write_case(folder: Path, volumes: dict[str, np.ndarray], affine: np.ndarray = LPS, suffix: str = ".nii.gz") -> Path:
    folder.mkdir(parents=True)
    for name, voxels in volumes.items():
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{folder.name}_{name}{suffix}")
    return folder


def reoriented(folder: Path, source: Path, codes: str) -> Path:
    """The case in another storage order, with the same millimetres."""
    folder.mkdir()
    target = nib.orientations.axcodes2ornt(codes)
    for path in source.iterdir():
        image = nib.Nifti1Image.from_filename(path)
        image = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(image.affine), target))
        nib.save(image, folder / path.name.replace(source.name, folder.name))
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_case(tmp_path / "one", brain_volumes())


def with_seg(volume: np.ndarray) -> dict[str, np.ndarray]:
    return brain_volumes() | {"seg": volume}


def test_slices_run_upwards_with_the_front_on_top_and_the_right_side_on_the_left(folder):
    case = load_case(folder)
    assert case.name == "one"
    assert case.image.shape == (5, 4, 7, 6)
    assert case.brain.shape == (5, 7, 6)
    assert (case.image.dtype, case.brain.dtype) == (np.float32, bool)
    for channel in range(4):
        assert np.unravel_index(case.image[:, channel].argmax(), (5, 7, 6)) == (3, 1, 5)


@pytest.mark.parametrize("codes", ["RAS", "RPI", "SAL", "PIR"])
def test_another_storage_order_is_the_same_case(tmp_path, codes):
    labels = np.zeros(SHAPE, np.uint8)
    labels[MARK] = 4
    source = write_case(tmp_path / "one", with_seg(labels))
    first, second = (
        load_case(path, with_labels=True) for path in (source, reoriented(tmp_path / "two", source, codes))
    )
    assert nib.aff2axcodes(second.like.affine) == tuple(codes)
    np.testing.assert_allclose(second.image, first.image, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(second.brain, first.brain)
    np.testing.assert_array_equal(second.labels, first.labels)
    assert second.field == first.field


def test_channels_come_in_the_order_asked_for(folder):
    case, turned = load_case(folder), load_case(folder, ("flair", "t1"))
    np.testing.assert_array_equal(turned.image, case.image[:, [3, 0]])


def test_values_are_z_scores_inside_the_brain_and_zero_outside(folder):
    case = load_case(folder)
    inside = np.moveaxis(case.image, 1, 0)[:, case.brain].astype(np.float64)
    np.testing.assert_allclose(inside.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(inside.std(axis=1), 1, atol=1e-6)
    assert (np.moveaxis(case.image, 1, 0)[:, ~case.brain] == 0).all()
    volume = brain_volumes()["t2"]
    score = (volume[MARK] - volume[volume != 0].mean()) / volume[volume != 0].std()
    assert case.image[3, 2, 1, 5] == pytest.approx(score, rel=1e-5)


def test_the_brain_is_where_any_modality_is_not_zero_even_if_negative(tmp_path):
    volumes = brain_volumes()
    volumes["t1"][2, 2, 2] = volumes["t1ce"][2, 2, 2] = volumes["t2"][2, 2, 2] = 0
    volumes["flair"][2, 2, 2] = -700
    volumes["flair"][0, 0, 0] = -1
    case = load_case(write_case(tmp_path / "one", volumes))
    assert case.brain[2, 2, 2]
    assert case.image[2, 3, 2, 2] == case.image[:, 3].min() < 0
    assert case.brain[0, 0, 0]
    assert np.count_nonzero(case.brain) == 5 * 5 * 3 + 1


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_files_may_be_compressed_or_not(tmp_path, suffix):
    labels = np.zeros(SHAPE, np.uint8)
    case = load_case(write_case(tmp_path / "one", with_seg(labels), suffix=suffix), with_labels=True)
    np.testing.assert_array_equal(case.image, load_case(write_case(tmp_path / "b" / "one", brain_volumes())).image)
    assert case_in(tmp_path / "one").label is not None


def test_the_field_of_view_is_height_and_width_in_millimetres(tmp_path, folder):
    assert load_case(folder).field == (7 * 3.0, 6 * 2.0)
    assert load_case(reoriented(tmp_path / "two", folder, "SAR")).field == (7 * 3.0, 6 * 2.0)


def test_labels_are_read_only_when_asked_for(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 2, 3], labels[4, 5, 2], labels[2, 2, 1] = 1, 2, 4
    folder = write_case(tmp_path / "one", with_seg(labels))
    assert load_case(folder).labels is None
    read = load_case(folder, with_labels=True).labels
    assert read.dtype == np.uint8
    assert (read[3, 2, 1], read[2, 5, 4], read[1, 2, 2]) == (1, 2, 4)
    assert np.count_nonzero(read) == 3


def test_a_folder_with_a_segmentation_says_so(tmp_path, folder):
    assert case_in(folder).label is None
    assert case_in(write_case(tmp_path / "two", with_seg(np.zeros(SHAPE, np.uint8)))).label is not None


def test_a_missing_folder_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match=r"nowhere must be a case folder, but there is no such folder"):
        load_case(tmp_path / "nowhere")


def test_a_missing_modality_is_an_error_that_lists_what_is_there(folder):
    (folder / "one_t1ce.nii.gz").unlink()
    there = "one_flair.nii.gz, one_t1.nii.gz, one_t2.nii.gz"
    with pytest.raises(InputError, match=rf"one must hold one_t1ce\.nii\.gz, but it is missing; images there: {there}"):
        load_case(folder)


def test_a_missing_segmentation_is_an_error_that_names_the_case(folder):
    with pytest.raises(InputError, match=r"one must have a segmentation, but has none"):
        load_case(folder, with_labels=True)


def test_an_empty_folder_is_an_error_that_says_so(tmp_path):
    (tmp_path / "one").mkdir()
    with pytest.raises(InputError, match="one must be a case folder with images, but holds none"):
        load_case(tmp_path / "one")


@pytest.mark.parametrize("name", ["t2", "seg"])
def test_another_shape_is_an_error_that_names_both_files(tmp_path, name):
    volumes = with_seg(np.zeros(SHAPE, np.float32))
    volumes[name] = volumes[name][:, :, :4]
    folder = write_case(tmp_path / "one", volumes)
    message = rf"one_t1\.nii\.gz has 6 x 7 x 5 voxels .*one_{name}\.nii\.gz 6 x 7 x 4 voxels"
    with pytest.raises(InputError, match=message):
        load_case(folder, with_labels=True)


@pytest.mark.parametrize("name", ["t2", "seg"])
def test_another_affine_is_an_error_that_names_both_files(tmp_path, name):
    folder = write_case(tmp_path / "one", with_seg(np.zeros(SHAPE, np.uint8)))
    move(folder / f"one_{name}.nii.gz", 1.5)
    message = rf"one_t1\.nii\.gz has .*one_{name}\.nii\.gz the same, 0.75 voxels away.*register them to one grid first"
    with pytest.raises(InputError, match=message):
        load_case(folder, with_labels=True)


def move(path: Path, millimetres: float) -> None:
    affine = LPS.copy()
    affine[0, 3] = millimetres
    nib.save(nib.Nifti1Image(np.asarray(nib.Nifti1Image.from_filename(path).dataobj), affine), path)


def test_an_affine_that_differs_by_a_small_part_of_a_voxel_is_the_same_and_told(folder):
    move(folder / "one_t2.nii.gz", 0.02)
    case = load_case(folder)
    assert case.image.shape == (5, 4, 7, 6)
    assert notes(case) == ["one_t2.nii.gz lies 0.01 voxels beside one_t1.nii.gz: taken as the same place"]


def notes(case: Case) -> list[str]:
    return [finding.message for finding in case.findings if finding.level == Level.NOTE]


def test_no_voxel_is_read_before_all_headers_are_compared(tmp_path, monkeypatch):
    volumes = with_seg(np.zeros(SHAPE, np.float32))
    volumes["flair"] = volumes["flair"][:, :, :4]
    folder = write_case(tmp_path / "one", volumes)
    monkeypatch.setattr(Volume, "numbers", lambda volume: pytest.fail(f"{volume.path} was read"))
    with pytest.raises(InputError, match="register them to one grid first"):
        load_case(folder)


def test_what_was_taken_for_granted_is_among_the_findings(tmp_path):
    volumes = brain_volumes()
    outside = volumes["t1"] == 0
    for name in ("t1", "flair"):
        volumes[name][outside] = -1
    volumes["t2"][volumes["t2"] != 0] = 7
    folder = write_case(tmp_path / "one", volumes)
    case = load_case(folder)
    assert "the background of t1, flair is -1, the value along the border" in notes(case)
    warnings = [finding.message for finding in case.findings if finding.level == Level.WARNING]
    assert "t2: one single value inside the brain, which tells nothing and is read as 0" in warnings
    assert any("litres, where 0.9 to 1.8 are usual" in message for message in warnings)


@pytest.mark.parametrize("background", [-1.0, 2000.0])
def test_another_background_gives_the_same_brain_and_values(tmp_path, background):
    volumes = brain_volumes()
    outside = volumes["t1"] == 0
    case = load_case(write_case(tmp_path / "one", volumes))
    for voxels in volumes.values():
        voxels[outside] = background
    other = load_case(write_case(tmp_path / "two", volumes))
    np.testing.assert_array_equal(other.brain, case.brain)
    np.testing.assert_array_equal(other.image, case.image)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_an_error_that_names_the_file(tmp_path, value):
    volumes = brain_volumes()
    volumes["t2"][2, 2, 2] = value
    with pytest.raises(InputError, match=r"one_t2\.nii\.gz must hold finite values, but holds NaN or Inf"):
        load_case(write_case(tmp_path / "one", volumes))


@pytest.mark.parametrize("value", [0, -1, 7])
def test_an_image_without_brain_is_an_error(tmp_path, value):
    empty = {name: np.full(SHAPE, value, np.int16) for name in MODALITIES}
    with pytest.raises(InputError, match=r"one must show a brain, but every modality is constant"):
        load_case(write_case(tmp_path / "one", empty))


@pytest.mark.parametrize("value", [3, -1, 258, 1024])
def test_a_label_outside_the_scheme_is_an_error_that_tells_it(tmp_path, value):
    labels = np.zeros(SHAPE, np.float32)
    labels[1, 2, 3] = value
    folder = write_case(tmp_path / "one", with_seg(labels))
    with pytest.raises(InputError, match=rf"one_seg\.nii\.gz must hold the brats2020 labels 0, 1, 2, 4, got {value};"):
        load_case(folder, with_labels=True)


def test_labels_can_be_added_to_a_case_that_was_read_without(tmp_path):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 2, 3] = 4
    files = case_in(write_case(tmp_path / "one", with_seg(labels)))
    whole, added = load_case(files, with_labels=True), add_labels(load_case(files), files)
    np.testing.assert_array_equal(added.labels, whole.labels)
    assert set(added.findings) == set(whole.findings)
    (tmp_path / "one" / "one_seg.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"one_seg\.nii\.gz must be an image"):
        add_labels(load_case(files), files)


def test_cases_are_the_folders_with_images_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a", ".hidden"):
        write_case(tmp_path / name, {"t1": np.ones(SHAPE, np.float32)})
    write_case(tmp_path / "c", {"t1": np.ones(SHAPE, np.float32)}, suffix=".nii")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.nii").touch()
    assert [case.name for case in cases_in(tmp_path)] == ["a", "b", "c"]


def test_a_data_set_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nowhere must be a folder of case folders, but there is no such folder"):
        cases_in(tmp_path / "nowhere")


def test_a_data_set_without_cases_is_an_error(folder):
    with pytest.raises(
        InputError, match="one must hold case folders with images in them, but it is a case folder itself"
    ):
        cases_in(folder)


def test_slices_of_a_volume_lie_as_those_of_a_case(tmp_path, folder):
    for path in (folder, reoriented(tmp_path / "two", folder, "RAS")):
        slices = load_slices(path / f"{path.name}_t1.nii.gz")
        assert slices.shape == (5, 7, 6)
        assert np.unravel_index(slices.argmax(), slices.shape) == (3, 1, 5)


def test_a_volume_of_slices_is_in_lps_axes():
    slices = np.arange(5 * 7 * 6).reshape(5, 7, 6)
    volume = as_volume(slices)
    assert volume.shape == SHAPE
    assert volume[5, 1, 3] == slices[3, 1, 5]


def test_a_folder_may_be_given_as_the_current_one(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_case(Path(".")).name == "one"


def with_mask(folder: Path, mask: np.ndarray) -> CaseFiles:
    path = folder / "mask.nii.gz"
    nib.save(nib.Nifti1Image(mask, LPS), path)
    return replace(case_in(folder), mask=path)


@pytest.mark.parametrize("noise", [0.0, 1e-6, 0.2])
def test_a_mask_that_was_resampled_keeps_its_brain(folder, noise):
    inside = np.zeros(SHAPE, bool)
    inside[2:4, 2:5, 1:4] = True
    mask = (inside + noise * np.random.default_rng(0).uniform(-1, 1, SHAPE)).astype(np.float32)
    brain = load_case(with_mask(folder, mask)).brain
    np.testing.assert_array_equal(brain, inside.transpose(2, 1, 0))


def test_an_implausible_mask_is_doubted_by_its_name_and_an_empty_one_refused(folder):
    case = load_case(with_mask(folder, np.ones(SHAPE, np.uint8)))
    (warning,) = [finding.message for finding in case.findings if finding.level == Level.WARNING]
    assert warning.startswith("the brain mask mask.nii.gz has ")
    assert warning.endswith("of the image; if it is not the brain, correct it")
    with pytest.raises(InputError, match=r"mask\.nii\.gz must show a brain, but no voxel of it is above 0\.5"):
        load_case(with_mask(folder, np.zeros(SHAPE, np.uint8)))
