"""Names from outside: of cases, targets, methods and models, which become names of files; and of settings."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from spuproj.training.runtime.disk import existing_part
from spuproj.training.runtime.errors import InputError

LONGEST = 160
"""Bytes of a name in UTF-8. File systems allow 255 for a file, and outputs append up to 40."""

FORMULAS = "=+-@"
"""With which formulas in cells of spreadsheets begin, and options of commands."""

_TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def plain_name(text: str, what: str) -> str:
    """The name itself, where a file can have it.

    Args:
        text: the name, as given.
        what: of what it is, at the beginning of the error.

    Raises:
        InputError: for an empty name, ``.`` or ``..``, one that begins with a dot or one of ``FORMULAS`` or begins or
            ends with a space, one with a separator of paths, a character that ``is_shown`` refuses or bytes that are no
            text, or more than ``LONGEST`` bytes.
    """
    wrong = name_fault(text)
    if wrong:
        raise InputError(f"{what} must be a plain file name, but {wrong}, got {text[:80]!r}")
    return text


def name_fault(text: str) -> str:
    """What makes a text no plain file name, see ``plain_name``; empty where nothing does."""
    if not text:
        return "it is empty"
    if text.startswith("."):
        return "it begins with a dot"
    if text[0] in FORMULAS:
        return f"it begins with {text[0]!r}, as formulas of spreadsheets and options of commands do"
    if text != text.strip():
        return "it begins or ends with a space"
    if any(character in "/\\" for character in text):
        return "it has a separator of paths"
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        return "it has bytes that are no text"
    if not all(map(is_shown, text)):
        return "it has a control character"
    size = len(text.encode())
    return f"it has {size} bytes, more than {LONGEST}" if size > LONGEST else ""


def as_one_file(name: str) -> str:
    """A name's letters as file systems compare them: names that give the same are one file on some systems.

    They differ in upper and lower case alone, or in how accents are written: as one character or as two.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def require_names_fit(folder: Path, paths: Iterable[str], remedy: str) -> None:
    """Raises InputError where a file system takes no names or no paths of so many bytes.

    Args:
        folder: that will hold the files; it may not be there yet.
        paths: of the files, relative to the folder.
        remedy: what to do, at the end of the error.
    """
    there = existing_part(folder)
    # Windows does not say; NTFS takes as many. A path ends with a zero, which counts.
    limits = [os.pathconf(there, "PC_NAME_MAX"), os.pathconf(there, "PC_PATH_MAX") - 1] if os.name == "posix" else [255]
    for path in paths:
        parts = (max(path.split("/"), key=_bytes), f"{folder}/{path}")
        for text, limit in zip(parts, limits, strict=False):
            size = _bytes(text)
            if size > limit:
                raise InputError(f"{text} must have at most {limit} bytes for {there}, but has {size}; {remedy}")


def _bytes(text: str) -> int:
    return len(os.fsencode(text))


def is_shown(character: str) -> bool:
    """Whether a character stands for itself: it controls no terminal, ends no line and turns no text's direction.

    Text that turns its direction is shown in another order than it has, so that one name looks like another.
    """
    return (
        unicodedata.category(character) not in ("Cc", "Zl", "Zp") and unicodedata.bidirectional(character) not in _TURNS
    )


def named_values(entries: Iterable[str], argument: str, form: str) -> Iterator[tuple[str, str]]:
    """Name and value of each entry ``NAME=VALUE``, with any spaces around them.

    Args:
        entries: as given.
        argument: of which they are, at the beginning of the error.
        form: of an entry, such as ``NAME=FOLDER``, for the error.

    Raises:
        InputError: for other text, or without a name or a value.
    """
    for entry in entries:
        name, _, value = entry.partition("=")
        if not (name.strip() and value.strip()):
            raise InputError(f"{argument} must be given as {form}, got {entry!r}")
        yield name, value


def repeated(names: Iterable[str]) -> list[str]:
    """The names that are there more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)
