"""Images that ``spuproj predict`` wrote beside the data. They are outputs, and never read as a patient's images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from spuproj.training.runtime.files import InputError, read_json

SUMMARY = "_summary.json"
"""How the name of the file ends that lists, under ``FILES``, the names of all files of a predicted case."""
FILES = "files"


def own_outputs(root: Path, summaries: Iterable[str]) -> set[str]:
    """The files that summaries list; of a file that is no summary of ``spuproj predict``, none.

    Args:
        root: the folder that paths are relative to.
        summaries: paths of files whose names end with ``SUMMARY``.
    """
    found = set[str]()
    for path in summaries:
        with suppress(InputError):
            names = read_json(root / path).get(FILES)
            place = path[: -len(os.path.basename(path))]
            found.update(f"{place}{name}" for name in (names if isinstance(names, list) else ()))
    return found
