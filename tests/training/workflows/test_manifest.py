"""``spuproj manifest``: folders of any names become a file that every command reads."""

from __future__ import annotations

import json

import pytest

from spuproj.training.data.findings import Level
from spuproj.training.data.readers.registry import read_data
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.manifest import make_manifest, patterns_named
from tiny_datasets import LAYOUTS, OLD, brats, in_folders, save, seg, touch, volume

pytest_plugins = ["training_fixtures"]


@pytest.fixture
def odd(tmp_path):
    """A folder whose names are in no convention."""
    for name in ("anna", "ben"):
        touch(tmp_path / "odd", f"site/{name}/{name}_post.nii.gz", f"site/{name}/{name}_dark-fluid.nii.gz")
        touch(tmp_path / "odd", f"masks/{name}.nii.gz", f"truth/{name}-lesion.nii.gz")
    return tmp_path / "odd"


IMAGES = {"T1GD": "site/{case}/{case}_post.nii.gz", "flair": "*/{case}/*_dark-fluid.nii.gz"}


def test_patterns_name_the_files_of_a_folder_in_no_convention(odd, tmp_path):
    made = make_manifest(
        odd,
        tmp_path / "m.json",
        images=IMAGES,
        label="truth/{case}-lesion.nii.gz",
        mask="masks/{case}.nii.gz",
        labels="brats2023",
    )
    anna, ben = read_data(tmp_path / "m.json").cases
    assert made.cases == (anna, ben)
    assert anna.images["t1ce"].path == odd / "site" / "anna" / "anna_post.nii.gz"
    assert anna.images["flair"].path == odd / "site" / "anna" / "anna_dark-fluid.nii.gz"
    assert (ben.label, ben.mask) == (odd / "truth" / "ben-lesion.nii.gz", odd / "masks" / "ben.nii.gz")
    assert ben.scheme is not None
    assert ben.scheme.name == "brats2023"


def test_files_that_no_pattern_names_are_said(odd, tmp_path):
    made = make_manifest(odd, tmp_path / "m.json", images=IMAGES)
    (sentence,) = made.left_out
    assert sentence.startswith("4 images are not used")
    assert "masks/anna.nii.gz" in sentence
    assert "truth/anna-lesion.nii.gz" in sentence


def test_two_files_that_fit_one_pattern_are_an_error_in_the_manifest(odd, tmp_path):
    touch(odd, "site/anna/other_dark-fluid.nii.gz")
    make_manifest(odd, tmp_path / "m.json", images=IMAGES)
    anna, ben = json.loads((tmp_path / "m.json").read_text())["cases"]
    assert "flair" not in anna["images"]
    assert anna["findings"][0].startswith("error: the modality flair must be one file, but site/anna/anna_dark-fluid")
    assert list(ben["images"]) == ["t1ce", "flair"]
    assert [finding.level for finding in read_data(tmp_path / "m.json").cases[0].findings] == [Level.ERROR]


def test_a_case_whose_only_image_is_there_twice_is_kept_with_its_error(tmp_path):
    touch(tmp_path / "data", "p1/t1.nii", "p1/t1.nii.gz", "p2/t1.nii")
    make_manifest(tmp_path / "data", tmp_path / "m.json")
    assert read_data(tmp_path / "m.json").cases == read_data(tmp_path / "data").cases


