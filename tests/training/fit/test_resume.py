"""Trainings that are killed and resumed, and what may be resumed."""

from __future__ import annotations

import json
import re
import shutil
import signal
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_helpers import names_file_or_passes

from processes.forkserver import run_with_libraries
from spuproj.training.data import cache
from spuproj.training.fit.resume import CHECKPOINT, checked_checkpoint, require_same_training
from spuproj.training.fit.train import train
from spuproj.training.models.method import Method
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.execution import Hardware

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

METHOD = Method("tiny", Spherical(grid=(2, 2)), channels=(4, 8), epochs=4, batch_size=4)

KILLED = """
import os, signal
from spuproj_cli import entry
from spuproj.training.fit import train as trainer

class Killed(trainer.Segmenter):
    def training_step(self, batch, number):
        if self.trainer.current_epoch == 1 and number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().training_step(batch, number)

trainer.Segmenter = Killed
entry.main()
"""


@pytest.fixture(scope="module")
def data(cohort) -> Path:
    return cohort[0].parent


@pytest.fixture(scope="module")
def unbroken(one_thread, data, tmp_path_factory) -> Path:
    return train(data, "WT", tmp_path_factory.mktemp("unbroken") / "run", method=METHOD)


@pytest.fixture(scope="module")
def killed(data, tmp_path_factory) -> Path:
    """The run of a training that was killed at the second step of its second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    (folder / "tiny.json").write_text(json.dumps(asdict(METHOD)))
    arguments = ["train", "--data", data, "--target", "WT", "--out", folder / "run", "--method", folder / "tiny.json"]
    process = run_with_libraries(KILLED, *arguments)
    assert process.returncode == -signal.SIGKILL, process.stderr
    return folder / "run"


@pytest.fixture
def stopped(killed, tmp_path) -> Path:
    return shutil.copytree(killed, tmp_path / "stopped")


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "training.json").read_text())


def assert_same_weights(run: Path, other: Path) -> None:
    first, second = (load_file(folder / "model.safetensors") for folder in (run, other))
    assert list(first) == list(second)
    assert [name for name, tensor in first.items() if not torch.equal(tensor, second[name])] == []


def test_a_killed_training_leaves_its_last_epoch_and_its_cache_and_no_model(stopped):
    assert {path.name for path in stopped.iterdir()} == {
        "config.json",
        "training.json",
        "checkpoints",
        "logs",
        ".cache",
        ".lock",
    }
    assert [path.name for path in (stopped / "checkpoints").iterdir()] == ["last.ckpt"]
    checkpoint = torch.load(stopped / CHECKPOINT, weights_only=True)
    assert checkpoint["epoch"] == 0
    # The learning rate follows its schedule in steps, not in epochs.
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == checkpoint["global_step"] > 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_training_ends_bit_for_bit_as_an_unbroken_one(stopped, unbroken, data, workers):
    train(data, "WT", stopped, method=METHOD, resume=True, hardware=Hardware(workers=workers))
    assert_same_weights(stopped, unbroken)
    for name in ("metrics", "loss", "dice", "data"):
        assert record(stopped)[name] == record(unbroken)[name]
    assert not (stopped / ".cache").exists()


def test_a_resumed_training_does_not_do_the_epochs_again(stopped, data, monkeypatch):
    loaded = torch.load(stopped / CHECKPOINT, weights_only=True)
    steps, done = loaded["global_step"], []
    monkeypatch.setattr(
        "spuproj.training.fit.callbacks.LearningCurve.on_train_epoch_end", lambda *_: done.append(1), raising=False
    )
    train(data, "WT", stopped, method=METHOD, resume=True)
    assert steps >= 2
    assert len(done) == METHOD.epochs - 1


def test_a_resumed_training_reads_the_slices_from_the_cache_that_was_left(stopped, data, monkeypatch):
    monkeypatch.setattr(cache, "load_case", lambda files, *_, **__: pytest.fail(f"{files.name} is read again"))
    train(data, "WT", stopped, method=METHOD, resume=True)
    assert (stopped / "model.safetensors").is_file()


def test_a_stopped_training_is_neither_lost_nor_resumed_unasked(stopped, data):
    with pytest.raises(InputError, match=r"stopped holds a training that has not finished; pass --resume .* --force"):
        train(data, "WT", stopped, method=METHOD)
    assert (stopped / CHECKPOINT).is_file()


def test_force_starts_a_stopped_training_over(stopped, unbroken, data):
    train(data, "WT", stopped, method=METHOD, force=True)
    assert_same_weights(stopped, unbroken)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 3}, r"seed must be 0, as in .*config\.json of the training to resume, got 3"),
        ({"method": replace(METHOD, epochs=9)}, r"method\.epochs must be 4, .* got 9"),
        (
            {"method": replace(METHOD, views=Spherical(grid=(3, 3)))},
            r"method\.views\.grid must be \[2, 2\], .* got \[3, 3",
        ),
        ({"target": "TC"}, "target must be 'WT', .* got 'TC'"),
        ({"validation": 2}, r"(box|data\.train\.cases) must be .* as in"),
    ],
)
def test_another_training_is_not_resumed(stopped, data, options, message):
    before = (stopped / CHECKPOINT).read_bytes()
    options = {"target": "WT", "method": METHOD} | options
    with pytest.raises(InputError, match=message):
        train(data, out=stopped, resume=True, **options)
    assert (stopped / CHECKPOINT).read_bytes() == before


def test_a_training_is_not_resumed_on_other_data(stopped, data):
    facts = record(stopped)
    facts["data"]["train"]["sha256"] = "0" * 64
    (stopped / "training.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"data\.train\.sha256 must be '000.*training\.json of the training to resume"):
        train(data, "WT", stopped, method=METHOD, resume=True)


def test_a_training_stopped_in_its_first_epoch_starts_from_the_beginning(stopped, unbroken, data, capsys):
    shutil.rmtree(stopped / "checkpoints")
    train(data, "WT", stopped, method=METHOD, resume=True)
    assert "has no epoch to resume from: starting from the beginning" in capsys.readouterr().err
    assert_same_weights(stopped, unbroken)


def test_a_finished_run_is_left_as_it_is(unbroken, data, capsys):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    assert train(data, "WT", unbroken, method=METHOD, resume=True) == unbroken
    assert "has finished: there is nothing to resume" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before


def test_a_finished_run_of_other_cases_is_not_taken_for_this_one(unbroken, data, tmp_path):
    shutil.copytree(data, tmp_path / "data", symlinks=True)
    first = sorted(path for path in (tmp_path / "data").iterdir() if path.is_dir())[0]
    shutil.rmtree(first)
    with pytest.raises(
        InputError, match=rf"must be those that .*training\.json names, but {first.name} is in one of both"
    ):
        train(tmp_path / "data", "WT", unbroken, method=METHOD, resume=True)


def test_a_finished_run_of_more_cases_or_other_options_is_not_taken_for_this_one(unbroken, data, tmp_path):
    shutil.copytree(data, tmp_path / "data", symlinks=True)
    first = sorted(path for path in data.iterdir() if path.is_dir())[0]
    for path in shutil.copytree(first, tmp_path / "data" / "more").iterdir():
        path.rename(path.with_name(path.name.replace(first.name, "more")))
    with pytest.raises(InputError, match=r"must be those that .*training\.json names, but more is in one of both"):
        train(tmp_path / "data", "WT", unbroken, method=METHOD, resume=True)
    with pytest.raises(InputError, match=r"augmented must be True, as in .*config\.json"):
        train(data, "WT", unbroken, method=METHOD, resume=True, augment=False)


def test_a_training_killed_before_its_weights_were_written_is_finished_from_the_checkpoint(unbroken, data, tmp_path):
    run = shutil.copytree(unbroken, tmp_path / "run")
    (run / "model.safetensors").unlink()
    train(data, "WT", run, method=METHOD, resume=True)
    assert_same_weights(run, unbroken)
    assert record(run)["loss"] == record(unbroken)["loss"]


def test_force_and_resume_are_not_for_the_same_training(data, tmp_path):
    with pytest.raises(ValueError, match="force must be left out where a training is resumed"):
        train(data, "WT", tmp_path / "run", method=METHOD, resume=True, force=True)


class Harmful:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["harmful", "broken"])
def test_a_checkpoint_of_anything_but_tensors_and_numbers_is_not_loaded(stopped, data, tmp_path, kind):
    content = torch.load(stopped / CHECKPOINT, weights_only=True)
    if kind == "harmful":
        torch.save({**content, "callbacks": Harmful(tmp_path / "harm")}, stopped / CHECKPOINT)
    else:
        (stopped / CHECKPOINT).write_bytes((stopped / CHECKPOINT).read_bytes()[:2000])
    with pytest.raises(InputError, match=r"last\.ckpt must be a checkpoint of this training, but cannot be read"):
        train(data, "WT", stopped, method=METHOD, resume=True)
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_with_a_changed_bit_is_not_resumed(stopped, data):
    with ZipFile(stopped / CHECKPOINT) as parts:
        tensors = [part for part in parts.infolist() if "/data/" in part.filename]
    largest = max(tensors, key=lambda part: part.file_size)
    content = bytearray((stopped / CHECKPOINT).read_bytes())
    # Behind the part's header and name.
    content[largest.header_offset + 128 + largest.file_size // 2] ^= 1
    (stopped / CHECKPOINT).write_bytes(content)
    words = f"its part {re.escape(largest.filename)} is damaged; start over with --force"
    with pytest.raises(InputError, match=words):
        train(data, "WT", stopped, method=METHOD, resume=True)


def test_the_checkpoint_of_another_training_is_not_resumed(stopped, data):
    content = torch.load(stopped / CHECKPOINT, weights_only=True)
    content["config"]["method"]["channels"] = (8, 16)
    torch.save(content, stopped / CHECKPOINT)
    message = r"last\.ckpt must be .* is of another one: method\.channels is \(8, 16\), not \(4, 8\); start over"
    with pytest.raises(InputError, match=message):
        train(data, "WT", stopped, method=METHOD, resume=True)


def saved(path: Path, content: object) -> Path:
    path.parent.mkdir(exist_ok=True)
    torch.save(content, path)
    return path


WHOLE = {
    **dict.fromkeys(("global_step", "state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks"), 0),
    "config": {"target": "WT"},
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "has no epoch"),
        ({"epoch": 1}, "has no global_step"),
        ({**WHOLE, "epoch": "one"}, "has the epoch 'one'"),
        ({**WHOLE, "epoch": -1}, "has the epoch -1"),
        ({**WHOLE, "epoch": 1, "global_step": "two"}, "has the global_step 'two'"),
        ({**WHOLE, "epoch": 1, "config": {"target": "ET"}}, "is of another one: target is 'ET', not 'WT'"),
        ({**WHOLE, "epoch": 1, "config": 5}, "is of another one"),
        ({"epoch": 1, "global_step": 2, "state_dict": 0, "config": 0}, "has no optimizer_states"),
        (torch.zeros(3), "has no epoch"),
    ],
)
def test_a_file_of_tensors_that_is_no_checkpoint_is_refused(tmp_path, content, message):
    path = saved(tmp_path / "last.ckpt", content)
    with pytest.raises(InputError) as error:
        checked_checkpoint(path, {"target": "WT"})
    assert str(error.value).startswith(f"{path} must be a checkpoint of this training, but {message}")
    assert str(error.value).endswith("; start over with --force")


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_checkpoint_is_read_or_refused(tmp_path_factory, data):
    path = saved(tmp_path_factory.mktemp("damaged") / "last.ckpt", {**WHOLE, "epoch": 1, "weights": torch.ones(5)})
    good = path.read_bytes()
    bad = bytearray(good[: data.draw(st.just(len(good)) | st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 4)) if bad else 0):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bad)
    with names_file_or_passes(path):
        assert checked_checkpoint(path, {"target": "WT"}).path == path


def test_a_checkpoint_that_is_a_link_to_nothing_is_not_called_absent(stopped, data):
    (stopped / CHECKPOINT).unlink()
    (stopped / CHECKPOINT).symlink_to("nowhere")
    with pytest.raises(InputError, match=r"last\.ckpt must be a checkpoint of this training, but cannot be read"):
        train(data, "WT", stopped, method=METHOD, resume=True)
    assert (stopped / CHECKPOINT).is_symlink()


@pytest.mark.parametrize("name", ["config.json", "training.json"])
@pytest.mark.parametrize("content", ["", "[]", "[" * 100_000, '{"data": 5, "data": 6}'])
def test_a_broken_file_of_the_training_to_resume_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"{name} must (be|hold) a JSON"):
        require_same_training(tmp_path / name, {"data": 5})
