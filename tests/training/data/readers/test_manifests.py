"""Manifests in JSON and CSV: what they may say, and that whatever else they hold is an error that says where."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spuproj.training.data.case import load_case
from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.labels import own_scheme, scheme_named
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, modalities_of
from spuproj.training.data.readers.manifest import write_manifest
from spuproj.training.data.readers.registry import read_data
from spuproj.training.runtime.errors import InputError
from tiny_datasets import save, seg, volume

ONE = {"name": "p1", "images": {"t1": "a.nii"}}


def write(folder, content, name="m.json"):
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder / name


def table(folder, text, encoding="utf-8"):
    (folder / "m.csv").write_bytes(text.encode(encoding))
    return folder / "m.csv"


def refused(source):
    with pytest.raises(InputError) as error:
        read_data(source)
    return str(error.value)


@pytest.fixture
def files(tmp_path):
    for name in ("p1", "p2"):
        for value, kind in enumerate(("post", "t2")):
            save(tmp_path / "data" / f"{name}-{kind}.nii.gz", volume(10 * value + 5))
        save(tmp_path / "data" / f"{name}-mask.nii.gz", (volume(1) > 0).astype(np.uint8))
        save(tmp_path / "data" / f"{name}-tumour.nii.gz", seg(1))
    return tmp_path


def test_a_json_manifest_of_two_modalities_and_one_target(files):
    cases = [
        {
            "name": name,
            "images": {"post": f"data/{name}-post.nii.gz", "T2w": f"data/{name}-t2.nii.gz"},
            "label": f"data/{name}-tumour.nii.gz",
            "mask": f"data/{name}-mask.nii.gz",
        }
        for name in ("p2", "p1")
    ]
    found = read_data(write(files, {"labels": {"tumour": [1]}, "cases": cases})).cases
    assert [case.name for case in found] == ["p1", "p2"]
    assert modalities_of(found) == ("post", "t2")
    case = load_case(found[0], with_labels=True)
    assert case.image.shape == (5, 2, 7, 6)
    assert case.brain.sum() == 4 * 5 * 3
    assert case.target("tumour").sum() == 1


def test_every_field_of_a_json_manifest(tmp_path):
    case = {
        "name": "p1_visit1",
        "patient": "p1",
        "images": {"T1GD": {"file": "all.nii", "channel": 3}, "flair": {"file": "flair.nii"}, "t2": "/data/t2.nii"},
        "label": "seg.nii",
        "mask": "mask.nii",
        "labels": {"tumour": [1, 2.0], "big": [70000], "ignore": [9]},
        "findings": ["note: taken by hand", "error: not yet"],
    }
    (found,) = read_data(write(tmp_path, {"labels": "brats2020", "cases": [case]})).cases
    assert found == CaseFiles(
        "p1_visit1",
        {
            "t1ce": ImageFile(tmp_path / "all.nii", 3),
            "flair": ImageFile(tmp_path / "flair.nii"),
            "t2": ImageFile(tmp_path.__class__("/data/t2.nii")),
        },
        tmp_path / "seg.nii",
        tmp_path / "mask.nii",
        own_scheme({"tumour": [1, 2], "big": [70000], "ignore": [9]}),
        (Finding(Level.NOTE, "taken by hand"), Finding(Level.ERROR, "not yet")),
        "p1",
    )
    assert found.scheme.known == (1, 2, 9, 70000)
    assert set(found.scheme.targets) == {"tumour", "big"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_may_have_a_byte_order_mark(tmp_path, encoding):
    text = json.dumps({"cases": [{**ONE, "name": "Jürgen"}]}, ensure_ascii=False)
    (tmp_path / "m.json").write_bytes(text.encode(encoding))
    assert read_data(tmp_path / "m.json").cases[0].name == "Jürgen"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "m.json must hold a JSON object, got list"),
        ({}, "m.json must have a list 'cases', but has none"),
        ({"cases": {}}, "m.json must have a list 'cases', but has none"),
        ({"cases": [], "lables": 1}, "m.json must have no fields besides 'cases' and 'labels', got 'lables'"),
        ({"cases": []}, "m.json must hold at least one case, but holds none"),
        ({"cases": [3]}, "m.json, case 0: must have a name and images, got 3"),
        ({"cases": [{"name": "x"}]}, "m.json, case 0: must have a name and images, got"),
        ({"cases": [ONE, {"name": "x", "images": []}]}, "m.json, case 1: must have a name and images"),
        ({"cases": [{"name": "x", "images": {}}]}, "case x: a modality must have a file, but has none"),
        ({"cases": [{"name": "x", "images": {"t1": ""}}]}, "case x: t1 must have a file, but has none"),
        ({"cases": [{"name": 7, "images": {"t1": "a"}}]}, "case 0: name must be text, got 7"),
        ({"cases": [{"name": "x", "images": {"t1": 7}}]}, "case 0: images.t1 must be an object, got 7"),
        ({"cases": [{"name": "x", "images": {"t1": None}}]}, "case 0: images.t1 must be an object, got None"),
        ({"cases": [{"name": "x", "images": {"t1": {"channel": 1}}}]}, "case 0: images.t1.file must be given"),
        ({"cases": [{"name": "x", "images": {"t1": {"file": "a", "channel": -1}}}]}, "channel must be at least 0"),
        ({"cases": [{"name": "x", "images": {"t1": {"file": "a", "channel": 1.5}}}]}, "channel must be a whole number"),
        ({"cases": [{"name": "x", "images": {"t1": "a\0b"}}]}, "a file must have a name without control characters"),
        ({"cases": [{"name": "x", "images": {"t1": "\ud800"}}]}, "a file must have a name without control characters"),
        ({"cases": [{**ONE, "lable": "seg.nii"}]}, "case 0: lable must be one of name, images, label,"),
        ({"cases": [{**ONE, "label": ["seg.nii"]}]}, "case 0: label must be text, got ['seg.nii']"),
        ({"cases": [{**ONE, "patient": 5}]}, "case 0: patient must be text, got 5"),
        ({"cases": [{**ONE, "labels": "brats1"}]}, "case p1: labels must be one of brats2020, "),
        ({"cases": [{**ONE, "labels": []}]}, "case p1: labels must name a scheme or list each target's values, got []"),
        ({"cases": [{**ONE, "findings": ["odd"]}]}, "findings must begin with error, warning, note and a"),
        ({"cases": [], "labels": {"ET": 4}}, "m.json: labels must name a scheme or list each target's values"),
        ({"cases": [], "labels": {"ET": "12"}}, "m.json: labels must name a scheme or list each target's values"),
        ({"cases": [], "labels": {"ET": [1.5]}}, "m.json: the label values of ET must be whole numbers other than 0"),
        ({"cases": [], "labels": {"ET": [True]}}, "the label values of ET must be whole numbers other than 0"),
        ({"cases": [], "labels": {"ET": ["1"]}}, "the label values of ET must be whole numbers other than 0"),
        ({"cases": [], "labels": {"ET": [0, 1]}}, "whole numbers other than 0, which is the background, got 0"),
        ({"cases": [], "labels": {"ET": []}}, "such as [1, 2], but ET has []"),
        ({"cases": [], "labels": {"../x": [1]}}, "the name of a target must be a plain file name"),
        ({"cases": [], "labels": "x"}, "labels must be one of brats2020, "),
        ({"cases": [ONE, ONE]}, "m.json must name each case once, but p1 occurs more than once"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_used_is_refused(tmp_path, content, message):
    assert message in refused(write(tmp_path, content))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "",
        "\x00",
        '{"cases": ' + "[" * 100_000,
        '{"cases": ' + "9" * 10_000 + "}",
        '{"cases": [], "cases": [1]}',
    ],
)
def test_damaged_json_is_refused_with_the_files_name(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    assert refused(tmp_path / "m.json").startswith(f"{tmp_path / 'm.json'} must be a JSON file, but cannot be read")


@pytest.mark.parametrize("name", ["../../evil", "a/b", "a\\b", "..", ".hidden", " x", "x" * 200, "a\nb", "\ud800"])
def test_names_that_no_file_can_have_are_all_named_at_once(tmp_path, name):
    cases = [{**ONE, "name": name}, ONE, {**ONE, "name": "x/y"}]
    message = refused(write(tmp_path, {"cases": cases}))
    assert message.count("the name of a case must be a plain file name") == 2
    assert "got 'x/y'" in message


@pytest.mark.parametrize(("first", "second"), [("t1", "T1w"), ("t1c", "T1GD"), ("t2f", "Flair"), ("adc", " ADC")])
def test_two_spellings_of_one_modality_are_an_error_that_names_both(tmp_path, first, second):
    case = {"name": "p1", "images": {first: "a.nii", second: "b.nii"}}
    for source in (
        write(tmp_path, {"cases": [case]}),
        table(tmp_path, f'name,"{first}",{second.strip()}\np1,a.nii,b.nii\n'),
    ):
        message = refused(source)
        assert repr(first) in message
        assert second.strip() in message
        assert "must be" in message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["name", "images", "label", "mask", "labels", "patient", "findings"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(case=st.dictionaries(st.sampled_from(FIELDS), JSON), labels=JSON)
def test_any_json_gives_the_cases_or_an_input_error(tmp_path, case, labels):
    source = write(tmp_path, {"labels": labels, "cases": [{**ONE, **case}]})
    try:
        (found,) = read_data(source).cases
    except InputError as error:
        assert str(source) in str(error)  # noqa: PT017
    else:
        assert found.name == {**ONE, **case}["name"]


TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    patients=st.lists(TEXTS, min_size=3, max_size=3),
    schemes=st.lists(
        st.sampled_from([None, scheme_named("msd"), own_scheme({"a": [1, 70000], "ignore": [3]})]),
        min_size=3,
        max_size=3,
    ),
    channels=st.lists(st.none() | st.integers(0, 9), min_size=3, max_size=3),
    findings=st.lists(st.builds(Finding, st.sampled_from(Level), TEXTS), max_size=2),
)
def test_what_is_written_is_read_to_the_same(tmp_path, patients, schemes, channels, findings):
    base = tmp_path / "ä b"
    cases = tuple(
        CaseFiles(
            f"p{number}",
            {"t1": ImageFile(base / "x.nii", channel), "own": ImageFile(tmp_path.parent / "y.nii")},
            base / "seg.nii" if number else None,
            base / "mask.nii" if number == 2 else None,
            schemes[number],
            tuple(findings),
            patients[number],
        )
        for number, channel in enumerate(channels)
    )
    write_manifest(tmp_path / "out.json", cases)
    assert read_data(tmp_path / "out.json").cases == cases


def test_a_csv_manifest(files):
    text = (
        "name,t1c,t2,label,mask,labels\n"
        "p1,data/p1-post.nii.gz,data/p1-t2.nii.gz,data/p1-tumour.nii.gz,,brats2020\n"
        "p2,data/p2-post.nii.gz,data/p2-t2.nii.gz,,,\n"
    )
    first, second = read_data(table(files, text)).cases
    assert modalities_of([first, second]) == ("t1ce", "t2")
    assert load_case(first, with_labels=True).target("TC").sum() == 1
    assert second.label is None
    with pytest.raises(InputError, match="p2 must have a segmentation, but has none"):
        load_case(second, with_labels=True)


ROWS = (
    ("Name", " T1GD ", "T2w", "SEG", "BrainMask", "Patient", "Labels"),
    ("Jürgen", "a b.nii", "c,d;e.nii", "é.nii", "m.nii", "P7", "brats2023"),
    ("", "", "", "", "", "", ""),
    ("p2", "a2.nii", "b2.nii", "", "", "", ""),
)


def as_text(mark, newline="\r\n"):
    def cell(text):
        return f'"{text}"' if mark in text else text

    return newline.join(mark.join(map(cell, row)) for row in ROWS) + newline


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
@pytest.mark.parametrize("newline", ["\r\n", "\n", "\r"])
def test_a_table_of_any_country_is_read_to_the_same(tmp_path, mark, encoding, newline):
    one, two = read_data(table(tmp_path, as_text(mark, newline), encoding)).cases
    assert replace(one, findings=()) == CaseFiles(
        "Jürgen",
        {"t1ce": ImageFile(tmp_path / "a b.nii"), "t2": ImageFile(tmp_path / "c,d;e.nii")},
        tmp_path / "é.nii",
        tmp_path / "m.nii",
        scheme_named("brats2023"),
        patient="P7",
    )
    assert (two.name, two.label, two.mask, two.scheme, two.patient) == ("p2", None, None, None, "")


@pytest.mark.parametrize("first", ["sep=;\r\n", '"sep=;"\r\n', "SEP=;\n"])
def test_excels_line_on_what_separates_cells_is_understood(tmp_path, first):
    assert len(read_data(table(tmp_path, first + as_text(";"))).cases) == 2


def test_a_column_without_heading_and_cells_is_no_column(tmp_path):
    (case,) = read_data(table(tmp_path, "\n\nname;t1;;\np1;a.nii;;\n;;;\n")).cases
    assert list(case.images) == ["t1"]


@pytest.mark.parametrize("heading", ["seg", "Segmentation", "LABEL", "ground truth", "Tumour_mask", "gtv"])
def test_a_column_of_segmentations_is_no_modality(tmp_path, heading):
    (case,) = read_data(table(tmp_path, f"name,t1,{heading}\np1,a.nii,b.nii\n")).cases
    assert (list(case.images), case.label) == (["t1"], tmp_path / "b.nii")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m.csv must have a heading with the column name, but is empty"),
        ("id,t1\np,x\n", "m.csv must have a column 'name', but has id, t1"),
        ("name,t1\n", "m.csv must hold at least one case, but holds none"),
        ("name,t1\n,x.nii\n", "m.csv, line 2: name must not be empty"),
        ("sep=,\nname,t1\n,x.nii\n", "m.csv, line 3: name must not be empty"),
        ("name,t1\np,\n", "m.csv, case p: t1 must have a file, but has none (line 2)"),
        ("name,t1\np\n", "m.csv, line 2: must have a cell for each of 2 columns, be it an empty one, but has 1"),
        ("name,t1,seg\np,x,\nq,x\n", "m.csv, line 3: must have a cell for each of 3 columns, be it an empty one"),
        ("name,t1,t2\np,,\n", "m.csv, case p: t1 or t2 must have a file, but has none (line 2)"),
        ("name,label\np,seg.nii\n", "m.csv, case p: a modality must have a file, but has none"),
        ("name,t1\n\np,x,y\n", "m.csv, line 3: cells must be of a column with a heading, but 'y' is not"),
        ("name,t1,\np,x,y\n", "m.csv, line 2: cells must be of a column with a heading, but 'y' is not"),
        ("name,t1\np,x\np,y\n", "; rename one of them there"),
        ("name,t1,T1w\np,x,y\n", "m.csv: each column must be there once, but 't1' and 'T1w' are both 't1'"),
        ("name,t1,seg,label\np,x,y,z\n", "each column must be there once, but 'seg' and 'label' are both 'label'"),
        ("name,NAME,t1\np,x,y\n", "each column must be there once, but 'name' and 'NAME' are both 'name'"),
        ("name,t1,labels\np,x,brats\n", "m.csv, case p: labels must be one of brats2020, "),
        ("name,t1\n../p,x\n", "m.csv: the name of a case must be a plain file name"),
        ("name,t1\np," + "x" * 200_000 + "\n", "m.csv, line 2: must be a row of a table, but field larger than"),
        ("name,t1\np,x\0\n", "m.csv must be a table in text (CSV), but is not; save it as 'CSV UTF-8'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, text, message):
    assert message in refused(table(tmp_path, text))


def test_a_case_lacks_the_modality_of_an_empty_cell(tmp_path):
    whole, lacking = read_data(table(tmp_path, "name,t1,T2w\na,a1.nii,a2.nii\nb, ,b2.nii\n")).cases
    assert (list(whole.images), list(lacking.images)) == (["t1", "t2"], ["t2"])
    with pytest.raises(InputError, match=r"1 of 2 lacks t1: b; .* can only be predicted"):
        modalities_of([whole, lacking])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: b"name,t1\n" + text.encode("utf-8", "replace")))
def test_any_bytes_give_cases_or_an_input_error(tmp_path, content):
    (tmp_path / "m.csv").write_bytes(content)
    try:
        assert read_data(tmp_path / "m.csv").cases
    except InputError as error:
        assert "m.csv" in str(error)  # noqa: PT017


def test_deep_json_is_refused_at_any_depth(tmp_path):
    for depth in (100, sys.getrecursionlimit(), 10 * sys.getrecursionlimit()):
        (tmp_path / "m.json").write_text('{"cases": [' + "[" * depth + "]" * depth + "]}")
        assert str(tmp_path / "m.json") in refused(tmp_path / "m.json")


@pytest.mark.parametrize("name", ["seg", "Label", "mask", "brain_mask", "GT", "tumor"])
def test_a_segmentation_or_mask_among_the_images_is_refused(tmp_path, name):
    case = {"name": "p1", "images": {"t1": "a.nii", name: "b.nii"}}
    message = refused(write(tmp_path, {"cases": [case]}))
    assert re.search(
        rf"m\.json, case p1: images must be modalities, but '{name}' is a .* by its name; give it as", message
    )


def test_a_path_that_windows_wrote_is_found(files):
    source = table(files, "name,t2,seg\np1,data\\p1-t2.nii.gz,data\\p1-tumour.nii.gz\n")
    (case,) = read_data(source).cases
    assert case.images["t2"].path.is_file()
    assert case.label.is_file()


def test_letters_whose_encoding_does_not_tell_are_a_note(tmp_path):
    (western,) = read_data(table(tmp_path, "name,t1\nMüller,a.nii\n", "cp1252")).cases
    (finding,) = western.findings
    assert finding.level == Level.NOTE
    assert "such as 'Müller'; if that is wrong, save it as 'CSV UTF-8'" in finding.message
    (known,) = read_data(table(tmp_path, "name,t1\nMüller,a.nii\n")).cases
    assert known.findings == ()
