"""A folder that one process at a time writes to."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from spuproj.training.runtime.disk import says_if_full
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import NO_LOCKS, inside, require_folder
from spuproj.training.runtime.progress import print_status

LOCK = ".lock"
"""The file in a held folder. Not its presence counts, but the system's lock on it, which ends with its process, even if
that is killed. Its content names the process, for messages."""


@contextmanager
def held(folder: Path, part: str = "") -> Iterator[None]:
    """Holds a folder, made where it is missing, so that no other process writes to it: on any machine that shares it.

    Forked and started processes do not inherit it. Where the file system has no locks, a warning says so.

    Args:
        folder: that is written to.
        part: of the folder, if not all of it is held: the name of a case, say.

    Raises:
        InputError: where another process, or another thread of this one, holds the same; the message names it.
    """
    require_folder(folder)
    existed = folder.exists()
    path = inside(folder, f"{LOCK}-{part}" if part else LOCK)
    # Each call has a lock of its own: within a process it excludes, too.
    lock = FileLock(path, fallback_to_soft=False)
    with says_if_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        locked = _acquired(lock, path)
    try:
        yield
    finally:
        # Before the release: afterwards it would be the file of the next process.
        if locked:
            with suppress(OSError):
                path.unlink()
            lock.release()
        if not existed:
            with suppress(OSError):
                folder.rmdir()


def _acquired(lock: FileLock, path: Path) -> bool:
    """Whether the lock could be taken; False where the file system has none."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _is_held(path) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print_status(f"warning: {path.parent} cannot be locked ({error}): let no other process write to it")
        return False
    # On Windows a locked file cannot be written to.
    with suppress(OSError):
        path.write_text(_this_process(), encoding="utf-8")
    return True


def _is_held(path: Path) -> InputError:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            who = file.read(300).partition("\n")[0]
    except OSError:
        who = ""
    what = f"{path.parent} ({part})" if (part := path.name[len(LOCK) + 1 :]) else str(path.parent)
    return InputError(
        f"{what} must be written by one process at a time, but {who or 'another process'} is writing to it; "
        "wait for it, stop it, or choose another folder"
    )


def _this_process() -> str:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]).strip()
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"process {os.getpid()} on {socket.gethostname()} ({command}), since {since},".replace("\n", " ")