def test_links_stay_links(tmp_path):
    touch(tmp_path, *in_folders(("store/p1",), "_", OLD))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "p1").symlink_to(tmp_path / "store" / "p1")
    make_manifest(tmp_path / "data", tmp_path / "data" / "m.json")
    (case,) = json.loads((tmp_path / "data" / "m.json").read_text())["cases"]
    assert case["images"]["t1"] == "p1/p1_t1.nii.gz"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": {"t1": "{case}/post.nii.gz"}}, "the pattern {case}/post.nii.gz must fit files in"),
        ({"images": {"t1": "site/*/x.nii.gz"}}, "the pattern of t1 must have {case} in place of the case's name"),
        ({"images": {"t1": "{case}/a", "T1w": "{case}/b"}}, "must have one pattern, but t1 and T1w are both 't1'"),
        ({"images": IMAGES, "labels": "brats"}, "labels must be one of brats2020"),
        ({"label": "{case}.nii"}, "label and mask must be given with the patterns of images"),
        ({}, "--image NAME='*/{case}/{case}_post.nii.gz'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_written(odd, tmp_path, options, message):
    with pytest.raises(InputError) as error:
        make_manifest(odd, tmp_path / "m.json", **options)
    assert message in str(error.value)
    assert not (tmp_path / "m.json").exists()


def test_a_pattern_that_fits_nothing_is_answered_with_some_that_do(odd, tmp_path):
    with pytest.raises(InputError) as error:
        make_manifest(odd, tmp_path / "m.json", images={"t1": "{case}/{case}_post.nii.gz"})
    assert "*/{case}/{case}_post.nii.gz" in str(error.value)


@pytest.mark.parametrize("entry", ["t1", "=x", "t1=", ""])
def test_an_option_is_a_name_and_a_pattern(entry):
    with pytest.raises(InputError, match="image must be given as NAME=PATTERN"):
        patterns_named([entry])


def test_an_option_may_be_given_once_for_each_name():
    assert patterns_named(["t1=a=b", "t2 = c"]) == {"t1": "a=b", "t2": "c"}
    with pytest.raises(InputError, match="image must be given once for each modality, got 't1' twice"):
        patterns_named(["t1=a", "t1=b"])


def test_the_command_tells_what_it_found(spuproj, tmp_path):
    data, out = LAYOUTS["UPENN-GBM"].make(tmp_path / "data"), tmp_path / "m.json"
    status, printed = spuproj("manifest", data, "--out", out)
    assert status == 0
    assert printed.splitlines()[:4] == [
        "2 cases",
        "2 with the modalities t1, t1ce, t2, flair",
        "2 with a segmentation in brats2020",
        "0 with a brain mask",
    ]
    assert "left out: 1 image is not used, as there is a corrected segmentation" in printed
    assert spuproj("manifest", data, "--out", out)[0] == f"error: {out} exists already; pass --force to write over it"
    assert spuproj("manifest", data, "--out", out, "--force")[0] == 0
    assert spuproj("manifest", data, "--out", tmp_path / "m.csv")[0].startswith("error: out must be a .json file")


def test_the_command_takes_patterns_and_other_commands_take_its_manifest(spuproj, tmp_path):
    for name in ("a", "b", "c"):
        save(tmp_path / "data" / f"{name}.post.nii.gz", volume(5))
        save(tmp_path / "data" / f"{name}.truth.nii.gz", seg(3))
    options = ("--image", "t1ce={case}.post.nii.gz", "--label", "{case}.truth.nii.gz", "--labels", "brats2023")
    status, printed = spuproj("manifest", tmp_path / "data", "--out", tmp_path / "m.json", *options)
    assert status == 0
    assert "3 with the modalities t1ce" in printed
    assert "3 cases, 0 of them cannot be used" in spuproj("check", tmp_path / "m.json")[1]
    numbers = ("--validation", 1, "--test", 1, "--out", tmp_path / "split.json")
    assert spuproj("split", tmp_path / "m.json", *numbers)[0] == 0


def test_check_fails_for_a_file_that_is_there_twice_and_warns_of_visits(spuproj, tmp_path):
    for name in ("pat01_1", "pat01_2", "pat02_1", "pat03_1"):
        brats(tmp_path / "data", name, "_", OLD, 4)
    double = tmp_path / "data" / "pat03_1" / "pat03_1_t2.nii"
    double.write_bytes(double.with_suffix(".nii.gz").read_bytes())
    status, printed = spuproj("check", tmp_path / "data")
    assert status == 1
    assert "the modality t2 must be one file, but pat03_1/pat03_1_t2.nii and pat03_1/pat03_1_t2.nii.gz" in printed
    assert "may be visits of one patient, but they count as different patients: pat01_1, pat01_2;" in printed
