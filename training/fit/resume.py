"""Resuming a training: its checkpoint, whether it is still the same training, and what of it is safe after an error."""

from __future__ import annotations

import io
import json
import os
import reprlib
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from spuproj.training.fit.logs import LOGS
from spuproj.training.models.run import CONFIG, RECORD, WEIGHTS
from spuproj.training.runtime.disk import DiskFullError, says_if_full
from spuproj.training.runtime.errors import InputError, as_input_error
from spuproj.training.runtime.files import atomic_write
from spuproj.training.runtime.json_file import read_json
from spuproj.training.runtime.progress import print_status

CHECKPOINTS = Path("checkpoints")
CHECKPOINT = CHECKPOINTS / "last.ckpt"

CONFIG_KEY = "config"
"""Key of a checkpoint that holds the configuration of its training."""

# What pytorch-lightning reads from a checkpoint, and the settings.
_PARTS = ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", CONFIG_KEY)


def can_resume(run: Path) -> bool:
    """Whether the folder holds a training that can be resumed; a link to nothing counts, and fails when it is read."""
    return all(os.path.lexists(run / name) for name in (CHECKPOINT, CONFIG, RECORD))


def remove_previous_run(run: Path) -> None:
    """Removes an earlier run. Weights go first, because a folder with weights is a complete run."""
    (run / WEIGHTS).unlink(missing_ok=True)
    for older in (CHECKPOINTS, LOGS):
        shutil.rmtree(run / older, ignore_errors=True)


class Checkpoint(NamedTuple):
    """Where a training goes on: the file of its checkpoint, and the number of steps that it has made."""

    path: Path
    steps: int


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints appear whole or not at all: pytorch-lightning would copy them from the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        whole = io.BytesIO()
        torch.save(checkpoint, whole)
        with atomic_write(Path(path)) as temporary:
            temporary.write_bytes(whole.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        content: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return content


def checked_checkpoint(checkpoint: Path, config: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint to go on with.

    Args:
        checkpoint: its file.
        config: of the training that is resumed.

    Raises:
        InputError: for anything but a checkpoint of tensors and numbers, as this training saves it.
    """
    with as_input_error(
        lambda error: _no_checkpoint(checkpoint, f"cannot be read: {str(error).partition(chr(10))[0]}")
    ):
        _require_modest(checkpoint)
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    missing = _PARTS if not isinstance(content, dict) else [name for name in _PARTS if name not in content]
    if missing:
        raise InputError(_no_checkpoint(checkpoint, f"has no {missing[0]}"))
    for count in ("epoch", "global_step"):
        if not (isinstance(content[count], int) and content[count] >= 0):
            raise InputError(_no_checkpoint(checkpoint, f"has the {count} {reprlib.repr(content[count])}"))
    for name, was, now in _differences(content[CONFIG_KEY], dict(config)):
        reason = f"is of another one: {name} is {reprlib.repr(was)}, not {reprlib.repr(now)}"
        raise InputError(_no_checkpoint(checkpoint, reason))
    return Checkpoint(checkpoint, content["global_step"])


def _require_modest(checkpoint: Path) -> None:
    """Raises ValueError for a checkpoint that is damaged, or may need much more memory than it has bytes."""
    with ZipFile(checkpoint) as parts:
        if any(part.compress_type != ZIP_STORED for part in parts.infolist()):
            raise ValueError("it holds compressed data, which training does not write")
        for part in parts.infolist():
            # Of what torch unpickles safely, this alone has any size in a few bytes.
            if part.filename.endswith("/data.pkl") and b"\nbytearray\n" in parts.read(part):
                raise ValueError("it holds a bytearray, which training does not write")
        # torch does not compare checksums.
        if damaged := parts.testzip():
            raise ValueError(f"its part {damaged} is damaged")


def _no_checkpoint(checkpoint: Path, reason: str) -> str:
    return f"{checkpoint} must be a checkpoint of this training, but {reason}; start over with --force"


@contextmanager
def says_what_is_safe(run: Path) -> Iterator[None]:
    """Adds to an error of the machine, a full disk or a killed process that loads batches, what of the run is safe."""
    try:
        yield
    except SystemExit as end:
        # pytorch-lightning ends so: after SIGTERM without a status, as if all were well, after Ctrl-C with 1.
        if end.code not in (None, 1):
            raise
        number = signal.SIGTERM if end.code is None else signal.SIGINT
        print_status(f"stopped by {number.name}; {_safe(run)}")
        raise SystemExit(128 + number) from None
    except Exception as error:
        # torch has no type of its own for it; where a batch was just being received, the connection ends. Memory that
        # these processes share and that is full is called a disk.
        killed = isinstance(error, RuntimeError) and "DataLoader worker" in str(error)
        if killed or isinstance(error, ConnectionError):
            reason = str(error).strip().rstrip(".")
            raise RuntimeError(
                f"processes that load batches must live as long as the training, but: {reason}. If the "
                f"machine has run out of memory, use fewer of them (--workers); {_safe(run)}"
            ) from error
        try:
            with says_if_full(run):
                raise
        except DiskFullError as full:
            raise DiskFullError(f"{full}; {_safe(run)}") from error


def _safe(run: Path) -> str:
    if (run / WEIGHTS).exists():
        return f"the model in {run} is whole"
    if can_resume(run):
        return f"the training is safe up to its last complete epoch, in {run / CHECKPOINT}: go on with --resume"
    return "no epoch is complete yet: start again with --resume"


def require_same_training(path: Path, wanted: Mapping[str, Any]) -> None:
    """Raises InputError where a JSON file of the training to resume is broken, or not of this training.

    Args:
        path: of the JSON file.
        wanted: the values that must be equal.
    """
    for name, was, now in _differences(read_json(path), json.loads(json.dumps(wanted))):
        raise InputError(
            f"{name} must be {reprlib.repr(was)}, as in {path} of the training to resume, got {reprlib.repr(now)}; "
            "resume it with the data and the options that it began with, or start over with --force"
        )


def _differences(found: Any, wanted: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Name, old and new value of each difference."""
    if not (isinstance(found, dict) and isinstance(wanted, dict)):
        if found != wanted:
            yield name, found, wanted
        return
    for key, value in wanted.items():
        yield from _differences(found.get(key), value, f"{name}.{key}" if name else key)
