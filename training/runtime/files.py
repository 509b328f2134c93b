"""Files that appear whole or not at all."""

from __future__ import annotations

import glob
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """A file or folder that the user gave cannot be used; the message says which, why, and what to do."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``, of the same suffixes; on success it is renamed to ``path``.

    On an error nothing is left behind and an older file stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=".spuproj-", dir=path.parent))
    try:
        temporary = directory / path.name
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def atomic_write_group(out: Path, name: str, last: str) -> Iterator[Path]:
    """Yields a temporary folder inside ``out``; on success its files are moved to ``out``.

    On an error nothing is left behind and older files stay as they were. The file ``last`` goes first where there is
    an older one, and comes last: where it is there, all the others are, and of one recipe. A folder of the same
    ``name`` that a killed process left is removed: only one process may work on it.
    """
    existed = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    # As many characters as mkdtemp draws.
    for left in out.glob(f".spuproj-{'?' * 8}-{glob.escape(name)}"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=".spuproj-", suffix=f"-{name}", dir=out))
    try:
        yield folder
        (out / last).unlink(missing_ok=True)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == last):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                out.rmdir()


def refuse_overwrite(paths: list[Path], force: bool) -> None:
    """Raises InputError where any of the paths exists and ``force`` is not set."""
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise InputError(f"{existing[0]} exists already; pass --force to write over it")


def nan_to_none(value: Any) -> Any:
    """For JSON, which has no NaN."""
    if isinstance(value, dict):
        return {key: nan_to_none(part) for key, part in value.items()}
    if isinstance(value, list):
        return [nan_to_none(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file's object. Raises InputError where the file is missing, damaged or holds something else."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be a JSON file, but cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content
