"""What a reader does besides reading: writes outside of its folder, unpickled objects, programs, connections."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "darwin":
    import fcntl

_NEVER = (
    "pickle.find_class",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "socket.connect",
)
_CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    **dict.fromkeys(("os.remove", "os.rmdir"), ((0, 1),)),
    "os.mkdir": ((0, 2),),
    "os.truncate": ((0, None),),
    "os.link": ((1, 3),),
    "os.symlink": ((1, 2),),
    "os.rename": ((0, 2), (1, 3)),
}
"""Events that change entries of folders, and which of their arguments are the paths of these, and the open folders that
relative paths start from (-1 where it is the current one)."""

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
        found.extend(_outside(folder, event, [_absolute(arguments, *numbers) for numbers in _CHANGES[event]]))


def _absolute(arguments: tuple[object, ...], path: int, start: int | None) -> object:
    """The path among an event's arguments, from the folder that it starts in."""
    given, descriptor = arguments[path], -1 if start is None else arguments[start]
    if isinstance(given, str | bytes | os.PathLike) and isinstance(descriptor, int) and descriptor >= 0:
        return os.path.join(_path_of(descriptor), os.fsdecode(given))
    return given


def _path_of(descriptor: int) -> str:
    """The path of an open folder."""
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return os.readlink(f"/proc/self/fd/{descriptor}")


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
