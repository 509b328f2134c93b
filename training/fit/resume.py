"""Resuming a training: its files, and whether it is still the same training."""

from __future__ import annotations

import json
import pickle
import reprlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from spuproj.training.models.run import CONFIG, RECORD, WEIGHTS
from spuproj.training.runtime.files import InputError

CHECKPOINT = Path("checkpoints", "last.ckpt")


def can_resume(run: Path) -> bool:
    """Whether the folder holds a training that can be resumed."""
    return (run / CHECKPOINT).is_file() and (run / CONFIG).is_file() and (run / RECORD).is_file()


def remove_previous_run(run: Path) -> None:
    """Removes an earlier run. Weights go first, because a folder with weights is a complete run."""
    (run / WEIGHTS).unlink(missing_ok=True)
    for older in (CHECKPOINT.parent, "logs"):
        shutil.rmtree(run / older, ignore_errors=True)


def checked_checkpoint(checkpoint: Path) -> Path:
    """The path itself. Raises InputError for a checkpoint that is damaged or needs arbitrary unpickling."""
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{checkpoint} must be a checkpoint of 'spuproj train', but cannot be read: {reason}; "
            "start over with --force"
        ) from None
    return checkpoint


def require_same_training(path: Path, wanted: Mapping[str, Any]) -> None:
    """Raises InputError where the values in a JSON file of the training to resume are not those of this training.

    Args:
        path: of the JSON file.
        wanted: the values that must be equal.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be a JSON file of the training to resume, but cannot be read: {error}") from None
    for name, was, now in _differences(found, json.loads(json.dumps(wanted))):
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
