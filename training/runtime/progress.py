"""Output of the commands on the terminal: progress bars and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from spuproj.training.runtime.execution import rank

# Only rank 0 prints.
console = Console(quiet=rank() > 0)
_TABLE_WIDTH = 130
MakeProgressBar = Callable[[str, int], AbstractContextManager[Callable[[str], None]]]
"""Like ``progress_bar``: from a description and a total to a context that yields what advances the bar."""


def show(table: Table) -> None:
    """Prints a table at full width; on a narrower terminal its lines wrap."""
    Console(quiet=console.quiet, width=max(console.width, _TABLE_WIDTH)).print(table)


def make_progress() -> Progress:
    """Columns of a bar: description, count, elapsed and remaining time, and a note."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar of ``total`` steps. The yielded function advances it by one and shows a note."""
    with make_progress() as progress:
        task = progress.add_task(description, total=total, note="")
        yield lambda note: progress.update(task, advance=1, note=note)


@contextmanager
def nested_progress_bar(description: str, total: int) -> Iterator[tuple[Callable[[str], None], MakeProgressBar]]:
    """The same, and a function that shows a second bar below the first for as long as its context lasts."""
    with make_progress() as progress:
        outer = progress.add_task(description, total=total, note="")

        @contextmanager
        def inner_steps(description: str, total: int) -> Iterator[Callable[[str], None]]:
            inner = progress.add_task(description, total=total, note="")
            try:
                yield lambda note: progress.update(inner, advance=1, note=note)
            finally:
                progress.remove_task(inner)

        yield lambda note: progress.update(outer, advance=1, note=note), inner_steps
