"""What a folder holds: every file that may be an image, found in one pass."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spuproj.training.data.readers.case_files import without_suffix
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.json_file import read_json

MOST_FOLDERS = 2**20
"""In a data set; links count as what they lead to."""

SUMMARY = "_summary.json"
"""How the name of the file ends in which ``spuproj predict`` lists all files of a case, under "files"."""

# Images that are not read, by their endings.
_FOREIGN = (
    *(".dcm", ".dicom", ".ima", ".img", ".hdr", ".img.gz", ".hdr.gz", ".mnc"),
    *(".nii.bz2", ".nii.xz", ".nii.zst", ".npy", ".npz"),
)

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
"""Endings of files that may hold images, and are not read either."""

_OF_SYSTEMS = ("__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN")
"""Folders that operating systems make."""

_Place = tuple[int, int]
"""Device and inode of a folder."""


@dataclass(frozen=True)
class Listing:
    """What is in a folder and the folders below it. Paths are relative to it, with slashes, and sorted.

    Attributes:
        images: whatever is named like an image: files, links whose file is not there, and folders.
        outputs: images that ``spuproj predict`` wrote, which are not among them.
        foreign: images of kinds that are not read, and ``ARCHIVES``.
        others: files of any other kind.
        folders: all other folders.
        empty: those of the folders with no file in them, at any depth; only the topmost of each.
        closed: folders that cannot be listed, whose paths end with a slash, and links whose file or folder is not
            there; with the reason.
    """

    images: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)


def whole_path(folder: Path) -> Path:
    """A folder's absolute path, without ``..``; links stay links where there is none."""
    return folder.resolve() if ".." in folder.parts else folder.absolute()


def list_folder(folder: Path) -> Listing:
    """Lists a folder. Hidden files and folders are left out: names with a leading dot, and ``_OF_SYSTEMS``.

    Links to folders are followed, except to one that the link lies in.

    Raises:
        InputError: for more than ``MOST_FOLDERS``, as folders are that have links to each other.
    """
    found, files, outputs = Listing(), set[str](), set[str]()
    waiting: list[tuple[str, frozenset[_Place]]] = [("", frozenset())]
    while waiting:
        if len(found.folders) > MOST_FOLDERS:
            raise InputError(
                f"{folder} must have at most {MOST_FOLDERS} folders in it, but has more, such as "
                f"{found.folders[-1]!r:.120}; remove links from folders to each other, or name a smaller folder"
            )
        prefix, above = waiting.pop()
        try:
            here = os.stat(folder / prefix)
            if (here.st_dev, here.st_ino) in above:
                continue
            above = above | {(here.st_dev, here.st_ino)}
            with os.scandir(folder / prefix) as entries:
                for entry in entries:
                    _sort_in(entry, prefix, found, files, waiting, above)
                    if entry.name.endswith(SUMMARY) and not _is_hidden(entry.name):
                        outputs.update(f"{prefix}{name}" for name in _listed_in(Path(entry.path)))
        except OSError as error:
            found.closed[prefix or "."] = error.strerror or str(error)
    _finish(found, files, outputs)
    return found


def _sort_in(
    entry: os.DirEntry[str],
    prefix: str,
    found: Listing,
    files: set[str],
    waiting: list[tuple[str, frozenset[_Place]]],
    above: frozenset[_Place],
) -> None:
    if _is_hidden(entry.name):
        return
    path = prefix + entry.name
    if without_suffix(entry.name) is not None:
        found.images.append(path)
        files.add(prefix)
    elif _is_folder(entry):
        found.folders.append(path)
        waiting.append((f"{path}/", above))
    elif entry.is_symlink() and not os.path.exists(entry.path):
        found.closed[path] = f"it is a link to {os.readlink(entry.path)}, which does not exist"
    else:
        files.add(prefix)
        is_foreign = entry.name.lower().endswith((*_FOREIGN, *ARCHIVES)) or _is_dicom(entry)
        (found.foreign if is_foreign else found.others).append(path)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _OF_SYSTEMS


def _listed_in(summary: Path) -> list[str]:
    """The names that a summary of ``spuproj predict`` lists; none where the file is no such summary.

    They begin with the name of the case: a file of another kind could hide images.
    """
    case = summary.name.removesuffix(SUMMARY)
    with suppress(InputError, OSError):
        found: Any = read_json(summary)
        entry, names = found.get("entry"), found.get("files")
        if "recipe" in found and isinstance(entry, dict) and entry.get("name") == case and isinstance(names, dict):
            return [name for name in names if name.startswith(case)]
    return []


def _is_dicom(entry: os.DirEntry[str]) -> bool:
    """Whether a file whose name ends with no word, such as IM0001 or 1.2.840.10008, begins as DICOM files do."""
    if not re.fullmatch(r"\.?\d*", os.path.splitext(entry.name)[1]):
        return False
    with suppress(OSError):
        # A pipe would be waited for.
        if entry.is_file():
            with open(entry.path, "rb") as stream:
                return stream.read(132)[128:] == b"DICM"
    return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir()
    return False


def _finish(found: Listing, files: set[str], outputs: set[str]) -> None:
    """Sorts the lists, takes outputs out of the images, and finds the folders that are empty."""
    found.outputs.extend(path for path in found.images if path in outputs)
    found.images[:] = [path for path in found.images if path not in outputs]
    for each in (found.images, found.outputs, found.foreign, found.others, found.folders):
        each.sort()
    full = with_parents(prefix.rstrip("/") for prefix in files) | with_parents(found.closed)
    hollow = {path for path in found.folders if path not in full}
    found.empty.extend(path for path in found.folders if path in hollow and os.path.dirname(path) not in hollow)


def with_parents(paths: Iterable[str]) -> set[str]:
    """The relative paths and all folders that they lie in."""
    found = set[str]()
    for path in paths:
        while path and path not in found:
            found.add(path)
            path = os.path.dirname(path)
    return found
