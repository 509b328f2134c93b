"""A full disk, said plainly."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT)}


class DiskFullError(OSError):
    """There is no room for what is written; the message says where, and ``folder`` is that place, if it is known."""

    def __init__(self, message: str, folder: Path | None = None) -> None:
        super().__init__(message)
        self.folder = folder


@contextmanager
def says_if_full(folder: Path) -> Iterator[None]:
    """Raises DiskFullError where an error in the context means that the disk of a folder is full, whatever its type.

    Of contexts in one another, the outermost says its folder, since the others are temporary, unless what was written
    lies elsewhere.
    """
    try:
        yield
    except Exception as error:
        reason = full_disk_in(error)
        if reason is None or _is_elsewhere(error, folder):
            raise
        free = shutil.disk_usage(existing_part(folder)).free / 1e6
        raise DiskFullError(
            f"{folder} must have room for what is written, but its disk is full ({reason}; {free:.1f} MB are free); "
            "make room on it",
            folder,
        ) from error


def _is_elsewhere(error: Exception, folder: Path) -> bool:
    place = error.folder if isinstance(error, DiskFullError) else None
    return place is not None and not place.absolute().is_relative_to(folder.absolute())


def existing_part(folder: Path) -> Path:
    """The folder, or the nearest of those above it that is there."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def full_disk_in(error: BaseException | None) -> str | None:
    """The system's words for a full disk, in an error or in those that led to it; None where it is none."""
    while error is not None:
        for code, words in _FULL.items():
            # Libraries in other languages pass on the words alone.
            if getattr(error, "errno", None) == code or words in str(error):
                return words
        error = error.__cause__ or error.__context__
    return None
