"""Where readers find the files of each kind of data set, and what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.case import load_case
from spuproj.training.data.readers.case_files import modalities_of, modality_named
from spuproj.training.data.readers.registry import case_in, cases_in
from spuproj.training.runtime.files import InputError
from tiny_datasets import NEW, OLD, brats, save, seg, volume


@pytest.mark.parametrize(
    ("name", "separator", "endings", "label", "scheme"),
    [
        ("BraTS20_Training_001", "_", OLD, 4, "brats2020"),
        ("BraTS2021_00000", "_", OLD, 4, "brats2020"),
        ("BraTS-GLI-00000-000", "-", NEW, 3, "brats2023"),
    ],
)
def test_brats_folders_of_each_year(tmp_path, name, separator, endings, label, scheme):
    brats(tmp_path, name, separator, endings, label)
    (files,) = cases_in(tmp_path)
    assert (files.name, files.scheme.name, tuple(files.images)) == (name, scheme, OLD)
    case = load_case(files, with_labels=True)
    assert case.image.shape == (5, 4, 7, 6)
    assert case.target("ET").sum() == 1
    means = [float(nib.Nifti1Image.from_filename(files.images[modality].path).get_fdata().max()) for modality in OLD]
    assert means == sorted(means)


def test_a_segmentation_under_another_name_is_found_and_said_so(tmp_path):
    folder = brats(tmp_path, "BraTS20_Training_355", "_", OLD, 4)
    (folder / "BraTS20_Training_355_seg.nii.gz").rename(folder / "W39_1998.09.19_Segm.nii.gz")
    files = case_in(folder)
    assert files.label == folder / "W39_1998.09.19_Segm.nii.gz"
    assert tuple(finding.message for finding in files.findings) == (
        "the segmentation is W39_1998.09.19_Segm.nii.gz, where BraTS20_Training_355_seg.nii.gz is expected",
    )
    assert load_case(files, with_labels=True).target("ET").sum() == 1


def test_labels_may_be_named_where_the_file_names_tell_another_scheme(tmp_path):
    brats(tmp_path, "BraTS-GLI-02405-100", "-", NEW, 4)
    (files,) = cases_in(tmp_path)
    message = "must hold the brats2023 labels 0, 1, 2, 3, got 4; if they are of another scheme, name it: brats2020, "
    with pytest.raises(InputError, match=re.escape(message)):
        load_case(files, with_labels=True)
    (named,) = cases_in(tmp_path, "brats2024")
    assert load_case(named, with_labels=True).target("WT").sum() == 0


def nnunet(root: Path, channels: dict[str, str], labels: Mapping[str, object], ending: str = ".nii.gz") -> Path:
    for name in ("b", "a"):
        for number in channels:
            save(root / "imagesTr" / f"{name}_{int(number):04d}{ending}", volume(100 * (int(number) + 1)))
        save(root / "labelsTr" / f"{name}{ending}", seg(2))
    description = {"channel_names": channels, "labels": labels, "numTraining": 2, "file_ending": ending}
    (root / "dataset.json").write_text(json.dumps(description))
    return root


CHANNELS = {"0": "T1", "1": "T1gd", "2": "T2w", "3": "FLAIR"}


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_nnunet_folders(tmp_path, ending):
    labels = {"background": 0, "edema": 1, "non-enhancing": 2, "enhancing": 3}
    cases = cases_in(nnunet(tmp_path, CHANNELS, labels, ending))
    assert [case.name for case in cases] == ["a", "b"]
    assert tuple(cases[0].images) == OLD
    assert cases[0].scheme.name == "nnunet"
    assert load_case(cases[0], with_labels=True).target("TC").sum() == 1


def test_nnunet_regions_do_not_tell_the_scheme(tmp_path):
    nnunet(tmp_path, CHANNELS, {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]})
    (case, _) = cases_in(tmp_path)
    with pytest.raises(InputError, match=r"the labels of .*a\.nii\.gz must be named, since their values do not tell"):
        load_case(case, with_labels=True)
    assert load_case(case).image.shape == (5, 4, 7, 6)
    (named, _) = cases_in(tmp_path, "nnunet")
    assert load_case(named, with_labels=True).target("TC").sum() == 1


def manifest_files(root: Path) -> None:
    for name in ("p1", "p2"):
        for value, kind in enumerate(("post", "t2")):
            save(root / "data" / f"{name}-{kind}.nii.gz", volume(10 * value + 5))
        save(root / "data" / f"{name}-mask.nii.gz", (volume(1) > 0).astype(np.uint8))
        save(root / "data" / f"{name}-tumour.nii.gz", seg(1))


def test_a_json_manifest_of_two_modalities_and_one_target(tmp_path):
    manifest_files(tmp_path)
    cases = [
        {
            "name": name,
            "images": {"post": f"data/{name}-post.nii.gz", "T2w": f"data/{name}-t2.nii.gz"},
            "label": f"data/{name}-tumour.nii.gz",
            "mask": f"data/{name}-mask.nii.gz",
        }
        for name in ("p2", "p1")
    ]
    path = tmp_path / "meningioma.json"
    path.write_text(json.dumps({"labels": {"tumour": [1]}, "cases": cases}))
    found = cases_in(path)
    assert [case.name for case in found] == ["p1", "p2"]
    assert modalities_of(found) == ("post", "t2")
    case = load_case(found[0], with_labels=True)
    assert case.image.shape == (5, 2, 7, 6)
    assert case.brain.sum() == 4 * 5 * 3
    assert case.target("tumour").sum() == 1


def test_a_csv_manifest(tmp_path):
    manifest_files(tmp_path)
    path = tmp_path / "cohort.csv"
    path.write_text(
        "name,t1c,t2,label,mask,labels\n"
        "p1,data/p1-post.nii.gz,data/p1-t2.nii.gz,data/p1-tumour.nii.gz,,brats2020\n"
        "p2,data/p2-post.nii.gz,data/p2-t2.nii.gz,,,\n"
    )
    first, second = cases_in(path)
    assert modalities_of([first, second]) == ("t1ce", "t2")
    assert load_case(first, with_labels=True).target("TC").sum() == 1
    assert second.label is None
    with pytest.raises(InputError, match="p2 must have a segmentation, but has none"):
        load_case(second, with_labels=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "a.json must be a JSON file, but cannot be read"),
        ("a.json", "[1]", "a.json must hold a JSON object, got list"),
        ("a.json", "{}", "a.json must have a list 'cases', but has none"),
        ("a.json", '{"cases": [{"name": "x"}]}', "a.json, case 0: must have a name and images, got"),
        ("a.json", '{"cases": [{"name": "x", "images": {}}]}', "case x: a modality must have a file, but has none"),
        ("a.json", '{"cases": [], "labels": {"ET": 4}}', "a.json: labels must name a scheme or list each target's"),
        ("a.json", '{"cases": [], "labels": "x"}', "labels must be one of brats2020, .*, got 'x'"),
        ("a.json", '{"cases": []}', "a.json must hold at least one case, but holds none"),
        ("a.csv", "name,t1\n,x.nii\n", "a.csv, line 2: name must not be empty"),
        ("a.csv", "name,t1\np,\n", "a.csv, case p: t1 must have a file, but has none"),
        ("a.csv", "name,t1\np,x\np,y\n", "a.csv must name each case once, but p occurs more than once"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        cases_in(tmp_path / name)


def test_a_manifest_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv must be a manifest, but there is no such file"):
        cases_in(tmp_path / "nowhere.csv")


def test_a_nnunet_folder_without_channels_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(InputError, match=r"dataset\.json must name the channels \(channel_names\), but does not"):
        cases_in(tmp_path)


def test_a_modality_that_a_case_has_not_is_named(tmp_path):
    folder = brats(tmp_path, "one", "_", OLD, 4)
    with pytest.raises(InputError, match="one must have the modality dwi, but has t1, t1ce, t2, flair"):
        load_case(folder, ("t1", "dwi"))


@pytest.mark.parametrize(
    ("name", "usual"),
    [
        ("T1n", "t1"),
        ("t1c", "t1ce"),
        ("T1Gd", "t1ce"),
        ("T2W", "t2"),
        ("t2f", "flair"),
        ("FLAIR", "flair"),
        ("ADC", "adc"),
    ],
)
def test_modalities_have_one_name(name, usual):
    assert modality_named(name) == usual
