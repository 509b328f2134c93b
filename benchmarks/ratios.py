"""What follows from the measured times: the best form of each peer, ratios, time per element, bytes per second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from spuproj.benchmarks.cases import Case, read_and_written
from spuproj.benchmarks.contenders import BUFFERED, COPY, FRESH, LAST, OURS
from spuproj.benchmarks.measuring import Row


def ns_per_element(row: Row) -> float:
    """Nanoseconds for each element of the stack ``[B, N, C, H, W]``: the output of project and unproject."""
    return 1e9 * row.timing.median / torch.Size(row.case.stack_shape).numel()


def gigabytes_per_second(row: Row) -> float:
    """Bytes that the op must at least read and write, over the time."""
    return sum(read_and_written(row.case)) / row.timing.median / 1e9


def select(rows: Iterable[Row], case: Case, threads: int, name: str, form: str | None = None) -> Row | None:
    """The fastest of a contender's forms, or one form; None where it was not measured."""
    found = [
        row for row in rows if (row.case, row.threads, row.name) == (case, threads, name) and form in (None, row.form)
    ]
    return min(found, key=lambda row: row.timing.median, default=None)


def best_forms(rows: Sequence[Row]) -> list[Row]:
    """The rows with only the fastest form of each peer; all forms of ours and of copying."""
    return [row for row in rows if row.name in (OURS, COPY) or row is select(rows, row.case, row.threads, row.name)]


def speedup(rows: Sequence[Row], row: Row) -> float | None:
    """The row's time over that of ours with a new result; None where that was not measured."""
    return over(row, select(rows, row.case, row.threads, OURS, FRESH))


def over_limit(rows: Sequence[Row], row: Row) -> float | None:
    """The row's time over that of copying as many bytes, likewise into a buffer or into a new tensor.

    An op that writes no stack is compared with the copy into a buffer. None where copying was not measured.
    """
    forms = (BUFFERED,) if row.form in (BUFFERED, LAST) else (FRESH, BUFFERED)
    copies = (select(rows, row.case, row.threads, COPY, form) for form in forms)
    return over(row, next((copy for copy in copies if copy is not None), None))


def over(row: Row | None, other: Row | None) -> float | None:
    """The time of one row over that of another; None where one was not measured."""
    return None if row is None or other is None else row.timing.median / other.timing.median
