"""Files that are complete whenever they exist, and what may be written where."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from spuproj.training.runtime.disk import says_if_full
from spuproj.training.runtime.errors import InputError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What a file system says that has no locks."""

UNFINISHED = ".unfinished"
"""In the folder of ``atomic_write_group``: what marks a group whose files are being moved."""

_LOCK = ".lock"


def inside(folder: Path, name: str) -> Path:
    """The path of an entry of a folder, by a name that came from outside: of a case, a target or a method.

    Raises:
        InputError: for a name that leads elsewhere: with a separator of paths or NUL, ``.``, ``..`` or nothing, or that
            of a link to a folder outside.
    """
    path = folder / name
    direct = Path(name).name == name and name not in ("", "..") and "\0" not in name
    # A link to a file may lead out: writing replaces the link, and data are often read through links.
    if not direct or (path.is_dir() and not path.resolve().is_relative_to(folder.resolve())):
        raise InputError(f"{name!r} must be the name of an entry of {folder}, but leads out of it; choose another name")
    return path


def why_no_file(path: Path) -> str:
    """Why a path is no file, at the end of an error: ``"there is no such file"``, ``"it is a folder"`` and so on."""
    # Path's own methods raise errors for names that are too long, and in closed folders.
    if os.path.isdir(path):
        return "it is a folder"
    if os.path.islink(path) and not os.path.exists(path):
        return f"it is a link to {os.readlink(path)}, which is not there"
    return "it is not a regular file" if os.path.exists(path) else "there is no such file"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path``, with the same suffixes, which replaces ``path`` on success.

    On an error nothing is left behind and an older file stays as it was. What killed processes left beside it is
    removed.

    Raises:
        DiskFullError: in place of any error that means it.
    """
    with _temporary_folder(path.parent) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextmanager
def atomic_write_folder(path: Path) -> Iterator[Path]:
    """The same for a whole folder: yields an empty folder of the same name, which replaces ``path`` on success.

    Meanwhile the older folder is beside it, with the ending ``.replaced``: a killed process leaves it there. What else
    such processes left beside it is removed. A link to a folder stays, and the folder is replaced.

    Raises:
        InputError: where there is such a folder already.
    """
    path = path.resolve()
    # As long a name may have no place for the ending.
    older = path.with_name(f"{path.name[:60]}.replaced")
    if path.exists() and os.path.lexists(older):
        raise InputError(
            f"{older} must not be there: it is what {path.name} was before an interrupted command; look at it, and "
            "move or remove it"
        )
    with _temporary_folder(path.parent) as new:
        (new / path.name).mkdir()
        yield new / path.name
        replaces = path.exists()
        if replaces:
            os.replace(path, older)
        try:
            os.replace(new / path.name, path)
        except BaseException:
            if replaces:
                os.replace(older, path)
            raise
        if replaces:
            shutil.rmtree(older, ignore_errors=True)


@contextmanager
def atomic_write_group(out: Path, name: str, last: str, outdated: Sequence[str] = ()) -> Iterator[Path]:
    """Yields a temporary folder inside ``out``, whose files are moved to ``out`` on success.

    On an error nothing is left behind and older files stay as they were. The file ``last`` marks a complete group: it
    is moved after all others. While these are moved, the folder's file ``UNFINISHED`` is in its place, or none.

    Args:
        out: the folder that receives the files.
        name: of the group. What a killed process left of a group of this name is removed.
        last: name of the file that marks a complete group.
        outdated: names of older files of the group, which are removed.

    Raises:
        InputError: where a folder is in the place of a file.
    """
    existed = out.exists()
    try:
        with _temporary_folder(out, name) as folder:
            yield folder
            _move_all(folder, out, last, outdated)
    finally:
        if not existed:
            with suppress(OSError):
                out.rmdir()


def _move_all(folder: Path, out: Path, last: str, outdated: Sequence[str]) -> None:
    """Moves the files of a group; where one cannot be moved, older files are put back."""
    new = sorted(path.name for path in folder.iterdir() if path.name not in (last, UNFINISHED))
    names = [last, *(name for name in outdated if name not in new), *new]
    require_replaceable(out, names)
    mark, kept = inside(out, last), folder.parent / "older"
    older = [name for name in names if os.path.lexists(out / name)]
    kept.mkdir()
    if last in older:
        # The mark must not be missing at any time.
        shutil.copy2(mark, kept, follow_symlinks=False)
    try:
        if (folder / UNFINISHED).exists():
            os.replace(folder / UNFINISHED, mark)
        else:
            mark.unlink(missing_ok=True)
        for name in names[1:]:
            if name in older:
                os.replace(out / name, kept / name)
            if name in new:
                os.replace(folder / name, out / name)
        os.replace(folder / last, mark)
    except BaseException:
        # The mark is the first of the names, and the last to be put back.
        for name in reversed(names):
            with suppress(OSError):
                if os.path.lexists(kept / name):
                    os.replace(kept / name, out / name)
                elif name not in older:
                    (out / name).unlink()
        raise


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Removes temporary folders that killed processes left in a folder; those in use stay.

    Args:
        folder: that was written to.
        name: of a group, see ``atomic_write_group``; where empty, what is of no group.
    """
    # mkdtemp draws 8 characters.
    for left in folder.glob(f".spuproj-{'?' * 8}{_ending(name, glob.escape)}"):
        with suppress(OSError), FileLock(left / _LOCK, timeout=0, fallback_to_soft=False):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _temporary_folder(parent: Path, name: str = "") -> Iterator[Path]:
    """A folder in a new folder of ``parent``, so that its files can be renamed into place; removed at the end.

    The new folder is locked: unless a process holds it, it is a leftover. Those there are removed first.
    """
    require_folder(parent)
    remove_leftovers(parent, name)
    with says_if_full(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder, lock = _locked_folder(parent, name)
        try:
            (folder / "content").mkdir()
            yield folder / "content"
        finally:
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)


def _locked_folder(parent: Path, name: str) -> tuple[Path, FileLock]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=".spuproj-", suffix=_ending(name), dir=parent))
        lock = FileLock(folder / _LOCK, fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except (Timeout, FileNotFoundError):
            # Before it was locked another process has taken it for a leftover.
            continue
        except OSError as error:
            if error.errno not in NO_LOCKS:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        return folder, lock


def _ending(name: str, escape: Callable[[str], str] = str) -> str:
    return f"-{escape(name)}" if name else ""


def require_folder(path: Path) -> None:
    """Raises InputError where a path cannot be a folder to write to, before there is work to be lost."""
    above = next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
    if not above.is_dir():
        raise InputError(f"{path} must be a folder to write to, but {above} is no folder; choose another")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{path} must be a folder to write to, but {above} may not be written to; choose another")


def require_replaceable(out: Path, names: Sequence[str]) -> None:
    """Raises InputError where a folder is in the place of a file that is to be written."""
    for path in (inside(out, name) for name in names):
        if path.is_dir() and not path.is_symlink():
            raise InputError(f"{path} must be a file to write, but it is a folder; move it to another place")


def refuse_overwrite(paths: list[Path], force: bool) -> None:
    """Raises InputError where any of the paths exists, even as a link to nothing, and ``force`` is not set."""
    existing = [path for path in paths if os.path.lexists(path)]
    if existing and not force:
        raise InputError(f"{existing[0]} exists already; pass --force to write over it")
