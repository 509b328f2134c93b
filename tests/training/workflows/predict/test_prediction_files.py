"""Files of predictions: no two cases write one file, inputs are not written over, broken summaries are said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_helpers import VALUES, names_file_or_passes

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile
from spuproj.training.inference.outputs import DEFAULT_KINDS, MAPS, MERGED
from spuproj.training.inference.summary import CaseSummary, CohortEntry, read_summary, write_summary
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict, predict_cohort
from spuproj.training.workflows.prediction_files import file_names, require_names

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

TARGETS = ("ET", "TC", "WT")


def case(name: str, *paths: Path) -> CaseFiles:
    return CaseFiles(name, {f"t{number}": ImageFile(path) for number, path in enumerate(paths, start=1)})


@pytest.mark.parametrize(
    ("one", "other", "file"),
    [
        ("A", "A_labels", "A_labels.nii.gz"),
        ("A", "A_WT_prob", "A_WT_prob.nii.gz"),
        ("A", "A_unc_whole", "A_unc_whole.nii.gz"),
        ("A_ET_seg", "A", "A_ET_seg.nii.gz"),
        ("p1", "P1", "P1_ET_prob.nii.gz"),
        ("a", "A_labels", "A_labels.nii.gz"),
    ],
)
def test_cases_that_would_write_one_file_are_refused(tmp_path, one, other, file):
    with pytest.raises(InputError) as error:
        require_names([case(one), case(other)], TARGETS, DEFAULT_KINDS, tmp_path)
    message = str(error.value)
    assert message.lower().startswith(f"{tmp_path / file} must be written by one case, but ".lower())
    assert f"{one} and {other} would both write it; rename one of them" in message


@pytest.mark.parametrize(
    "names", [("sub-01", "sub-01_ses-02"), ("A", "A_WT"), ("A", "A_report"), ("report", "summary")]
)
def test_names_that_only_begin_alike_are_no_collision(tmp_path, names):
    require_names([case(name) for name in names], TARGETS, (*MAPS, *MERGED), tmp_path)


@given(st.lists(st.sampled_from(["A", "a", "A_WT", "A_labels", "A_ET_mi", "B", "report"]), unique=True), st.data())
def test_what_is_not_refused_has_a_file_of_its_own_for_every_name(names, data):
    kinds = data.draw(st.lists(st.sampled_from((*MAPS, *MERGED)), min_size=1, unique=True))
    written = [name.lower() for each in names for name in file_names(case(each), TARGETS, kinds)]
    try:
        require_names([case(name) for name in names], TARGETS, kinds, Path("out"))
    except InputError:
        assert len(set(written)) < len(written)
    else:
        assert len(set(written)) == len(written)
        assert "report.html" not in written


def test_an_input_is_not_written_over_even_with_force(cohort, models, tmp_path):
    data = tmp_path / "imagesTr"
    for kind in ("t1", "t1ce", "t2", "flair"):
        path = data / f"p1_{kind}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(cohort[1] / f"Phantom_002_{kind}.nii.gz", path)
    label = shutil.copy(cohort[1] / "Phantom_002_seg.nii.gz", data / "p1.nii.gz")
    images = {kind: f"imagesTr/p1_{kind}.nii.gz" for kind in ("t1", "t1ce", "t2", "flair")}
    entry = {"name": "p1", "images": images, "label": "imagesTr/p1.nii.gz"}
    (tmp_path / "set.json").write_text(json.dumps({"labels": "brats2020", "cases": [entry]}))
    (tmp_path / "link").symlink_to(data)
    before = Path(label).read_bytes()
    for out in (data, tmp_path / "link"):
        with pytest.raises(InputError, match=r"p1\.nii\.gz must not be written over, since it is an input of p1"):
            predict_cohort(list(models.values()), tmp_path / "set.json", out, force=True)
    assert Path(label).read_bytes() == before


def test_a_data_set_with_a_collision_is_refused_before_any_work(cohort, models, tmp_path):
    for name in ("A", "A_labels"):
        shutil.copytree(cohort[1], tmp_path / "data" / name)
        for path in (tmp_path / "data" / name).iterdir():
            path.rename(path.with_name(path.name.replace("Phantom_002", name)))
    with pytest.raises(
        InputError, match=r"A_labels\.nii\.gz must be written by one case, but A and A_labels would both"
    ):
        predict_cohort(list(models.values()), tmp_path / "data", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    outcome = predict_cohort([models["WT"]], tmp_path / "data", tmp_path / "out")
    assert outcome.predicted == ["A", "A_labels"]


def test_targets_that_differ_in_case_alone_are_refused(cohort, models, tmp_path):
    shutil.copytree(models["WT"], tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"target": "wt"}))
    with pytest.raises(InputError, match="models must be of different targets, got WT, wt"):
        predict([models["WT"], tmp_path / "model"], cohort[1], tmp_path / "out")


SUMMARY = CaseSummary(
    {"aggregation": "mean", "models": {"WT": "00"}},
    CohortEntry("p1", "p1_report.html", {"WT": 4.0}, {"WT": 0.5}, None, {"WT": 0.9}, (Finding(Level.WARNING, "look"),)),
    {"p1_WT_prob.nii.gz": "5e"},
    "0a",
)


def test_a_summary_comes_back(tmp_path):
    assert read_summary(tmp_path, "p1") is None
    write_summary(tmp_path / "p1_summary.json", SUMMARY)
    assert read_summary(tmp_path, "p1") == SUMMARY


BROKEN: list[tuple[str | dict[str, Any], str]] = [
    ("", "must be a JSON file, but cannot be read"),
    ("[" * 100_000, "must be a JSON file, but cannot be read"),
    ("[1]", "must hold a JSON object, got list"),
    ('{"recipe": {}, "recipe": {}}', "must be a JSON file, but cannot be read: 'recipe' is there twice"),
    ("{}", "but is not: recipe must be given; entry must be given"),
    ({"recipe": {}, "entry": {"name": 5}}, "entry.name must be text, got 5"),
    ({"recipe": {}, "entry": {"name": "p1", "volumes": {"WT": "much"}}}, "entry.volumes"),
    ({"recipe": {}, "entry": {"name": "p1", "warnings": ["an older version's"]}}, "entry.warnings"),
    ({"recipe": {}, "entry": {"name": "p1"}, "files": 5, "segmentation": None}, "files must be an object"),
    (
        {"recipe": {}, "entry": {"name": "p1", "link": "//elsewhere"}, "files": {}, "segmentation": None},
        "must link to p1_report.html, but links to '//",
    ),
    (
        {"recipe": {}, "entry": {"name": "p2"}, "files": {}, "segmentation": None},
        "must be the summary of p1, but is that of p2",
    ),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_a_broken_summary_names_its_file_and_the_remedy(tmp_path, content, message):
    path = tmp_path / "p1_summary.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError) as error:
        read_summary(tmp_path, "p1")
    assert str(error.value).startswith(f"{path} must ")
    assert message in str(error.value)
    assert str(error.value).endswith("; remove it and the case's maps, or predict the case again with --force")


def test_a_summary_that_is_a_folder_or_a_link_to_nothing_is_broken_and_not_absent(tmp_path):
    (tmp_path / "p1_summary.json").mkdir()
    (tmp_path / "p2_summary.json").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"p1_summary\.json must be a JSON file, but it is a folder"):
        read_summary(tmp_path, "p1")
    with pytest.raises(InputError, match=r"p2_summary\.json must be a JSON file, but it is a link to nowhere"):
        read_summary(tmp_path, "p2")


@settings(max_examples=60)
@given(
    st.sampled_from(
        [
            *[
                "recipe",
                "entry",
                "files",
                "segmentation",
                "finished",
                "name",
                "link",
                "volumes",
                "dice",
                "warnings",
                "error",
                "new",
            ]
        ]
    ),
    VALUES,
)
def test_any_change_of_a_summary_is_read_or_refused(tmp_path_factory, key, value):
    folder = tmp_path_factory.mktemp("summary")
    path = folder / "p1_summary.json"
    write_summary(path, SUMMARY)
    content = json.loads(path.read_text())
    (content if key in content else content["entry"])[key] = value
    path.write_text(json.dumps(content))
    with names_file_or_passes(path):
        found = read_summary(folder, "p1")
        assert found is not None
        write_summary(path, found)


def test_a_broken_summary_fails_its_case_alone(spuproj, cohort, models, tmp_path):
    out = tmp_path / "out"
    predict_cohort([models["WT"]], cohort[0].parent, out)
    broken = out / "Phantom_002_summary.json"
    broken.write_text("{}")
    for path in out.glob("Phantom_003*"):
        path.unlink()
    arguments = ("predict", "--model", models["WT"], "--data", cohort[0].parent, "--out", out)
    status, printed = spuproj(*arguments)
    assert status == "error: 1 of 3 cases failed: Phantom_002"
    assert f"Phantom_002 failed: {broken} must be a summary of 'spuproj predict'" in printed
    assert "1 predicted, 1 skipped (finished before), 1 failed" in printed
    assert "must be a summary of" in (out / "report.html").read_text()
    assert spuproj(*arguments, "--force")[0] == 0
    assert read_summary(out, "Phantom_002") is not None
