"""What a reader does besides reading: writes outside of its folder, unpickled objects, programs, connections."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_NEVER = (
    "pickle.find_class",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
)
_CHANGES = {
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate"), (0,)),
    **dict.fromkeys(("os.link", "os.symlink"), (1,)),
    "os.rename": (0, 1),
}
"""Events that change entries of folders, and which of their arguments are the paths of these."""

_watched: list[tuple[str, list[str]]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched:
        return
    folder, found = _watched[-1]
    if event in _NEVER:
        found.append(f"{event} {arguments!r:.200}")
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        found.extend(_outside(folder, event, arguments[:1]))
    elif event in _CHANGES:
        found.extend(_outside(folder, event, [arguments[number] for number in _CHANGES[event]]))


def _outside(folder: str, event: str, paths: Sequence[object]) -> Iterator[str]:
    for path in paths:
        if isinstance(path, str | bytes | os.PathLike):
            above, name = os.path.split(os.path.abspath(os.fsdecode(path)))
            # Writing, renaming and removing change the entry of a folder, whatever it links to.
            if not f"{os.path.realpath(above)}/{name}/".startswith(f"{folder}/") and above != "/dev":
                yield f"{event} {os.fsdecode(path)!r}"


sys.addaudithook(_hook)


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Yields a list of what was done that a reader with this folder must not do."""
    _watched.append((os.path.realpath(folder), []))
    try:
        yield _watched[-1][1]
    finally:
        _watched.pop()
