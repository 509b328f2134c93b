"""Other processes: those that load batches die, or another training writes to the same folder."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from faults.training.processes import CHECKPOINT, Command, start
from spuproj.training.fit.resume import says_what_is_safe
from spuproj.training.models.method import Method
from spuproj.training.models.view_sets import Spherical
from spuproj.training.phantom.cohort import write_cohort
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.locks import held
from spuproj.training.workflows.demo import run_demo
from spuproj.training.workflows.make_models import make_models
from spuproj.training.workflows.study import study

pytest_plugins = ["training_fixtures"]

METHOD = Method("tiny", Spherical(grid=(2, 2)), channels=(4, 8), epochs=2000, batch_size=4)
"""Of more epochs than a test has time for."""


@pytest.fixture(scope="module")
def arguments(cohort, tmp_path_factory) -> list[object]:
    folder = tmp_path_factory.mktemp("method")
    (folder / "tiny.json").write_text(json.dumps(asdict(METHOD)))
    return ["train", "--data", cohort[0].parent, "--target", "WT", "--method", folder / "tiny.json"]


def train_until_checkpoint(arguments: list[object], run: Path, *options: object) -> Command:
    """A training that has written its first checkpoint and goes on."""
    command = start([*arguments, "--out", run, *options], run.with_name("log"))
    deadline = time.monotonic() + 240
    while not (run / CHECKPOINT).exists():
        assert command.process.is_alive(), command.printed
        assert time.monotonic() < deadline, command.printed
        time.sleep(0.05)
    return command


def children(process: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_killed_process_that_loads_batches_ends_the_training_with_what_is_safe(arguments, tmp_path):
    run = tmp_path / "run"
    command = train_until_checkpoint(arguments, run, "--workers", 2)
    loaders = children(command.process.pid)
    assert loaders
    os.kill(loaders[0], signal.SIGKILL)
    assert command.status(limit=60) == 1
    error = [line for line in command.printed.splitlines() if line.startswith("error")]
    assert error, command.printed
    assert re.fullmatch(
        r"error: processes that load batches must live as long as the training, but: "
        r"(DataLoader worker \(pid.*|\[Errno 104\] Connection reset by peer\. If.*)"
        rf"\(--workers\); the training is safe up to its last complete epoch, in {run / CHECKPOINT}: .* --resume",
        error[0],
    )
    assert "Traceback" not in command.printed
    assert torch.load(run / CHECKPOINT, weights_only=True)["epoch"] >= 0
    assert [process for process in loaders if Path(f"/proc/{process}").exists()] == []
    assert {path.name for path in run.iterdir()} == {"checkpoints", "config.json", "logs", "training.json"}


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_training_that_is_stopped_by_a_signal_says_so_and_what_is_safe(arguments, tmp_path, sent, status):
    run = tmp_path / "run"
    command = train_until_checkpoint(arguments, run)
    os.kill(command.process.pid, sent)
    assert command.status(limit=60) == status
    words = f"stopped by {sent.name}; the training is safe up to its last complete epoch, in {run / CHECKPOINT}: go on"
    assert words in command.printed
    assert not (run / "model.safetensors").exists()


def test_memory_that_processes_share_and_that_is_full_is_not_called_the_disk_of_the_run(tmp_path):
    text = (
        "Caught RuntimeError in DataLoader worker process 0.\n"
        "RuntimeError: unable to write to file </torch_1_2_3>: No space left on device (28)"
    )
    message = (
        r"processes that load batches must .*</torch_1_2_3>.* use fewer of them \(--workers\); no epoch is complete"
    )
    with pytest.raises(RuntimeError, match=re.compile(message, re.DOTALL)), says_what_is_safe(tmp_path):
        raise RuntimeError(text)


def test_a_connection_that_ends_while_a_batch_is_received_is_told_as_a_killed_process(tmp_path):
    message = (
        r"^processes that load batches must live as long as the training, but: \[Errno 104\] Connection reset by peer\."
        r" If the machine has run out of memory, use fewer of them \(--workers\); no epoch is complete"
    )
    with pytest.raises(RuntimeError, match=message), says_what_is_safe(tmp_path):
        raise ConnectionResetError(104, "Connection reset by peer")


def test_a_second_training_into_one_folder_is_refused_until_the_first_is_killed(arguments, tmp_path):
    run = tmp_path / "run"
    # Its processes that load batches live on for some seconds.
    first = train_until_checkpoint(arguments, run, "--workers", 1)
    for option in ([], ["--resume"], ["--force"]):
        second = start([*arguments, "--out", run, *option], tmp_path / "second")
        assert second.status() == 1
        assert re.search(
            rf"error: {run} must be written by one process at a time, but process {first.process.pid} on "
            rf"{re.escape(socket.gethostname())} \(spuproj train\), since .* is writing to it; wait for it, stop it",
            second.printed,
        )
    assert first.process.is_alive()
    first.process.kill()
    first.process.join()
    with held(run):
        pass


HELD: dict[str, Callable[[Path], object]] = {
    "phantom": lambda out: write_cohort(out, 1, 0, 8.0),
    "demo": run_demo,
    "make_models": make_models,
}


@pytest.mark.parametrize("name", HELD)
def test_a_command_that_writes_for_long_does_not_share_its_folder(tmp_path, name):
    with held(tmp_path / "out"):
        with pytest.raises(InputError, match=rf"process {os.getpid()} on .* is writing to it"):
            HELD[name](tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_two_studies_do_not_share_a_folder(cohort, tmp_path):
    names = [folder.name for folder in cohort]
    fold = {"train": names[1:], "validation": names[:1], "test": []}
    (tmp_path / "split.json").write_text(json.dumps({"seed": 0, "splits": [fold]}))
    with (
        held(tmp_path / "out"),
        pytest.raises(InputError, match=rf"process {os.getpid()} on .* is writing to it"),
    ):
        study(cohort[0].parent, ["WT"], tmp_path / "split.json", tmp_path / "out", method=METHOD)
