"""`spuproj` as processes of their own, which can be killed at a chosen moment, and what a training has left."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from processes import forkserver

CHECKPOINT = Path("checkpoints", "last.ckpt")

_OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


@dataclass(frozen=True)
class Fault:
    """What happens to a command. Nothing, where all are None.

    Attributes:
        operation: number of the operation on files below ``folder``, counted from 1, before which it is killed.
        half: number of the checkpoint, counted from 1, which it is killed in the middle of.
        clock: seconds that its clock is ahead at first; from there it runs backwards.
        count: whether the number of operations is printed at the end.
        folder: that the operations are counted in.
    """

    operation: int | None = None
    half: int | None = None
    clock: float = 0.0
    count: bool = False
    folder: Path = Path("/")


@dataclass
class Command:
    """A running command; ``log`` is the file of what it prints."""

    process: BaseProcess
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text()

    def status(self, limit: float = 240) -> int:
        """Waits for its end; fails where it hangs."""
        self.process.join(limit)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {limit} s: {self.printed}")
        return self.process.exitcode


def start(arguments: Sequence[object], log: Path, fault: Fault | None = None) -> Command:
    """Starts ``spuproj`` with these arguments."""
    log.unlink(missing_ok=True)
    log.touch()
    return Command(forkserver.start(_run, ([*map(str, arguments)], log, fault or Fault()), log.parent), log)


def _run(arguments: list[str], log: Path, fault: Fault) -> None:
    forkserver.redirect(log, log)
    torch.set_num_threads(1)
    # A process in the background of a shell is started with this ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = _prepare(fault)
    sys.argv = ["spuproj", *arguments]
    from spuproj_cli import entry

    try:
        entry.main()
    finally:
        if fault.count:
            print(f"operations {done()}")


def _prepare(fault: Fault) -> Callable[[], int]:
    """Makes the fault happen in this process; returns what tells the number of operations."""
    started = time.monotonic()
    if fault.clock:
        begin = time.time()
        time.time = lambda: begin + fault.clock - (time.monotonic() - started)
    done, written = 0, 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done, written
        if event not in _OPERATIONS or not _writes_below(fault.folder, event, arguments):
            return
        done += 1
        if done == fault.operation:
            os.kill(os.getpid(), signal.SIGKILL)
        written += event == "open" and Path(str(arguments[0])).name == CHECKPOINT.name
        if written == fault.half:
            # The system ends the process as soon as a file grows above the limit.
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, HALF))

    sys.addaudithook(watch)
    return lambda: done


HALF = 10_000
"""Bytes of a checkpoint that is written in part."""


def _writes_below(folder: Path, event: str, arguments: tuple[Any, ...]) -> bool:
    if not isinstance(arguments[0], (str, os.PathLike)):
        return False
    reads = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
    return not reads and str(arguments[0]).startswith(f"{folder}/")


def left_of(run: Path) -> dict[str, Any]:
    """All of a finished run that does not depend on time, as values that compare bit by bit."""
    record = json.loads((run / "training.json").read_text())
    checkpoint = torch.load(run / CHECKPOINT, weights_only=True)
    curve = next(state for state in checkpoint["callbacks"].values() if "loss" in state)
    for timed in (record, curve):
        assert timed.pop("seconds") > 0
    assert record.pop("slices_per_second") > 0
    parts = ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers", "config")
    # Files of logs are as many as the training was started often, and named after the time.
    names = {re.sub("tfevents.*", "tfevents", str(path.relative_to(run))) for path in run.rglob("*")}
    return {
        "names": names,
        "config": (run / "config.json").read_bytes(),
        "record": record,
        "weights": bits(load_file(run / "model.safetensors")),
        "checkpoint": {name: bits(checkpoint[name]) for name in parts},
        "curve": curve,
        "logs": logged(run),
    }


def bits(value: Any) -> Any:
    """The same with all tensors as type, shape and bytes."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: bits(each) for key, each in value.items()}
    return [bits(each) for each in value] if isinstance(value, (list, tuple)) else value


def logged(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: steps and values of each curve."""
    shown = EventAccumulator(str(run / "logs"), size_guidance={"scalars": 0}).Reload()
    return {tag: [(each.step, each.value) for each in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}
