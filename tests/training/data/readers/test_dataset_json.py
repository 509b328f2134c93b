"""Data sets with a ``dataset.json``: what its fields mean, what is left out, and that no content breaks the reader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spuproj.training.data.case import load_case
from spuproj.training.data.labels import LabelScheme
from spuproj.training.data.readers.registry import case_in, read_data
from spuproj.training.runtime.errors import InputError
from tiny_datasets import OLD, save, seg, touch, volume

CHANNELS = {"0": "T1", "1": "T1gd", "2": "T2w", "3": "FLAIR"}
PLAIN = {"background": 0, "edema": 1, "non-enhancing": 2, "enhancing": 3}


def describe(root: Path, **fields: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    content = {"channel_names": {"0": "T1"}, "labels": PLAIN, "file_ending": ".nii.gz", **fields}
    (root / "dataset.json").write_text(
        json.dumps({name: value for name, value in content.items() if value is not None})
    )
    return root


def scheme_of(root: Path, labels: object, **fields: object) -> LabelScheme | None:
    (case,) = read_data(describe(touch(root, "imagesTr/a_0000.nii.gz"), labels=labels, **fields)).cases
    return case.scheme


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
@pytest.mark.parametrize(
    "fields",
    [
        {"channel_names": CHANNELS},
        {"channel_names": None, "modality": CHANNELS, "labels": {"1": "edema", "0": "background"}},
    ],
)
def test_both_versions_of_nnunet_are_read(tmp_path, ending, fields):
    describe(tmp_path, file_ending=ending, **fields)
    for name in ("b", "a"):
        for number in range(4):
            save(tmp_path / "imagesTr" / f"{name}_{number:04d}{ending}", volume(100 * (number + 1)))
        save(tmp_path / "labelsTr" / f"{name}{ending}", seg(1))
    found = read_data(tmp_path, "nnunet")
    assert [case.name for case in found.cases] == ["a", "b"]
    assert tuple(found.cases[0].images) == OLD
    assert load_case(found.cases[0], with_labels=True).target("WT").sum() == 1


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        (PLAIN, "nnunet"),
        ({"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}, "nnunet"),
        ({"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}, "nnunet"),
        ({"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]}, "brats2023"),
        ({"background": [0], "WT": [4, 2, 1], "TC": [1, 4], "ET": 4}, "brats2020"),
        ({"background": 0, "NCR": 1, "SNFH": 2, "ET": 3.0, "resection cavity": 4}, "brats2024"),
        ({"background": 0, "ET": 1, "NET": 2, "cyst": 3, "edema": 4}, "brats-ped2024"),
        ({"background": 0, "necrosis": 1, "edema": 2, "non-enhancing": 3, "enhancing": 4}, "brats2015"),
    ],
)
def test_names_of_labels_and_regions_tell_the_scheme(tmp_path, labels, name):
    scheme = scheme_of(tmp_path, labels)
    assert scheme is not None
    assert scheme.name == name
    assert list(scheme.targets) == ["ET", "TC", "WT"]


@pytest.mark.parametrize(
    ("labels", "targets", "known"),
    [
        ({"background": 0, "meningioma": 1}, {"meningioma": (1,)}, (1,)),
        ({"0": "background", "1": "tumour", "2": "tumour"}, {"tumour": (1, 2)}, (1, 2)),
        ({"background": 0, "whole": [1, 300], "core": [300]}, {"whole": (1, 300), "core": (300,)}, (1, 300)),
        ({"background": 0, "tumour": 1, "ignore": 2}, {"tumour": (1,)}, (1, 2)),
        ({"background": 0, "same": 1, "again": 1}, {"same": (1,), "again": (1,)}, (1,)),
        (PLAIN | {"rim": [1, 2]}, {"edema": (1,), "non-enhancing": (2,), "enhancing": (3,), "rim": (1, 2)}, (1, 2, 3)),
    ],
)
def test_other_labels_become_targets_of_their_names(tmp_path, labels, targets, known):
    scheme = scheme_of(tmp_path, labels)
    assert scheme is not None
    assert scheme.targets == targets
    assert scheme.known == known


@pytest.mark.parametrize("labels", [{}, {"background": 0}, {"background": 0, "ignore": 1}])
def test_without_labels_there_is_no_scheme(tmp_path, labels):
    assert scheme_of(tmp_path, labels) is None


def test_what_is_not_used_is_said(tmp_path):
    describe(tmp_path, channel_names={"0": "T1", "1": "T2"}, numTraining=5)
    touch(tmp_path, *(f"imagesTr/{name}_000{number}.nii.gz" for name in "ab" for number in (0, 1)))
    touch(tmp_path, "imagesTr/lost_0001.nii.gz", "imagesTr/a_0002.nii.gz", "imagesTr/odd.nii.gz", "imagesTr/b_0000.nii")
    touch(tmp_path, "labelsTr/a.nii.gz", "labelsTr/orphan.nii.gz", "imagesTs/t_0000.nii.gz", "imagesTs/t_0001.nii.gz")
    touch(tmp_path, "other/c_0000.nii.gz", "imagesTr/c.dcm", "labelsTs/alone.nii.gz")
    found = read_data(tmp_path)
    assert [case.name for case in found.cases] == ["a", "b", "lost"]
    assert found.cases[2].images["t1"].path == tmp_path / "imagesTr" / "lost_0000.nii.gz"
    said = "\n".join(found.left_out)
    assert f"not used: 1 case of imagesTs; to predict, give {tmp_path / 'imagesTs'} as the data set" in said
    assert "dataset.json tells of 5 cases (numTraining), but imagesTr has files of 3" in said
    assert "no image of the same case: labelsTr/orphan.nii.gz" in said
    for unused in (
        "imagesTr/a_0002.nii.gz",
        "imagesTr/odd.nii.gz",
        "imagesTr/b_0000.nii",
        "other/c_0000.nii.gz",
        "c.dcm",
    ):
        assert unused in said
    assert "t_0000" not in said


def test_the_cases_to_predict_are_a_data_set_of_their_own(tmp_path):
    describe(tmp_path)
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "imagesTs/t_0000.nii.gz", "imagesTs/t.nii.gz")
    touch(tmp_path, "other/c_0000.nii.gz")
    found = read_data(tmp_path / "imagesTs")
    (case,) = found.cases
    assert (case.name, case.label) == ("t", None)
    assert case.images["t1"].path == tmp_path / "imagesTs" / "t_0000.nii.gz"
    assert [("imagesTs/t.nii.gz" in sentence, "other" in sentence) for sentence in found.left_out] == [(True, False)]
    (labelled,) = read_data(tmp_path / "imagesTr").cases
    assert labelled.label == tmp_path / "labelsTr" / "a.nii.gz"


def test_the_folder_of_the_data_set_is_no_case(tmp_path):
    with pytest.raises(
        InputError, match=r"it is a data set of 1 case \(a\); give the folder of one case, or all of them"
    ):
        case_in(describe(touch(tmp_path, "imagesTr/a_0000.nii.gz")))


def test_a_folder_of_data_sets_names_one(tmp_path):
    describe(tmp_path / "Dataset001_Brain")
    with pytest.raises(
        InputError, match=r"holds data sets with a dataset\.json; give one of them, such as .*Dataset001_Brain"
    ):
        read_data(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channel_names": None}, "must name the channels (channel_names), but does not"),
        ({"channel_names": {}}, "must name the channels (channel_names), but does not"),
        ({"channel_names": ["T1"]}, "channel_names must be an object, got ['T1']"),
        ({"channel_names": {"0": 1}}, "channel_names.0 must be text, got 1"),
        ({"channel_names": {"x": "T1"}}, "channels must be numbered 0, 1, 2 and so on, got 'x'"),
        ({"channel_names": {"0": "T1", "1": "T1w"}}, "must have its own name, but T1 and T1w are the same"),
        ({"channel_names": {"0": "T1", "00": "T2"}}, "each channel must have its own number"),
        ({"labels": [1]}, "labels must be an object, got [1]"),
        ({"labels": {"tumour": 1.5}}, "the label values of tumour must be whole numbers other than 0"),
        ({"labels": {"tumour": True}}, "the label values of tumour must be whole numbers other than 0"),
        ({"labels": {"tumour": None}}, "the label values of tumour must be whole numbers other than 0"),
        ({"labels": {"tumour": {}}}, "the label values of tumour must be whole numbers other than 0"),
        ({"labels": {"tumour": []}}, "list each target's values, such as [1, 2], but tumour has []"),
        ({"labels": {"a": 1, "b": "x"}}, "the label values of b must be whole numbers other than 0"),
        ({"labels": {"x": "tumour"}}, "labels must be whole numbers with names, got 'x'"),
        ({"labels": {"../../esc": 1}}, "the name of a target must be a plain file name"),
        ({"file_ending": ".png"}, "file_ending must be one of .nii.gz, .nii,"),
        ({"file_ending": 3}, "file_ending must be text, got 3"),
        ({"numTraining": "2"}, "numTraining must be a whole number, got '2'"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_used_is_an_error_that_names_the_file(tmp_path, fields, message):
    describe(touch(tmp_path, "imagesTr/a_0000.nii.gz"), **fields)
    with pytest.raises(InputError) as error:
        read_data(tmp_path)
    assert str(tmp_path / "dataset.json") in str(error.value)
    assert message in str(error.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.just("0"), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(
    fields=st.dictionaries(
        st.sampled_from(["channel_names", "modality", "labels", "file_ending", "numTraining", "training"]), ANYTHING
    )
)
def test_no_content_raises_anything_but_an_input_error(tmp_path, fields):
    describe(touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"), **fields)
    try:
        found = read_data(tmp_path)
    except InputError as error:
        assert str(tmp_path) in str(error)  # noqa: PT017
    else:
        assert [case.name for case in found.cases] == ["a"]


def test_a_channel_that_is_named_like_a_segmentation_is_refused(tmp_path):
    describe(touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"), channel_names={"0": "T1", "1": "seg"})
    with pytest.raises(InputError, match=r"dataset\.json: images must be modalities, but 'seg' is a segmentation"):
        read_data(tmp_path)


def test_endings_may_be_in_upper_case_and_channels_have_the_order_of_their_numbers(tmp_path):
    describe(tmp_path, channel_names={"10": "T2", "2": "T1"})
    touch(tmp_path, "imagesTr/a_0002.nii.gz", "imagesTr/a_0010.NII.GZ")
    (case,) = read_data(tmp_path).cases
    assert [(name, image.path.name) for name, image in case.images.items()] == [
        ("t1", "a_0002.nii.gz"),
        ("t2", "a_0010.NII.GZ"),
    ]


MODALITY = {"channel_names": None, "modality": {"0": "T1"}, "labels": {"0": "background", "1": "tumour"}}


def pair(image: str, label: str) -> dict[str, str]:
    return {"image": f"./imagesTr/{image}.nii.gz", "label": f"./labelsTr/{label}.nii.gz"}


@pytest.mark.parametrize("channel", ["", "_0000"])
def test_the_list_of_the_decathlon_tells_which_segmentation_is_whose(tmp_path, channel):
    """A pair may be there twice, a segmentation have a name of its own, or be left to its usual name."""
    pairs = [pair("a", "b"), pair("a", "b"), pair("b", "c"), pair("c_2001", "c_2001"), pair("d", "truth")]
    describe(tmp_path, **MODALITY, training=[*pairs, {"image": "./imagesTr/e.nii.gz"}])
    touch(tmp_path, *(f"imagesTr/{name}{channel}.nii.gz" for name in ("a", "b", "c_2001", "d", "e")))
    touch(tmp_path, "labelsTr/truth.nii.gz", "labelsTr/e.nii.gz")
    touch(tmp_path, "labelsTr/b.nii.gz", "labelsTr/c.nii.gz", "labelsTr/a.nii.gz", "labelsTr/c_2001.nii.gz")
    found = read_data(tmp_path)
    labels = {case.name: case.label.name for case in found.cases if case.label}
    assert labels == {
        "a": "b.nii.gz",
        "b": "c.nii.gz",
        "c_2001": "c_2001.nii.gz",
        "d": "truth.nii.gz",
        "e": "e.nii.gz",
    }
    assert found.left_out == ()


def test_listed_files_may_be_unpacked(tmp_path):
    bare = {"image": "imagesTr/b", "label": "labelsTr/b.nii"}
    describe(tmp_path, **MODALITY, file_ending=".nii", training=[pair("a", "a"), bare, pair("lost", "lost")])
    touch(tmp_path, "imagesTr/a.nii", "labelsTr/a.nii", "imagesTr/b.nii", "labelsTr/b.nii")
    found = read_data(tmp_path)
    assert [(case.name, case.label) for case in found.cases] == [
        (name, tmp_path / "labelsTr" / f"{name}.nii") for name in "ab"
    ]
    assert found.left_out == ("dataset.json lists 1 case of which imagesTr has no image: lost",)


def test_cases_that_a_list_lacks_or_has_alone_are_told(tmp_path):
    describe(tmp_path, **MODALITY, numTraining=2, training=[pair("a", "a"), pair("lost", "lost")])
    touch(tmp_path, "imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "imagesTs/t.nii.gz", "labelsTr/a.nii.gz")
    found = read_data(tmp_path)
    assert [case.name for case in found.cases] == ["a"]
    assert found.left_out[1:] == (
        "not used: 1 case that dataset.json does not list (training): b",
        "dataset.json lists 1 case of which imagesTr has no image: lost",
    )
    assert [case.name for case in read_data(tmp_path / "imagesTs").cases] == ["t"]


def test_version_2_reads_no_list(tmp_path):
    describe(tmp_path, training="whatever")
    touch(tmp_path, "imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz")
    assert [case.name for case in read_data(tmp_path).cases] == ["a", "b"]


def test_a_list_of_other_segmentations_is_learnt_from(tmp_path):
    describe(tmp_path, **MODALITY, training=[pair("a", "b")])
    save(tmp_path / "imagesTr" / "a.nii.gz", volume(100))
    save(tmp_path / "labelsTr" / "a.nii.gz", seg(0))
    save(tmp_path / "labelsTr" / "b.nii.gz", seg(1))
    (case,) = read_data(tmp_path).cases
    assert load_case(case, with_labels=True).target("tumour").sum() == 1


def test_version_2_may_place_cases_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("SCANS", str(tmp_path / "elsewhere"))
    placed = {
        "b": {"images": ["${SCANS}/b/one.nii.gz", "../b_two.nii.gz"], "label": "$SCANS/b/truth.nii.gz"},
        "a": {"images": [str(tmp_path / "t1.nii.gz"), "t2.nii.gz"]},
    }
    root = describe(tmp_path / "set", channel_names={"0": "T1", "1": "T2"}, dataset=placed, file_ending=".nii.gz")
    touch(root, "imagesTr/c_0000.nii.gz", "imagesTs/t_0000.nii.gz")
    found = read_data(root)
    first, second = found.cases
    (said,) = found.left_out
    assert said.startswith("not used: 1 case of imagesTs; to predict, give")
    assert [image.path for image in first.images.values()] == [tmp_path / "t1.nii.gz", root / "t2.nii.gz"]
    assert (first.name, first.label, tuple(second.images)) == ("a", None, ("t1", "t2"))
    assert [image.path.resolve() for image in second.images.values()] == [
        tmp_path / "elsewhere" / "b" / "one.nii.gz",
        tmp_path / "b_two.nii.gz",
    ]
    assert second.label == tmp_path / "elsewhere" / "b" / "truth.nii.gz"
    assert first.scheme is not None
    assert [case.name for case in read_data(root / "imagesTr").cases] == ["a", "b"]
    assert [case.name for case in read_data(root / "imagesTs").cases] == ["t"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": {"a": {"images": []}}}, r"case a: each of the 1 channels must have one image, got 0"),
        ({"dataset": {"a": {"images": ["a.nii", "b.nii"]}}}, r"case a: each of the 1 channels must have one .* got 2"),
        ({"dataset": {"../a": {"images": ["a.nii"]}}}, r"dataset\.json: the name of a case must"),
        ({"dataset": {"a": {"images": ["a\n.nii"]}}}, r"case a: a file must have a name without control characters"),
        ({"dataset": {"a": "a.nii.gz"}}, r"dataset\.a must be an object"),
        ({"dataset": {}}, r"must hold at least one case, but holds none"),
        ({**MODALITY, "training": [{"label": "a"}]}, r"training\.image must be given"),
        ({**MODALITY, "training": [pair("a", "a"), pair("a", "b")]}, r"one segmentation \(training\), but .*/a\.nii"),
        ({**MODALITY, "training": [pair("lost", "a")]}, r"holds none; not used: 1 case that dataset\.json does not"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path, fields, message):
    describe(touch(tmp_path, "imagesTr/a_0000.nii.gz"), **fields)
    with pytest.raises(InputError, match=message):
        read_data(tmp_path)
