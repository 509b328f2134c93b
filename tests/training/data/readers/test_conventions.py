"""Each convention of naming files: what is found, what is left out, and that a manifest of it is read to the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers import ROOT
from spuproj.training.data.findings import Level
from spuproj.training.data.patients import patient_of
from spuproj.training.data.readers.case_files import SUFFIXES
from spuproj.training.data.readers.conventions import CONVENTIONS
from spuproj.training.data.readers.dataset_json import MSD, NNUNET
from spuproj.training.data.readers.registry import case_in, read_data
from spuproj.training.data.volumes import itk_file, nibabel_file
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.manifest import make_manifest
from tiny_datasets import LAYOUTS, NEW, OLD, in_folders, touch

EVERY = [convention.name for convention in (*CONVENTIONS, NNUNET, MSD)]


def test_there_is_a_data_set_for_every_convention():
    assert set(LAYOUTS) == set(EVERY)


def test_the_documentation_has_a_row_for_every_convention():
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "data.md").read_text(), re.MULTILINE)
    assert [name for name in EVERY if name not in rows] == []


@pytest.mark.parametrize("name", EVERY)
def test_the_files_of_a_case_are_found_and_the_rest_is_said(tmp_path, name):
    layout = LAYOUTS[name]
    found = read_data(layout.make(tmp_path))
    case = next(case for case in found.cases if case.name == layout.case)
    assert {modality: file.path for modality, file in case.images.items()} == {
        modality: tmp_path / path for modality, path in layout.images.items()
    }
    assert case.label == (layout.label and tmp_path / layout.label)
    assert (case.scheme and case.scheme.name) == layout.scheme
    assert patient_of(case) == layout.patient
    assert [path for path in layout.unused if not any(path in sentence for sentence in found.left_out)] == []
    assert layout.unused or found.left_out == ()


@pytest.mark.parametrize("name", EVERY)
def test_every_file_is_in_a_case_or_left_out(tmp_path, name):
    layout = LAYOUTS[name]
    found = read_data(layout.make(tmp_path))
    used = {
        path for case in found.cases for path in (*(file.path for file in case.images.values()), case.label, case.mask)
    }
    assert {tmp_path / path for path in layout.files} == used - {None}


@pytest.mark.parametrize("name", EVERY)
def test_a_manifest_is_read_to_the_same_cases(tmp_path, name):
    data = LAYOUTS[name].make(tmp_path / "data")
    for out in (tmp_path / "beside.json", data / "within.json", tmp_path / "elsewhere" / "far.json"):
        make_manifest(data, out)
        assert read_data(out).cases == read_data(data).cases
    assert '"data/' in (tmp_path / "beside.json").read_text()
    assert str(tmp_path) not in (data / "within.json").read_text()


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("BraTS 2018 to 2021", "HGG/BraTS20_Training_001"),
        ("BraTS 2023 and later: GLI, MEN, MET, SSA", "BraTS-GLI-00000-000"),
        ("BraTS-PED", "BraTS-PED-00002-000"),
        ("BraTS-MEN-RT", "BraTS-MEN-RT-0000-1"),
        ("UCSF-PDGM", "UCSF-PDGM-0004_nifti"),
        ("UPENN-GBM", "images_structural/UPENN-GBM-00001_11"),
        ("BIDS", "sub-02"),
        ("BIDS", "sub-01/ses-1"),
        ("case folders", "p1"),
    ],
)
def test_one_case_folder_is_read_as_in_its_data_set(tmp_path, name, folder):
    data = LAYOUTS[name].make(tmp_path)
    case = case_in(data / folder)
    (same,) = [other for other in read_data(data).cases if other.name == case.name]
    assert case.images == same.images
    assert case.scheme == same.scheme


@pytest.mark.parametrize("visit", ["visit1", "ses-2", "Baseline", "2021-03-04", "post", "week-000-1"])
def test_a_visits_folder_is_a_case_of_the_folders_patient(tmp_path, visit):
    touch(tmp_path, f"site/p1/{visit}/p1_{visit}_T1.nii.gz", f"site/p1/{visit}/seg.nii.gz", "site/p2/t1.nii.gz")
    one, two = read_data(tmp_path).cases
    assert (one.name, patient_of(one), two.name) == (f"p1_{visit}", "p1", "p2")
    assert one.label == tmp_path / "site" / "p1" / visit / "seg.nii.gz"
    assert case_in(tmp_path / "site" / "p1" / visit) == case_in(tmp_path / "site" / "p1") == one


def test_the_brain_mask_of_bids_and_of_case_folders_is_found(tmp_path):
    bids = read_data(LAYOUTS["BIDS"].make(tmp_path / "bids")).cases[0]
    assert bids.mask is not None
    assert bids.mask.name == "sub-01_ses-1_desc-brain_mask.nii.gz"
    folders = read_data(LAYOUTS["case folders"].make(tmp_path / "folders")).cases[0]
    assert folders.mask == tmp_path / "folders" / "P2" / "p2-brainmask.nii.gz"


def test_the_channels_of_a_file_of_several_modalities_are_told(tmp_path):
    (case,) = read_data(LAYOUTS["Medical Segmentation Decathlon"].make(tmp_path)).cases
    assert {name: file.channel for name, file in case.images.items()} == {"flair": 0, "t1": 1, "t1ce": 2, "t2": 3}


def test_a_segmentation_that_was_corrected_goes_before_an_automatic_one(tmp_path):
    found = read_data(LAYOUTS["UPENN-GBM"].make(tmp_path))
    second = found.cases[1]
    assert second.label == tmp_path / "automated_segm" / "UPENN-GBM-00001_21_automated_approx_segm.nii.gz"
    assert found.left_out[0].startswith(
        "1 image is not used, as there is a corrected segmentation of the case: automated"
    )


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("case folders", "names of BraTS 2023")])
def test_published_names_are_taken_without_a_word(tmp_path, name):
    assert [case.findings for case in read_data(LAYOUTS[name].make(tmp_path)).cases if case.findings] == []


def test_what_other_names_were_taken_for_is_noted(tmp_path):
    case = next(case for case in read_data(LAYOUTS["case folders"].make(tmp_path)).cases if case.name == "p1")
    (finding,) = case.findings
    assert finding.level == Level.NOTE
    assert "t1 from 'T1', segmentation from 'Tumor', t1ce from 't1c'" in finding.message


def test_a_scheme_that_is_taken_from_borrowed_names_is_noted(tmp_path):
    (case,) = read_data(LAYOUTS["names of BraTS 2023"].make(tmp_path)).cases
    (finding,) = case.findings
    assert finding.level == Level.NOTE
    assert "that the labels are those of brats2023 (--labels names others)" in finding.message


@pytest.mark.parametrize(
    ("word", "modality"),
    [
        ("t1", "t1"), ("T1", "t1"), ("T1w", "t1"), ("t1n", "t1"),
        ("t1ce", "t1ce"), ("T1CE", "t1ce"), ("T1c", "t1ce"), ("T1GD", "t1ce"), ("t1-gd", "t1ce"), ("T1_post", "t1ce"),
        ("T2", "t2"), ("T2w", "t2"), ("FLAIR", "flair"), ("Flair", "flair"), ("t2f", "flair"), ("T2-FLAIR", "flair"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["p1/{}.nii.gz", "p1/p1_{}.nii", "a/b/p1/p1-{}.mgz", "p1/P1 {}.nrrd"])
def test_a_case_folder_may_spell_a_modality_in_any_way(tmp_path, form, word, modality):
    (case,) = read_data(touch(tmp_path, form.format(word))).cases
    assert (case.name, list(case.images)) == ("p1", [modality])


@pytest.mark.parametrize("word", ["seg", "SEG", "Segmentation", "tumor", "tumour_seg", "label", "gtv", "lesion-mask"])
def test_a_case_folder_may_name_its_segmentation_in_many_ways(tmp_path, word):
    (case,) = read_data(touch(tmp_path, "p1/T1.nii.gz", f"p1/{word}.nii.gz")).cases
    assert case.label == tmp_path / "p1" / f"{word}.nii.gz"
    assert case.scheme is None


@pytest.mark.parametrize(
    ("files", "scheme"),
    [
        (in_folders(("p1",), "_", (*OLD, "seg")), "brats2020"),
        (in_folders(("p1",), "_", ("t1ce", "flair", "seg", "brainmask")), "brats2020"),
        (in_folders(("p1",), "_", ("t1", "flair", "seg")), None),
        (in_folders(("p1",), "_", ("t1", "t1c", "t2", "flair", "seg")), None),
        (in_folders(("p1",), "-", (*NEW, "seg")), "brats2023"),
        (in_folders(("p1",), "-", ("t1c", "t2w", "seg")), None),
        (in_folders(("BraTS-MET-00001-000",), "-", (*NEW, "seg")), "brats2023"),
        (in_folders(("BraTS-GoAT-00001",), "-", (*NEW, "seg")), None),
        (("p1/t1.nii", "p1/t1ce.nii", "p1/t2.nii", "p1/flair.nii", "p1/seg.nii"), None),
    ],
)
def test_a_name_that_does_not_decide_a_scheme_decides_none(tmp_path, files, scheme):
    (case,) = read_data(touch(tmp_path, *files)).cases
    assert (case.scheme and case.scheme.name) == scheme


def test_an_unusual_segmentation_is_taken_and_noted_but_not_one_of_the_brain(tmp_path):
    files = in_folders(("BraTS20_Training_355",), "_", OLD)
    touch(tmp_path, *files, "BraTS20_Training_355/W39_1998.09.19_Segm.nii", "BraTS20_Training_355/brain_seg.nii.gz")
    found = read_data(tmp_path)
    (case,) = found.cases
    assert case.label == tmp_path / "BraTS20_Training_355" / "W39_1998.09.19_Segm.nii"
    assert case.scheme is not None
    assert case.scheme.name == "brats2020"
    assert [finding.message for finding in case.findings] == [
        "the segmentation is W39_1998.09.19_Segm.nii, where BraTS20_Training_355_seg.nii.gz is expected"
    ]
    assert "brain_seg.nii.gz" in found.left_out[0]


def test_of_two_unusual_segmentations_none_is_taken_and_both_are_named(tmp_path):
    touch(tmp_path, *in_folders(("p1",), "_", OLD), "p1/p1_seg_a.nii.gz", "p1/p1_seg_b.nii.gz")
    (case,) = read_data(tmp_path).cases
    assert case.label is None
    (finding,) = case.findings
    assert finding.level == Level.WARNING
    assert "p1_seg_a.nii.gz and p1_seg_b.nii.gz may each be the segmentation" in finding.message


@pytest.mark.parametrize(
    ("kind", "modality"),
    [
        ("T1w", "t1"),
        ("acq-pre_T1w", "t1"),
        ("acq-precontrast_T1w", "t1"),
        ("acq-mprage_rec-norm_T1w", "t1"),
        ("part-mag_T2w", "t2"),
        ("acq-post_ce-gd_T1w", "t1ce"),
        ("acq-post_T1w", None),
        ("acq-mprageGd_T1w", None),
        ("rec-contrast_T1w", None),
        ("desc-enhanced_T1w", None),
        ("part-phase_T1w", None),
        ("acq-2d_part-real_T2w", None),
        ("part-imag_FLAIR", None),
    ],
)
def test_images_of_bids_that_are_not_plainly_of_a_modality_are_left_to_the_user(tmp_path, kind, modality):
    image = f"sub-1/anat/sub-1_{kind}.nii.gz"
    found = read_data(touch(tmp_path, image, "sub-1/anat/sub-1_acq-other_PDw.nii.gz", "sub-2/anat/sub-2_T2w.nii.gz"))
    taken = [(name, file.path) for case in found.cases if case.name == "sub-1" for name, file in case.images.items()]
    assert taken == ([(modality, tmp_path / image)] if modality else [])
    assert (image in " ".join(found.left_out)) == (modality is None)


@pytest.mark.parametrize("twice", ["t2", "seg"])
def test_two_files_for_one_thing_hide_nothing_else_about_the_case(tmp_path, twice):
    touch(tmp_path, *in_folders(("p1",), "_", (*OLD, "seg", twice.upper())))
    (case,) = read_data(tmp_path).cases
    (error,) = case.findings
    assert (error.level, case.scheme and case.scheme.name) == (Level.ERROR, "brats2020")
    assert set(case.images) == set(OLD) - {twice}


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [
        ("p1/T1w.nii.gz", "p1/t1.nii", "the modality t1"),
        ("p1/p1_t1ce.nii.gz", "p1/p1_t1ce.nii", "the modality t1ce"),
        ("p1/T1GD.nii.gz", "p1/p1_t1c.nii.gz", "the modality t1ce"),
        ("p1/seg.nii.gz", "p1/tumor.nii.gz", "the segmentation"),
        ("p1/brainmask.nii.gz", "p1/brain_mask.nii.gz", "the brain mask"),
        ("sub-1/anat/sub-1_run-1_T2w.nii.gz", "sub-1/anat/sub-1_run-2_T2w.nii.gz", "the modality t2"),
    ],
)
def test_two_files_for_one_thing_are_an_error_of_the_case_that_names_both(tmp_path, first, second, what):
    touch(tmp_path, first, second, f"{Path(first).parent}/p1_flair.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz")
    findings = [finding for case in read_data(tmp_path).cases for finding in case.findings]
    (message,) = [finding.message for finding in findings if finding.level == Level.ERROR]
    assert message.startswith(f"{what} must be one file, but ")
    assert first in message
    assert second in message


def test_the_one_file_that_a_brats_case_lacks_is_expected_where_it_should_be(tmp_path):
    touch(tmp_path, *in_folders(("p1",), "_", ("t1", "t1ce", "flair")), "p2/p2_t1ce.nii", "p2/p2_flair.nii")
    one, two = read_data(tmp_path).cases
    assert one.images["t2"].path == tmp_path / "p1" / "p1_t2.nii.gz"
    assert list(two.images) == ["t1ce", "flair"]


def test_the_endings_that_are_found_are_those_that_are_read():
    assert set(SUFFIXES) == {*nibabel_file.SUFFIXES, *itk_file.SUFFIXES}


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".NII.GZ", ".Mha"])
def test_images_of_every_ending_are_found(tmp_path, suffix):
    (case,) = read_data(touch(tmp_path, f"p1/T1{suffix}")).cases
    assert case.images["t1"].path == tmp_path / "p1" / f"T1{suffix}"


def test_hidden_files_are_never_data(tmp_path):
    touch(
        tmp_path,
        *in_folders(("p1",), "_", OLD),
        "p1/._p1_t1.nii.gz",
        "__MACOSX/p1/p1_t1.nii.gz",
        ".old/p2/p2_t1.nii.gz",
    )
    found = read_data(tmp_path)
    assert [case.name for case in found.cases] == ["p1"]
    assert found.left_out == ()


def test_a_link_whose_file_is_not_there_and_a_folder_named_like_an_image_are_found(tmp_path):
    touch(tmp_path, *in_folders(("p1",), "_", ("t1ce", "t2", "flair")))
    (tmp_path / "p1" / "p1_seg.nii.gz").symlink_to(tmp_path / "not-fetched")
    touch(tmp_path, "p1/p1_t1.nii/inside.nii")
    (case,) = read_data(tmp_path).cases
    assert case.label == tmp_path / "p1" / "p1_seg.nii.gz"
    assert case.images["t1"].path == tmp_path / "p1" / "p1_t1.nii"
    assert case_in(tmp_path / "p1") == case


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, *in_folders(("elsewhere/p1",), "_", OLD))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "p1").symlink_to(tmp_path / "elsewhere" / "p1")
    (tmp_path / "elsewhere" / "p1" / "up").symlink_to(tmp_path / "data")
    (case,) = read_data(tmp_path / "data").cases
    assert case.images["t1"].path == tmp_path / "data" / "p1" / "p1_t1.nii.gz"


@pytest.mark.parametrize("name", ["x ", "y" * 200, "a\\b", b"M\xfcller".decode("utf-8", "surrogateescape")])
def test_a_folder_whose_name_no_output_can_have_is_left_out_and_the_others_are_read(tmp_path, name):
    touch(tmp_path, *in_folders(("p1",), "_", OLD), f"{name}/t1.nii.gz", f"{name}/odd.nii.gz")
    found = read_data(tmp_path)
    assert [case.name for case in found.cases] == ["p1"]
    said = "\n".join(found.left_out)
    assert "not used: 1 case whose name is no plain file name: " in said
    said.encode()


def test_cases_of_one_name_in_two_folders_are_an_error_that_names_both(tmp_path):
    touch(tmp_path, *in_folders(("raw/p1", "cropped/p1"), "_", OLD))
    with pytest.raises(
        InputError, match=r"p1 occurs more than once: .*cropped/p1/.* and .*raw/p1/.*; give one of their"
    ):
        read_data(tmp_path)
