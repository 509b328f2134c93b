"""Where output goes: results to standard output; progress to standard error, as lines where that is no terminal."""

from __future__ import annotations

import re
import sys

import pytest

from spuproj_cli import entry

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def streams(monkeypatch, capsys):
    """Runs the command in this process; returns its status (or message), standard output and standard error."""

    def run(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["spuproj", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            entry.main()
        return end.value.code, *capsys.readouterr()

    return run


def test_phantom_and_check_print_a_line_per_case(streams, tmp_path):
    assert streams("phantom", "--out", tmp_path / "new", "--cases", 2, "--spacing", 8) == (
        0,
        "",
        "Growing phantoms 1/2 Phantom_001\nGrowing phantoms 2/2 Phantom_002\n",
    )
    status, out, err = streams("check", tmp_path / "new")
    assert status == 0
    assert out.splitlines()[-1].startswith("2 cases, 0 of them cannot be used")
    assert err.splitlines() == ["Reading new 1/2 Phantom_001", "Reading new 2/2 Phantom_002"]


def test_train_prints_a_line_per_case_and_epoch(streams, cohort, tmp_path):
    options = ("--target", "WT", "--out", tmp_path / "run", "--epochs", 2, "--batch-size", 4)
    status, out, err = streams("train", "--data", cohort[0].parent, *options)
    assert (status, out) == (0, f"model {tmp_path / 'run'}\n")
    lines = [line for line in err.splitlines() if re.match("Reading|Training", line)]
    assert [line.split(" loss")[0] for line in lines] == [
        *(f"Reading {cohort[0].parent.name} for WT {number}/3 {case.name}" for number, case in enumerate(cohort, 1)),
        "Training WT epoch 1/2",
        "Training WT epoch 2/2",
    ]
    assert re.fullmatch(r"Training WT epoch 2/2 loss \d\.\d{3} dice \d\.\d{3}", lines[-1])
    assert not set(err) & {"\r", "\x1b"}


def test_predict_prints_a_line_per_case(streams, cohort, models, tmp_path):
    options = ("predict", "--model", models["WT"], "--out", tmp_path / "maps")
    status, out, err = streams(*options, "--case", cohort[0])
    assert status == 0
    assert out.splitlines()[-1] == str(tmp_path / "maps" / f"{cohort[0].name}.png")
    assert predicting(err) == [f"Predicting 1/1 {cohort[0].name}"]
    data = cohort[0].parent
    status, out, err = streams(*options, "--data", data)
    assert (status, out) == (0, f"2 predicted, 1 skipped (finished before), 0 failed: {tmp_path / 'maps'}\n")
    assert predicting(err) == [f"Predicting {data.name} {number}/2 {cohort[number].name}" for number in (1, 2)]


def predicting(err: str) -> list[str]:
    """The lines of progress, without the warnings about what an untrained model finds."""
    return [line for line in err.splitlines() if "implausibly large" not in line]


REFUSED = {
    "phantom": ("Phantom_001", ("--out", "{out}")),
    "split": ("split.json", ("{nowhere}", "--folds", 3, "--out", "{out}/split.json")),
    "train": ("model.safetensors", ("--data", "{nowhere}", "--target", "WT", "--out", "{out}")),
    "evaluate": ("table.csv", ("--data", "{nowhere}", "--predictions", "one={out}", "--out", "{out}")),
    "demo": ("mine", ("--out", "{out}")),
    "project": ("views.png", ("--input", "{nowhere}", "--slice", 0, "--out", "{out}/views.png")),
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_refused_overwrite_does_nothing_before(streams, tmp_path, monkeypatch, command):
    """It comes before the input is read, which there is none of, and before a bar is drawn."""
    monkeypatch.setattr("spuproj.training.runtime.progress.draws_bars", lambda: True)
    name, arguments = REFUSED[command]
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("mine")
    given = [str(each).format(out=out, nowhere=tmp_path / "nowhere") for each in arguments]
    status, printed, err = streams(command, *given)
    assert re.fullmatch(rf"error: {out}\S* exists already; pass --force to write over it", status)
    assert (printed, err) == ("", "")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", name]


def test_predict_refuses_to_overwrite_before_it_draws_a_bar(streams, cohort, models, tmp_path, monkeypatch):
    monkeypatch.setattr("spuproj.training.runtime.progress.draws_bars", lambda: True)
    (tmp_path / f"{cohort[0].name}.png").write_text("mine")
    status, out, err = streams("predict", "--model", models["WT"], "--case", cohort[0], "--out", tmp_path)
    assert status == f"error: {tmp_path / cohort[0].name}.png exists already; pass --force to write over it"
    assert (out, err) == ("", "")
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "--model", "a", "--out", "b"), "needs either --data or --case, got neither"),
        (("predict", "--model", "a", "--out", "b", "--data", "c", "--case", "d"), "got both"),
        (("predict", "--model", "a", "--out", "b", "--case", "d", "--shard", "0/2"), "--shard needs --data"),
        (("split", "data", "--out", "b"), "needs either --folds, or both --validation and --test"),
        (("train", "--data", "a", "--target", "WT", "--out", "b", "--force", "--resume"), "--force"),
        (("train", "--data", "a", "--target", "WT", "--out", "b", "--precision", "8"), "'8' is not one of"),
    ],
)
def test_wrong_combinations_and_choices_are_wrong_usage(streams, arguments, message):
    status, out, err = streams(*arguments)
    assert (status, out) == (2, "")
    assert message in err
