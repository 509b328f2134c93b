"""Prediction of a data set: shards, finished cases, bad ones, what a killed process leaves, and memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from processes.forkserver import run_with_libraries
from spuproj.training.data.splits import Split, write_splits
from spuproj.training.inference.case_prediction import predict_case
from spuproj.training.inference.outputs import DEFAULT_KINDS
from spuproj.training.models.run import load_run, save_run
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import Outcome, predict, predict_cohort

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

NAMES = ["Phantom_001", "Phantom_002", "Phantom_003"]


@pytest.fixture
def data(cohort, tmp_path) -> Path:
    """The three cases in a folder of their own."""
    folder = tmp_path / "data"
    shutil.copytree(cohort[0].parent, folder)
    return folder


@pytest.fixture
def model(models) -> list[Path]:
    return [models["WT"]]


def damage(data: Path, name: str = "Phantom_002") -> Path:
    """Cuts a modality's file in the middle."""
    path = data / name / f"{name}_t2.nii.gz"
    path.write_bytes(path.read_bytes()[:3000])
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """By name, what is in the files, those that start with a point among them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def predicted_names(out: Path) -> list[str]:
    return sorted(path.name.removesuffix("_WT_prob.nii.gz") for path in out.glob("*_WT_prob.nii.gz"))


def test_every_case_of_a_folder_comes_out_as_it_does_alone(data, model, tmp_path):
    outcome = predict_cohort(model, data, tmp_path / "out")
    assert (outcome.predicted, outcome.skipped, outcome.failed) == (NAMES, [], {})
    predict(model, data / "Phantom_002", tmp_path / "alone")
    together, alone = contents(tmp_path / "out"), contents(tmp_path / "alone")
    assert {name: together[name] for name in alone} == alone


def test_nnunet_and_manifests_are_predicted_too(data, models, tmp_path):
    raw = tmp_path / "raw"
    (raw / "imagesTr").mkdir(parents=True)
    channels = ("t1", "t1ce", "t2", "flair")
    for number, name in enumerate(channels):
        source = data / "Phantom_002" / f"Phantom_002_{name}.nii.gz"
        shutil.copy(source, raw / "imagesTr" / f"p1_{number:04d}.nii.gz")
    labels = {"background": 0, "edema": 1, "necrosis": 2, "enhancing": 3}
    content = {"channel_names": dict(enumerate(channels)), "labels": labels}
    (raw / "dataset.json").write_text(json.dumps(content))
    rows = ",".join(f"data/Phantom_002/Phantom_002_{name}.nii.gz" for name in channels)
    (tmp_path / "set.csv").write_text(f"name,{','.join(channels)}\np2,{rows}\n")
    for source in (raw, tmp_path / "set.csv"):
        predict_cohort(list(models.values()), source, tmp_path / "out")
    one, two = (
        nib.Nifti1Image.from_filename(tmp_path / "out" / f"{name}_labels.nii.gz").get_fdata() for name in ("p1", "p2")
    )
    # nnU-Net's words tell its own scheme, a manifest without labels gets that of BraTS 2020.
    assert set(np.unique(two)) == {0, 1, 2, 4}
    for brats, own in ((1, 2), (2, 1), (4, 3)):
        np.testing.assert_array_equal(two == brats, one == own)


def test_labels_that_do_not_know_the_target_are_not_drawn(data, model, tmp_path, monkeypatch):
    truths = []
    monkeypatch.setattr(
        "spuproj.training.workflows.write_prediction.case_figure", lambda *arguments: truths.append(arguments[-1])
    )
    case = {"name": "p1", "label": "data/Phantom_002/Phantom_002_seg.nii.gz"}
    images = {kind: f"data/Phantom_002/Phantom_002_{kind}.nii.gz" for kind in ("t1", "t1ce", "t2", "flair")}
    content = {"labels": {"lesion": [1, 2, 4]}, "cases": [{**case, "images": images}]}
    (tmp_path / "set.json").write_text(json.dumps(content))
    assert predict_cohort(model, tmp_path / "set.json", tmp_path / "out").failed == {}
    assert truths == [None]


def test_of_a_split_the_test_cases_alone_are_predicted(spuproj, data, model, tmp_path):
    split = tmp_path / "split.json"
    folds = [Split((NAMES[0],), (NAMES[1],), (NAMES[2],)), Split((NAMES[1],), (NAMES[2],), (NAMES[0],))]
    write_splits(split, folds, 0)
    assert predict_cohort(model, data, tmp_path / "out", split=split, fold=1).predicted == [NAMES[0]]
    predict_cohort(model, data, tmp_path / "out", split=split, fold=0)
    report = (tmp_path / "out" / "report.html").read_text()
    assert [name in report for name in NAMES] == [True, False, True]
    common = ("predict", "--model", model[0], "--split", split, "--out", tmp_path / "command")
    assert spuproj(*common, "--data", data)[0] == 0
    assert predicted_names(tmp_path / "command") == [NAMES[2]]
    status, printed = spuproj(*common, "--case", data / NAMES[0])
    assert (status, "--split needs --data, got --case" in printed) == (2, True)


def test_shards_take_turns_and_fill_one_folder(data, model, tmp_path):
    first = predict_cohort(model, data, tmp_path / "out", shard=(0, 2))
    second = predict_cohort(model, data, tmp_path / "out", shard=(1, 2))
    assert (first.predicted, second.predicted) == ([NAMES[0], NAMES[2]], [NAMES[1]])
    predict_cohort(model, data, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_more_shards_than_cases_leave_some_without_work(data, model, tmp_path):
    assert predict_cohort(model, data, tmp_path / "out", shard=(4, 5)).predicted == []


def test_a_process_does_not_disturb_another_that_is_amid_a_case(data, model, tmp_path, monkeypatch):
    real = predict_case
    others: list[Outcome] = []

    def let_the_other_shard_go_first(*arguments, **options):
        if not others:
            others.append(None)
            others.append(predict_cohort(model, data, tmp_path / "out", shard=(1, 2)))
        return real(*arguments, **options)

    @contextmanager
    def no_bar(*_):
        yield (lambda _: None), no_inner_bar

    @contextmanager
    def no_inner_bar(*_):
        yield lambda _: None

    # A process has one display.
    monkeypatch.setattr("spuproj.training.workflows.predict.nested_progress_bar", no_bar)
    monkeypatch.setattr("spuproj.training.inference.nesting.predict_case", let_the_other_shard_go_first)
    outcome = predict_cohort(model, data, tmp_path / "out", shard=(0, 2))
    assert (outcome.predicted, others[1].predicted) == ([NAMES[0], NAMES[2]], [NAMES[1]])
    assert predicted_names(tmp_path / "out") == NAMES
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


def test_a_bad_case_is_reported_and_the_others_are_done(data, model, tmp_path, capsys):
    path = damage(data)
    outcome = predict_cohort(model, data, tmp_path / "out")
    assert outcome.predicted == [NAMES[0], NAMES[2]]
    assert list(outcome.failed) == ["Phantom_002"]
    assert outcome.failed["Phantom_002"].startswith(f"{path} is damaged: ")
    assert f"Phantom_002 failed: {path} is damaged: " in capsys.readouterr().err
    assert predicted_names(tmp_path / "out") == [NAMES[0], NAMES[2]]


def test_a_case_that_breaks_the_prediction_does_not_stop_the_others(data, model, tmp_path, monkeypatch):
    real = predict_case

    def fail_at_the_second(config, network, case, *arguments, **options):
        if case.name == "Phantom_002":
            raise MemoryError("too large")
        return real(config, network, case, *arguments, **options)

    monkeypatch.setattr("spuproj.training.inference.nesting.predict_case", fail_at_the_second)
    outcome = predict_cohort(model, data, tmp_path / "out")
    assert list(outcome.failed) == ["Phantom_002"]
    assert outcome.failed["Phantom_002"].startswith("memory ran out (too large); ")
    assert predicted_names(tmp_path / "out") == [NAMES[0], NAMES[2]]


def test_a_name_that_leads_elsewhere_is_refused_before_any_work(data, model, tmp_path):
    channels = ("t1", "t1ce", "t2", "flair")
    rows = ",".join(f"data/Phantom_001/Phantom_001_{name}.nii.gz" for name in channels)
    (tmp_path / "set.csv").write_text(f"name,{','.join(channels)}\n../p1,{rows}\np2,{rows}\n")
    with pytest.raises(InputError, match="name of a case must be a plain file name, but it begins with a dot"):
        predict_cohort(model, tmp_path / "set.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("p1*"))


def test_finished_cases_are_skipped_and_left_as_they_are(data, model, tmp_path):
    out = tmp_path / "out"
    predict_cohort(model, data, out, shard=(1, 2))
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("Phantom_002*")}
    outcome = predict_cohort(model, data, out)
    assert (outcome.predicted, outcome.skipped) == ([NAMES[0], NAMES[2]], [NAMES[1]])
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before


def test_force_predicts_finished_cases_again(data, model, tmp_path):
    predict_cohort(model, data, tmp_path / "out")
    (tmp_path / "out" / "Phantom_001_WT_var.nii.gz").write_text("mine")
    outcome = predict_cohort(model, data, tmp_path / "out", force=True)
    assert (outcome.predicted, outcome.skipped) == (NAMES, [])
    assert nib.Nifti1Image.from_filename(tmp_path / "out" / "Phantom_001_WT_var.nii.gz").shape == (30, 30, 19)


def test_a_case_with_a_file_missing_is_not_finished(data, model, tmp_path):
    predict_cohort(model, data, tmp_path / "out")
    (tmp_path / "out" / "Phantom_003_WT_seg.nii.gz").unlink()
    assert predict_cohort(model, data, tmp_path / "out").predicted == ["Phantom_003"]


def test_asking_for_members_later_adds_them(data, model, tmp_path):
    predict_cohort(model, data, tmp_path / "out")
    assert predict_cohort(model, data, tmp_path / "out", maps=(*DEFAULT_KINDS, "members")).predicted == NAMES
    assert len(list((tmp_path / "out").glob("*_members.nii.gz"))) == 3
    assert predict_cohort(model, data, tmp_path / "out").skipped == NAMES


def test_finished_cases_of_another_model_or_aggregation_are_refused(data, model, models, tmp_path):
    out = tmp_path / "out"
    predict_cohort(model, data, out, shard=(2, 3))
    before = contents(out)
    config, network = load_run(model[0])
    next(network.parameters()).data += 1
    save_run(tmp_path / "other", config, network)
    message = "must hold no predictions {}, but holds those of Phantom_003; choose another folder"
    with pytest.raises(InputError, match=message.format("by other models")):
        predict_cohort([tmp_path / "other"], data, out)
    with pytest.raises(InputError, match=message.format("by other models")):
        predict_cohort([models["TC"]], data, out)
    with pytest.raises(InputError, match=message.format("with another aggregation")):
        predict_cohort(model, data, out, aggregation="otsu")
    with pytest.raises(InputError, match=message.format("with another aggregation and by other models")):
        predict_cohort([models["TC"]], data, out, aggregation="otsu")
    assert contents(out) == before
    shutil.copytree(model[0], tmp_path / "copy")
    assert predict_cohort([tmp_path / "copy"], data, out).skipped == ["Phantom_003"]


def test_finished_cases_of_another_label_scheme_are_refused_and_with_force_replaced(data, models, tmp_path):
    runs, out = list(models.values()), tmp_path / "out"
    predict_cohort(runs, data, out, shard=(0, 3))
    with pytest.raises(InputError, match="must hold no predictions with another label scheme, but holds those of Phan"):
        predict_cohort(runs, data, out, shard=(0, 3), labels="brats2023")
    predict_cohort(runs, data, out, shard=(0, 3), labels="brats2023", maps=["seg"], force=True)
    assert not (out / "Phantom_001_labels.nii.gz").exists()
    assert (out / "Phantom_001_ET_seg.nii.gz").is_file()


def rows(out: Path) -> dict[str, str]:
    """The rows of the data set's report, by case."""
    found = re.findall(r"<tr>(.*?)</tr>", (out / "report.html").read_text(), re.DOTALL)
    return {name: row for name in NAMES for row in found if f">{name}<" in row}


