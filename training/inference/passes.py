"""Slices a few at a time, and fewer where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from spuproj import empty_cache
from spuproj.training.data.case import Case
from spuproj.training.runtime.errors import InputError, means_no_memory
from spuproj.training.runtime.progress import print_status

SLICES_PER_PASS = 4

Computed = TypeVar("Computed")
Slices = NDArray[np.int64]


def in_passes(
    case: Case, views: int, compute: Callable[[Slices, int], Computed], what: str
) -> Iterator[tuple[Slices, Computed]]:
    """Computes the slices with brain, four at a time.

    Whenever memory runs out, a pass takes half as many views: of fewer slices, then of a part of one slice's views. A
    line on standard error says so.

    Args:
        case: of the slices.
        views: of each slice.
        compute: called with indices of slices, and with the largest number of views that a pass may take.
        what: is computed, at the beginning of messages.

    Yields:
        The indices of slices, and what was computed of them.

    Raises:
        InputError: where memory runs out with one view per pass.
    """
    shown = case.brain_slices
    most, start = min(SLICES_PER_PASS, len(shown)) * views, 0
    while start < len(shown):
        chosen = shown[start : start + max(1, most // views)]
        found, reason = _tried(compute, chosen, most)
        if found is not None:
            yield chosen, found
            start += len(chosen)
        elif most > 1:
            most //= 2
            _free()
            print_status(f"{what}: memory ran out ({reason}): going on with {_in_words(most, views)} at a time")
        else:
            raise InputError(
                f"{what} must fit into memory, but does not even with one view at a time ({reason}); stop other "
                "programs, use a machine with more memory, or predict fewer kinds of maps"
            )


def _tried(compute: Callable[[Slices, int], Computed], chosen: Slices, most: int) -> tuple[Computed | None, str]:
    """What was computed; or None, and how the lack of memory was put. All that the error holds is freed at the end."""
    try:
        return compute(chosen, most), ""
    except (MemoryError, RuntimeError) as error:
        if not means_no_memory(error):
            raise
        return None, " ".join(str(error).split("\n")[0].split())[:160] or type(error).__name__


def _free() -> None:
    """Returns what is kept for later calls."""
    empty_cache()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _in_words(most: int, views: int) -> str:
    count, name = (most // views, "slice") if most >= views else (most, "view")
    return f"{count} {name}{'s' if count > 1 else ''}"
