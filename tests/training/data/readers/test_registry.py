"""Data sets and case folders: what is said where a path is not what it should be, and of what is not used."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from spuproj.training.data.case import load_case
from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, errors_of, modalities_of, modality_named
from spuproj.training.data.readers.grouping import grouped
from spuproj.training.data.readers.patterns import typed_conventions
from spuproj.training.data.readers.registry import case_in, cases_in, read_data
from spuproj.training.runtime.errors import InputError
from tiny_datasets import NEW, OLD, brats, in_folders, touch


@pytest.mark.parametrize(
    ("name", "separator", "endings", "label", "scheme"),
    [
        ("BraTS20_Training_001", "_", OLD, 4, "brats2020"),
        ("BraTS2021_00000", "_", OLD, 4, "brats2020"),
        ("BraTS-GLI-00000-000", "-", NEW, 3, "brats2023"),
    ],
)
def test_brats_folders_of_each_year_are_loaded(tmp_path, name, separator, endings, label, scheme):
    brats(tmp_path, name, separator, endings, label)
    (files,) = cases_in(tmp_path)
    assert (files.name, files.scheme.name, tuple(files.images)) == (name, scheme, OLD)
    case = load_case(files, with_labels=True)
    assert case.image.shape == (5, 4, 7, 6)
    assert case.target("ET").sum() == 1


def test_labels_may_be_named_where_the_file_names_tell_another_scheme(tmp_path):
    brats(tmp_path, "BraTS-GLI-02405-100", "-", NEW, 4)
    (files,) = cases_in(tmp_path)
    message = "must hold the brats2023 labels 0, 1, 2, 3, got 4; if they are of another scheme, name it: brats2020, "
    with pytest.raises(InputError, match=re.escape(message)):
        load_case(files, with_labels=True)
    (named,) = cases_in(tmp_path, "brats2024")
    assert load_case(named, with_labels=True).target("WT").sum() == 0
    assert case_in(tmp_path / "BraTS-GLI-02405-100", "brats2024").scheme == named.scheme


def test_labels_of_children_are_read_in_the_scheme_that_is_named(tmp_path):
    brats(tmp_path, "BraTS-PED-00002-000", "-", NEW, 1)
    with pytest.raises(InputError, match="must be named, since their values do not tell"):
        load_case(cases_in(tmp_path)[0], with_labels=True)
    enhancing = {
        name: int(load_case(cases_in(tmp_path, name)[0], with_labels=True).target("ET").sum())
        for name in ("brats-ped2023", "brats-ped2024")
    }
    assert enhancing == {"brats-ped2023": 0, "brats-ped2024": 1}


def test_what_is_left_out_is_said_on_standard_error(tmp_path, capsys):
    touch(tmp_path, *in_folders(("p1", "p2"), "_", OLD), "p1/p1_adc.nii.gz", "p2/p2_adc.nii.gz")
    touch(tmp_path, "p3/p3_seg.nii.gz", "p4/notes.txt", "p5/scan.dcm", "top.nii.gz", "p6/again/t1.mnc")
    (tmp_path / "p7" / "p8").mkdir(parents=True)
    assert [case.name for case in cases_in(tmp_path)] == ["p1", "p2"]
    said = capsys.readouterr().err
    assert "3 images are not used, as no convention names them so: p1/p1_adc.nii.gz (and 1 like it), top.nii.gz" in said
    assert "1 image is not used, as there is no image of the same case: p3/p3_seg.nii.gz" in said
    assert "2 folders hold no image, and are no case: p4, p7" in said
    assert "images of this kind are not read: p5/scan.dcm, p6/again/t1.mnc" in said
    assert "dcm2niix" in said


def test_what_a_case_folder_holds_and_is_not_used_is_said(tmp_path, capsys):
    touch(tmp_path, *in_folders(("p1",), "_", OLD), "p1/p1_adc.nii.gz", "p1/scan.dcm", "p2/p2_t1.nii.gz")
    assert len(case_in(tmp_path / "p1").images) == 4
    assert capsys.readouterr().err.splitlines() == [
        "1 image is not used, as no convention names it so: p1/p1_adc.nii.gz; to use them, list them in a manifest "
        "('spuproj manifest')",
        "1 image is not used, as images of this kind are not read: scan.dcm; convert them to NIfTI (.nii.gz) first, "
        "DICOM for example with dcm2niix",
    ]
    case_in(tmp_path / "p2")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.10008.5.1", "IMG.0001", "scan.dcm"])
def test_dicom_files_are_known_without_an_ending(tmp_path, name):
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / name).write_bytes(bytes(128) + b"DICM" + bytes(10))
    (tmp_path / "p1" / "README").write_bytes(b"text" * 100)
    (tmp_path / "p1" / "short").write_bytes(b"")
    os.mkfifo(tmp_path / "p1" / "pipe")
    for read, path in ((read_data, tmp_path), (case_in, tmp_path / "p1")):
        assert "1 image is not used, as images of this kind are not read: " in refusal(read, path)
        assert f"{name}; convert them to NIfTI" in refusal(read, path)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["p1.zip", "p2.TAR.GZ"], "not used: 2 archives, p1.zip, p2.TAR.GZ; unpack them"),
        (
            ["p1_t1.img.gz", "p1_t1.hdr.gz"],
            "images of this kind are not read: p1_t1.hdr.gz, p1_t1.img.gz; convert them",
        ),
        (["slice1.tif", "slice2.tif"], "2 files of other kinds there: slice1.tif (and 1 like it); if they are images"),
        (["I1.mr"], "1 file of other kinds there: I1.mr; if they are images, convert them to NIfTI"),
    ],
)
def test_what_a_folder_holds_in_place_of_images_is_told(tmp_path, names, told):
    touch(tmp_path, *names)
    for read in (read_data, case_in):
        assert told in refusal(read, tmp_path)


def test_archives_beside_cases_are_left_out_with_a_word(tmp_path):
    touch(tmp_path, *in_folders(("p1",), "_", OLD), "p2.zip", "notes.txt")
    assert read_data(tmp_path).left_out == ("not used: 1 archive, p2.zip; unpack it",)


def test_a_folder_that_cannot_be_listed_is_said(tmp_path, monkeypatch):
    touch(tmp_path, *in_folders(("p1", "p2"), "_", OLD))
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "p2":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr("spuproj.training.data.readers.listing.os.scandir", refuse)
    found = read_data(tmp_path)
    assert [case.name for case in found.cases] == ["p1", "p2"]
    assert "p2/ cannot be listed: Permission denied" in "".join(found.left_out)
    # It may be that of a case, which must not be missing in silence.
    (closed,) = (case for case in found.cases if case.name == "p2")
    assert closed.images == {}
    assert errors_of(closed) == "; its folder p2 cannot be listed: Permission denied"
    with pytest.raises(InputError, match=r"1 of 2 lacks .*: p2.*; its folder p2 cannot be listed: Permission"):
        modalities_of(found.cases)


def test_paths_may_be_relative_and_go_up_through_links(tmp_path, monkeypatch):
    touch(tmp_path, *in_folders(("far/data/p1",), "_", OLD))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "far" / "data")
    monkeypatch.chdir(tmp_path / "here")
    (case,) = read_data(Path("link/../data")).cases
    assert case.images["t1"].path == tmp_path / "far" / "data" / "p1" / "p1_t1.nii.gz"
    assert case_in(Path("link/p1/../p1")) == case
    (linked,) = read_data(Path("link")).cases
    assert linked.images["t1"].path == tmp_path / "here" / "link" / "p1" / "p1_t1.nii.gz"
    monkeypatch.chdir(tmp_path / "far" / "data")
    assert read_data(Path()).cases == (case,)
    monkeypatch.chdir(tmp_path / "far" / "data" / "p1")
    assert case_in(Path()) == case


def test_a_modality_that_a_case_has_not_is_named(tmp_path):
    folder = brats(tmp_path, "one", "_", OLD, 4)
    with pytest.raises(InputError, match="one must have the modality dwi, but has t1, t1ce, t2, flair"):
        load_case(folder, ("t1", "dwi"))


def test_a_file_that_is_there_twice_is_not_read_and_the_error_says_so(tmp_path):
    folder = brats(tmp_path, "one", "_", OLD, 4)
    for kind in ("t1", "seg"):
        (folder / f"one_{kind}.nii").write_bytes((folder / f"one_{kind}.nii.gz").read_bytes())
    assert load_case(folder, ("t2", "flair")).image.shape == (5, 2, 7, 6)
    with pytest.raises(
        InputError, match=r"one must have the modality t1, but .*one_t1\.nii and one/one_t1\.nii\.gz are"
    ):
        load_case(folder, OLD)
    with pytest.raises(
        InputError, match=r"one must have a segmentation, but .*one_seg\.nii and one/one_seg\.nii\.gz are"
    ):
        load_case(folder, ("t2",), with_labels=True)


def listed(name, *modalities, findings=()):
    return CaseFiles(name, {modality: ImageFile(Path(os.devnull)) for modality in modalities}, findings=findings)


def test_cases_of_one_set_of_modalities_have_the_first_ones_order():
    assert modalities_of([listed("a", "t2", "t1"), listed("b", "t1", "t2")]) == ("t2", "t1")


def test_a_modality_that_some_cases_lack_is_an_error_that_names_them():
    cases = [listed(f"p{number}", "t1", "t2") for number in range(8)]
    cases += [listed("x", "t1"), listed("y", "t1"), listed("z", "t2", "flair", findings=(Finding(Level.ERROR, "Why"),))]
    with pytest.raises(InputError) as error:
        modalities_of(cases)
    message = str(error.value)
    assert "1 of 11 lacks t1: z; " in message
    assert "2 of 11 lack t2, flair: x, y; " in message
    assert "8 of 11 lack flair: p0, p1, p2, p3, p4 and 3 more" in message
    assert message.endswith("correct it; Why")


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("T1n", "t1"),
        ("t1c", "t1ce"),
        ("T1Gd", "t1ce"),
        ("T1+C", "t1ce"),
        ("CT1", "t1ce"),
        ("ce-T1w", "t1ce"),
        ("CT", "ct"),
        ("T2W", "t2"),
        ("t2f", "flair"),
        ("FLAIR", "flair"),
        ("ADC", "adc"),
    ],
)
def test_modalities_have_one_name(name, usual):
    assert modality_named(name) == usual


def refusal(read, path):
    with pytest.raises(InputError) as error:
        read(path)
    return str(error.value)


def test_a_typo_is_answered_with_names_like_it(tmp_path):
    touch(tmp_path, *in_folders(("training/BraTS20_001", "validation/BraTS20_101"), "_", OLD), "cohort.json")
    near = f"there is no such folder; did you mean {tmp_path / 'training'}?"
    assert near in refusal(read_data, tmp_path / "trainig")
    near = f"there is no such folder; did you mean {tmp_path / 'training' / 'BraTS20_001'}?"
    assert near in refusal(case_in, tmp_path / "training" / "BraTS20_01")
    message = refusal(read_data, tmp_path / "cohrot.json")
    assert message.startswith(f"{tmp_path / 'cohrot.json'} must be a manifest, but there is no such file")
    assert str(tmp_path / "cohort.json") in message
    for read in (read_data, case_in):
        assert refusal(read, tmp_path / "xyz").endswith("but there is no such folder")
        assert f"but there is no folder {tmp_path / 'none'}" in refusal(read, tmp_path / "none" / "xyz")


def test_a_case_folder_or_a_file_in_place_of_a_data_set_is_told_what_to_type(tmp_path):
    touch(tmp_path, *in_folders(("data/p1",), "_", OLD), "bids/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "notes.txt")
    folder, image = tmp_path / "data" / "p1", tmp_path / "data" / "p1" / "p1_t1.nii.gz"
    message = refusal(read_data, folder)
    assert f"it is a case folder itself; give the folder of all cases, {tmp_path / 'data'}" in message
    assert f"only 'spuproj predict' takes one case, as --case {folder}" in message
    message = refusal(read_data, image)
    assert f"it is a single image; give the folder of its case folders, which may be {tmp_path / 'data'}" in message
    assert f"only 'spuproj predict' takes one case, as --case {folder}" in message
    assert "it is a file of another kind" in refusal(read_data, tmp_path / "notes.txt")
    (tmp_path / "data" / "dataset.json").touch()
    assert f"it describes one; give its folder, {tmp_path / 'data'}" in refusal(
        read_data, tmp_path / "data" / "dataset.json"
    )


def test_a_data_set_or_a_file_in_place_of_a_case_is_told_what_to_type(tmp_path):
    touch(tmp_path, *in_folders(("data/p1", "data/p2", "data/p3", "data/p4"), "_", OLD), "data/all.csv")
    data = tmp_path / "data"
    message = refusal(case_in, data)
    assert "it is a data set of 4 cases (p1, p2, p3 and more); give the folder of one case, or all" in message
    assert message.endswith(f"with --data {data}")
    assert f"it is a file; give its folder, {data / 'p1'}" in refusal(case_in, data / "p1" / "p1_t1.nii.gz")
    assert "it is a file; give a manifest with --data" in refusal(case_in, data / "all.csv")


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "dicom/p1/IM1.dcm", "dicom/p1/IM2.dcm", "odd/p1/scan.nii.gz")
    assert refusal(read_data, tmp_path / "empty").endswith("but holds none")
    assert refusal(case_in, tmp_path / "empty").endswith("but holds none")
    message = refusal(read_data, tmp_path / "dicom")
    assert "2 images are not used, as images of this kind are not read: p1/IM1.dcm (and 1 like it)" in message
    assert "dcm2niix" in message
    assert "none of its images is named as in a known convention: scan.nii.gz; rename" in refusal(
        case_in, tmp_path / "odd/p1"
    )


def test_a_folder_of_unknown_names_is_answered_with_patterns_of_its_files(tmp_path):
    touch(tmp_path, *(f"site/{name}/{name}_{kind}.nii.gz" for name in ("anna", "ben") for kind in ("post", "lesion2")))
    message = refusal(read_data, tmp_path)
    assert (
        "none of its images is named as in a known convention: site/anna/anna_lesion2.nii.gz (and 1 like it)" in message
    )
    assert f"spuproj manifest {tmp_path} --out manifest.json" in message
    assert "--image NAME='*/{case}/{case}_post.nii.gz'" in message


def test_a_pattern_that_is_suggested_names_the_case_by_its_own_folder_and_works(tmp_path):
    touch(tmp_path, *(f"site/{name}/expert/{name}_map.nii.gz" for name in ("anna", "ben")))
    assert "NAME='*/{case}/expert/{case}_map.nii.gz'" in refusal(read_data, tmp_path)
    groups, others = grouped(
        [f"site/{name}/expert/{name}_map.nii.gz" for name in ("anna", "ben")],
        typed_conventions({"t1": "*/{case}/expert/{case}_map.nii.gz"}, None, None),
    )
    assert ([group.name for group in groups], others) == (["anna", "ben"], [])


def test_a_link_to_a_folder_that_is_not_there_is_told(tmp_path):
    brats(tmp_path, "p1", "_", OLD, 4)
    (tmp_path / "p2").symlink_to("/nowhere/p2")
    assert read_data(tmp_path).left_out == ("p2 cannot be listed: it is a link to /nowhere/p2, which does not exist",)
    with pytest.raises(InputError, match=r"p2 must be a folder of case folders, but is a link to /nowhere/p2, which"):
        read_data(tmp_path / "p2")


def test_a_segmentation_that_is_named_for_another_case_is_not_used(tmp_path):
    for name in ("p1", "p2", "p10"):
        brats(tmp_path, name, "_", OLD, 4)
        (tmp_path / name / f"{name}_seg.nii.gz").unlink()
    touch(tmp_path, "p1/p2_seg.nii.gz", "p2/p10-Segm.nii.gz", "p10/p10_x_Segm.nii.gz")
    found = read_data(tmp_path)
    assert {case.name: case.label and case.label.name for case in found.cases} == {
        "p1": None,
        "p2": None,
        "p10": "p10_x_Segm.nii.gz",
    }
    (sentence,) = found.left_out
    assert "p1/p2_seg.nii.gz" in sentence
    assert "p2/p10-Segm.nii.gz" in sentence
