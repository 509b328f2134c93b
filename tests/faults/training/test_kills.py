"""Trainings that are killed at any moment are resumed to the same bits, and leave nothing behind."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from faults.training.processes import HALF, Command, Fault, left_of, start
from spuproj.training.models.method import Method
from spuproj.training.models.view_sets import Spherical

pytest_plugins = ["training_fixtures"]

METHOD = Method("tiny", Spherical(grid=(2, 2)), channels=(4, 8), epochs=4, batch_size=4)

_random = random.Random(20)
MOMENTS = {
    **{f"time {number}": ("time", (number + _random.random()) / 8) for number in range(8)},
    **{f"operation {number}": ("operation", (number + _random.random()) / 8) for number in range(8)},
    **{f"half of checkpoint {number}": ("half", number) for number in range(1, 5)},
}
"""Twenty moments: parts of the time or of the operations on files of a whole training, or a checkpoint."""


@dataclass(frozen=True)
class Unbroken:
    """A training that nothing happened to: its arguments without the folder, its duration, and what is left of it."""

    arguments: list[object]
    seconds: float
    operations: int
    left: dict[str, Any]


@pytest.fixture(scope="module")
def unbroken(cohort, tmp_path_factory) -> Unbroken:
    folder = tmp_path_factory.mktemp("unbroken")
    (folder / "tiny.json").write_text(json.dumps(asdict(METHOD)))
    arguments = ["train", "--data", cohort[0].parent, "--target", "WT", "--method", folder / "tiny.json"]
    # The first command also starts the process that all are forked from.
    assert start(["--version"], folder / "log").status() == 0
    begin = time.monotonic()
    command = start([*arguments, "--out", folder / "run"], folder / "log", Fault(count=True, folder=folder / "run"))
    assert command.status() == 0, command.printed
    seconds = time.monotonic() - begin
    operations = int(command.printed.rpartition("operations ")[2])
    return Unbroken(arguments, seconds, operations, left_of(folder / "run"))


def killed_in_time(arguments: list[object], run: Path, part: float, seconds: float) -> Command:
    """A training that is killed after a part of its time."""
    begin = time.monotonic()
    command = start(arguments, run.with_name("log"))
    command.process.join(part * seconds)
    command.process.kill()
    if command.status() != 0:
        return command
    # It has ended before that moment, and tells how long a training takes now.
    shutil.rmtree(run)
    return killed_in_time(arguments, run, part, time.monotonic() - begin)


def kill(unbroken: Unbroken, run: Path, kind: str, when: float) -> None:
    """Starts or resumes the training and kills it. Checks that it was killed, and in the middle of what."""
    arguments, fault = [*unbroken.arguments, "--out", run, "--resume"], Fault(folder=run)
    if kind == "operation":
        fault = replace(fault, operation=1 + int(when * unbroken.operations))
    if kind == "half":
        fault = replace(fault, half=int(when))
    command = (
        killed_in_time(arguments, run, when, unbroken.seconds)
        if kind == "time"
        else start(arguments, run.with_name("log"), fault)
    )
    assert command.status() == -(signal.SIGXFSZ if kind == "half" else signal.SIGKILL), command.printed
    if kind == "half":
        assert [path.stat().st_size for path in run.glob("checkpoints/.spuproj-*/content/last.ckpt")] == [HALF]


def resumed(unbroken: Unbroken, run: Path, clock: float = 0.0) -> dict[str, Any]:
    command = start([*unbroken.arguments, "--out", run, "--resume"], run.with_name("log"), Fault(clock=clock))
    assert command.status() == 0, command.printed
    return left_of(run)


def assert_same(left: dict[str, Any], unbroken: Unbroken) -> None:
    for name, value in unbroken.left.items():
        assert left[name] == value, name


@pytest.mark.parametrize("moment", ["time 4", "operation 5"])
def test_a_killed_training_is_resumed_to_the_same_bits(unbroken, tmp_path, moment):
    kill(unbroken, tmp_path / "run", *MOMENTS[moment])
    assert_same(resumed(unbroken, tmp_path / "run"), unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_training_killed_at_any_of_twenty_moments_is_resumed_to_the_same_bits(unbroken, tmp_path, moment):
    kill(unbroken, tmp_path / "run", *MOMENTS[moment])
    assert_same(resumed(unbroken, tmp_path / "run"), unbroken)


@pytest.mark.slow
def test_a_training_killed_in_every_epoch_is_resumed_to_the_same_bits(unbroken, tmp_path):
    for _ in range(METHOD.epochs - 1):
        kill(unbroken, tmp_path / "run", "half", 2)
    assert_same(resumed(unbroken, tmp_path / "run"), unbroken)


def test_a_clock_that_goes_backwards_changes_nothing(unbroken, tmp_path):
    """It is killed in the middle of a checkpoint. TensorBoard reads logs in the order of the times in their names."""
    kill(unbroken, tmp_path / "run", "half", 3)
    assert_same(resumed(unbroken, tmp_path / "run", clock=-4e7), unbroken)
