"""What killed processes have left in a folder that several processes write to, each a part of it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import remove_leftovers
from spuproj.training.runtime.locks import LOCK, held

_TEMPORARY = re.compile(r"\.spuproj-.{8}(?:-(.*))?", re.DOTALL)
_LOCK = re.compile(rf"{re.escape(LOCK)}(?:-(.*))?", re.DOTALL)


def remove_all_leftovers(out: Path) -> None:
    """Removes temporary folders and files of locks, save those of processes at work."""
    hidden = [path.name for path in out.glob(".*")]
    for name in _parts(_TEMPORARY, hidden):
        remove_leftovers(out, name)
    for part in _parts(_LOCK, hidden):
        # Its file goes when it is let go of.
        with suppress(InputError), held(out, part):
            pass


def _parts(pattern: re.Pattern[str], names: list[str]) -> set[str]:
    return {match[1] or "" for match in map(pattern.fullmatch, names) if match}
