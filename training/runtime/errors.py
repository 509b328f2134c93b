"""The error for input that cannot be used, and other errors in its words."""

from __future__ import annotations


class InputError(ValueError):
    """A file or folder that the user gave cannot be used; the message says which, why, and what to do."""


def reason_of(error: Exception) -> str:
    """What an error says; with its type, where it is of a library and may not be understood without."""
    return str(error) if isinstance(error, InputError | OSError) else f"{type(error).__name__}: {error}"
