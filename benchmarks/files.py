"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside ``path`` and renames it; on an error an older file stays as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".spuproj-", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        temporary.write_bytes(content)
        os.replace(temporary, path)


def refuse_overwrite(paths: Sequence[Path], force: bool) -> None:
    """Raises ValueError where any of the paths exists and ``force`` is not set."""
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise ValueError(f"{existing[0]} exists already; pass --force to write over it")