def test_the_report_lists_every_case_with_what_was_found_or_why_not(data, model, tmp_path):
    path = damage(data)
    predict_cohort(model, data, tmp_path / "out")
    listed = rows(tmp_path / "out")
    assert list(listed) == NAMES
    assert f"{path} is damaged" in listed["Phantom_002"]
    for name in (NAMES[0], NAMES[2]):
        assert f'href="{name}_report.html"' in listed[name]
        assert (tmp_path / "out" / f"{name}_report.html").is_file()
    found = (
        nib.Nifti1Image.from_filename(tmp_path / "out" / "Phantom_001_WT_seg.nii.gz").get_fdata().sum() * 8**3 / 1000
    )
    assert f"{found:.2f}" in listed["Phantom_001"]


def test_the_report_keeps_the_cases_that_were_finished_before_or_by_others(data, model, tmp_path):
    predict_cohort(model, data, tmp_path / "out", shard=(0, 2))
    assert "not predicted yet" in rows(tmp_path / "out")["Phantom_002"]
    predict_cohort(model, data, tmp_path / "out", shard=(1, 2))
    predict_cohort(model, data, tmp_path / "whole")
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    assert "not predicted" not in str(rows(tmp_path / "out"))


KILLED = """
import os, signal
from pathlib import Path
import nibabel as nib
from spuproj.training.workflows import predict, write_prediction
save, saved = nib.save, []
def die_in_the_second_case(image, path):
    saved.append(path)
    if len(saved) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    save(image, path)
nib.save = die_in_the_second_case
write_prediction.case_figure = lambda case, predictions, config, path, truth: path.write_text("picture")
predict.predict_cohort([Path({model!r})], Path({data!r}), Path({out!r}))
"""


