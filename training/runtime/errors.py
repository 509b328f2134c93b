"""The error for input that cannot be used, and other errors in its words."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# What torch, oneDNN, cuDNN, cuBLAS and ITK say where memory runs out, in lower case; NumPy raises MemoryError.
_NO_MEMORY = ("out of memory", "allocate memory", "bad_alloc", "alloc_failed", "could not create a primitive")


class InputError(ValueError):
    """A file or folder that the user gave cannot be used; the message says which, why, and what to do."""


@contextmanager
def as_input_error(
    message: Callable[[Any], str], kinds: type[Exception] | tuple[type[Exception], ...] = Exception
) -> Iterator[None]:
    """Raises InputError in place of other errors inside the context, such as those of a library for a damaged file.

    Args:
        message: makes the message of an error.
        kinds: of errors that are replaced. A damaged or foreign file may raise any. Where the machine lacks memory or
            open files, no file is at fault, and the error stays what it is.
    """
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        if means_no_memory(error) or getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
            raise
        raise InputError(message(error)) from None


def means_no_memory(error: Exception) -> bool:
    """Whether an error says that memory has run out."""
    return isinstance(error, MemoryError) or any(saying in str(error).lower() for saying in _NO_MEMORY)


def reason_of(error: Exception) -> str:
    """What an error says; with its type, where it is of a library and may not be understood without."""
    if isinstance(error, MemoryError):
        said = f" ({error})" if str(error) else ""
        return f"memory ran out{said}; stop other programs, or use a machine with more"
    return str(error) if isinstance(error, InputError | OSError) else f"{type(error).__name__}: {error}"
