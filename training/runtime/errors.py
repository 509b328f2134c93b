"""The error for input that cannot be used, and other errors in its words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class InputError(ValueError):
    """A file or folder that the user gave cannot be used; the message says which, why, and what to do."""


@contextmanager
def as_input_error(
    message: Callable[[Any], str], kinds: type[Exception] | tuple[type[Exception], ...] = Exception
) -> Iterator[None]:
    """Raises InputError in place of other errors inside the context, such as those of a library for a damaged file.

    Args:
        message: makes the message of an error.
        kinds: of errors that are replaced. A damaged or foreign file may raise any.
    """
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        raise InputError(message(error)) from None


def reason_of(error: Exception) -> str:
    """What an error says; with its type, where it is of a library and may not be understood without."""
    return str(error) if isinstance(error, InputError | OSError) else f"{type(error).__name__}: {error}"