def test_a_killed_process_leaves_whole_cases_and_the_next_one_goes_on(data, model, tmp_path):
    out = tmp_path / "out"
    run = run_with_libraries(KILLED.format(model=str(model[0]), data=str(data), out=str(out)))
    assert run.returncode == -9
    assert predicted_names(out) == [NAMES[0]]
    assert {path.name[:11] for path in out.iterdir() if not path.name.startswith(".")} == {NAMES[0]}
    outcome = predict_cohort(model, data, out)
    assert (outcome.predicted, outcome.skipped) == ([NAMES[1], NAMES[2]], [NAMES[0]])
    predict_cohort(model, data, tmp_path / "whole")
    assert contents(out) == contents(tmp_path / "whole")
    assert not [path for path in out.iterdir() if path.is_dir()]


def test_memory_does_not_grow_with_the_number_of_cases(fine_case, model, tmp_path):
    def peak(cases: int) -> int:
        """In bytes, of one patient under several names."""
        for number in range(cases):
            folder = tmp_path / f"data{cases}" / f"p{number}"
            folder.mkdir(parents=True)
            for path in fine_case.iterdir():
                os.link(path, folder / path.name.replace(fine_case.name, folder.name))
        tracemalloc.reset_peak()
        assert len(predict_cohort(model, tmp_path / f"data{cases}", tmp_path / f"out{cases}").predicted) == cases
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        few, many = peak(2), peak(6)
    finally:
        tracemalloc.stop()
    one_map = 60 * 60 * 39 * 4
    assert few > 10 * one_map
    assert many - few < one_map


