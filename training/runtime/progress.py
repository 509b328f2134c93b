"""What a command shows: its progress on standard error, as bars or as lines, and tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from spuproj.training.runtime.execution import rank
from spuproj.training.runtime.wording import printable

# Of the processes that train together, only the first one prints.
_QUIET = rank() > 0
_stderr = Console(stderr=True, quiet=_QUIET)
_TABLE_WIDTH = 130
Advance = Callable[[str], None]
"""Says that a step is done, with a note such as the name of its case."""
MakeProgressBar = Callable[[str, int], AbstractContextManager[Advance]]
"""Like ``progress_bar``: from a description and a total to a context that yields what advances the bar."""


def show(table: RenderableType) -> None:
    """Prints a table, or several, on standard output, with all of its digits; on a narrower terminal its lines wrap."""
    console = Console(quiet=_QUIET)
    console.width = max(console.width, _TABLE_WIDTH)
    console.print(table)


def print_status(line: str) -> None:
    """Prints a line on standard error, if that can be written to: a full disk there must not end the work."""
    with suppress(OSError):
        _stderr.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def draws_bars() -> bool:
    """Whether standard error is a terminal, on which a bar can be redrawn."""
    return sys.stderr.isatty() and not _stderr.is_dumb_terminal


def make_progress() -> Progress:
    """A bar with its description, count, times and a note."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=_stderr,
    )


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Advance]:
    """Shows a bar of ``total`` steps, or prints a line per step where standard error is no terminal."""
    with nested_progress_bar(description, total) as (advance, _):
        yield advance


@contextmanager
def nested_progress_bar(description: str, total: int) -> Iterator[tuple[Advance, MakeProgressBar]]:
    """The same, and yields what shows a second bar below it, which disappears at its end and prints no lines."""
    if not draws_bars():
        steps = count(1)
        yield lambda note: print_status(f"{description} {next(steps)}/{total} {note}"), _no_bar
        return
    with make_progress() as progress:
        outer = progress.add_task(description, total=total, note="")

        @contextmanager
        def inner_steps(description: str, total: int) -> Iterator[Advance]:
            inner = progress.add_task(description, total=total, note="")
            try:
                yield lambda note: progress.update(inner, advance=1, note=note)
            finally:
                progress.remove_task(inner)

        yield lambda note: progress.update(outer, advance=1, note=note), inner_steps


@contextmanager
def _no_bar(description: str, total: int) -> Iterator[Advance]:
    yield lambda note: None
