"""Wording that messages share."""

from __future__ import annotations

from collections.abc import Sequence

from spuproj.training.runtime.names import is_shown


def some_of(names: Sequence[str], most: int = 5, separator: str = ", ") -> str:
    """The first names, and how many there are more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 case``, ``2 cases``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def verbatim(text: str) -> str:
    """A text from outside as matplotlib shows it letter by letter.

    It would read what stands between two ``$`` as mathematics, and leave out of a legend what begins with ``_``.
    """
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def printable(text: str) -> str:
    """A text for the terminal: names of files may hold what moves the cursor; that is written as Python writes it."""
    return "".join(each if is_shown(each) or each == "\n" else ascii(each)[1:-1] for each in text)
