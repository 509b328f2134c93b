"""Resuming a training: its files, and whether it is still the same training."""

from __future__ import annotations

import json
import os
import reprlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import torch

from spuproj.training.models.run import CONFIG, RECORD, WEIGHTS
from spuproj.training.runtime.files import InputError, read_json

CHECKPOINT = Path("checkpoints", "last.ckpt")

# What pytorch-lightning reads from a checkpoint.
_PARTS = ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks")


def can_resume(run: Path) -> bool:
    """Whether the folder holds a training that can be resumed; a link to nothing counts, and fails when it is read."""
    return all(os.path.lexists(run / name) for name in (CHECKPOINT, CONFIG, RECORD))


def remove_previous_run(run: Path) -> None:
    """Removes an earlier run. Weights go first, because a folder with weights is a complete run."""
    (run / WEIGHTS).unlink(missing_ok=True)
    for older in (CHECKPOINT.parent, "logs"):
        shutil.rmtree(run / older, ignore_errors=True)


def checked_checkpoint(checkpoint: Path) -> Path:
    """The path itself. Raises InputError for anything but a checkpoint of tensors and numbers, as a training saves."""
    try:
        _require_modest(checkpoint)
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    # A damaged or foreign file may raise anything.
    except Exception as error:
        raise _no_checkpoint(checkpoint, f"cannot be read: {str(error).partition(chr(10))[0]}") from None
    missing = _PARTS if not isinstance(content, dict) else [name for name in _PARTS if name not in content]
    if missing:
        raise _no_checkpoint(checkpoint, f"has no {missing[0]}")
    if not (isinstance(content["epoch"], int) and content["epoch"] >= 0):
        raise _no_checkpoint(checkpoint, f"has the epoch {reprlib.repr(content['epoch'])}")
    return checkpoint


def _require_modest(checkpoint: Path) -> None:
    """Raises ValueError for a checkpoint that may need much more memory than it has bytes."""
    with ZipFile(checkpoint) as parts:
        if any(part.compress_type != ZIP_STORED for part in parts.infolist()):
            raise ValueError("it holds compressed data, which training does not write")
        for part in parts.infolist():
            # Of what torch unpickles safely, this alone has any size in a few bytes.
            if part.filename.endswith("/data.pkl") and b"\nbytearray\n" in parts.read(part):
                raise ValueError("it holds a bytearray, which training does not write")


def _no_checkpoint(checkpoint: Path, reason: str) -> InputError:
    return InputError(f"{checkpoint} must be a checkpoint of 'spuproj train', but {reason}; start over with --force")


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