def test_the_command_reports_at_the_end_what_failed(spuproj, data, model, tmp_path):
    path = damage(data)
    arguments = ("predict", "--model", model[0], "--data", data, "--out", tmp_path / "out")
    status, printed = spuproj(*arguments)
    assert status == "error: 1 of 3 cases failed: Phantom_002"
    assert f"Phantom_002 failed: {path} is damaged: " in printed
    assert f"2 predicted, 0 skipped (finished before), 1 failed: {tmp_path / 'out'}" in printed
    shutil.copy(data / "Phantom_002" / "Phantom_002_t1.nii.gz", path)
    status, printed = spuproj(*arguments)
    assert status == 0
    assert f"1 predicted, 2 skipped (finished before), 0 failed: {tmp_path / 'out'}" in printed


@pytest.mark.parametrize(("options", "expected"), [((), NAMES[1:2]), (("--shard", "0/2"), NAMES[::2])])
def test_the_command_takes_its_shard_from_the_option_or_the_launcher(
    spuproj, data, model, tmp_path, monkeypatch, options, expected
):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert spuproj("predict", "--model", model[0], "--data", data, "--out", tmp_path / "out", *options)[0] == 0
    assert predicted_names(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "set", "--shard", "3/2"), "shard must be I/N with 0 <= I < N, got 3/2"),
        (("--data", "nowhere"), "nowhere must be a folder of case folders, but there is no such folder"),
    ],
)
def test_the_command_says_what_cannot_be(spuproj, model, tmp_path, options, message):
    status, _ = spuproj("predict", "--model", model[0], "--out", tmp_path / "out", *options)
    assert status == f"error: {message}"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "predict needs either --data or --case, got neither"),
        (("--data", "set", "--case", "case"), "predict needs either --data or --case, got both"),
        (("--case", "case", "--shard", "0/2"), "--shard needs --data, got --case"),
        (("--case", "case", "--aggregation", "max"), "'max' is not one of 'mean', 'otsu'"),
    ],
)
def test_options_that_do_not_go_together_are_a_wrong_use_of_the_command(spuproj, model, tmp_path, options, message):
    status, printed = spuproj("predict", "--model", model[0], "--out", tmp_path / "out", *options)
    assert (status, message in printed) == (2, True), printed
    assert not (tmp_path / "out").exists()
