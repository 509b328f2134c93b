"""Names from outside that become names of files: of cases, targets, methods and models."""

from __future__ import annotations

from spuproj.training.runtime.files import InputError

LONGEST = 160
"""Bytes of a name in UTF-8. File systems allow 255 for a file, and outputs append up to 40."""


def plain_name(text: str, what: str) -> str:
    """The name itself, where a file can have it.

    Args:
        text: the name, as given.
        what: of what it is, at the beginning of the error.

    Raises:
        InputError: for an empty name, ``.`` or ``..``, one that begins with a dot or begins or ends with a space, one
            with a separator of paths, a control character or bytes that are no text, or more than ``LONGEST`` bytes.
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
    if text != text.strip():
        return "it begins or ends with a space"
    if any(character in "/\\" for character in text):
        return "it has a separator of paths"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "it has a control character"
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        return "it has bytes that are no text"
    size = len(text.encode())
    return f"it has {size} bytes, more than {LONGEST}" if size > LONGEST else ""
