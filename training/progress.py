"""What the commands show as they run: progress bars with time left, and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from spuproj.training.processes import rank

# One of the processes that train together speaks for all.
console = Console(quiet=rank() > 0)
_TABLE_WIDTH = 130

Steps = Callable[[str, int], AbstractContextManager[Callable[[str], None]]]
"""Like ``steps``: from a description and a total to a context that yields what advances the bar."""


def show(table: Table) -> None:
    """Prints a table with all of its digits; on a narrower terminal its lines wrap."""
    Console(quiet=console.quiet, width=max(console.width, _TABLE_WIDTH)).print(table)


def _bar() -> Progress:
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
def steps(description: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar of ``total`` steps; the yielded function advances it by one and shows a note behind it."""
    with _bar() as progress:
        task = progress.add_task(description, total=total, note="")
        yield lambda note: progress.update(task, advance=1, note=note)


@contextmanager
def steps_within(description: str, total: int) -> Iterator[tuple[Callable[[str], None], Steps]]:
    """The same, and what shows a further bar below it, gone when its own steps are done."""
    with _bar() as progress:
        outer = progress.add_task(description, total=total, note="")

        @contextmanager
        def inner_steps(description: str, total: int) -> Iterator[Callable[[str], None]]:
            inner = progress.add_task(description, total=total, note="")
            try:
                yield lambda note: progress.update(inner, advance=1, note=note)
            finally:
                progress.remove_task(inner)

        yield lambda note: progress.update(outer, advance=1, note=note), inner_steps


class Epochs(pl.Callback):
    """A bar over all training steps, with the epoch, the loss and the last validation's Dice."""

    def __init__(self, description: str, total: int) -> None:
        self.progress = _bar()
        self.task = self.progress.add_task(description, total=total, note="")

    def on_fit_start(self, *_: Any) -> None:
        self.progress.start()

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.progress.update(self.task, completed=trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.progress.advance(self.task)
        # To read a metric is to wait for the GPU.
        if trainer.global_step % trainer.log_every_n_steps:
            return
        metrics = " ".join(f"{name} {float(value):.3f}" for name, value in trainer.callback_metrics.items())
        note = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs} {metrics}"
        self.progress.update(self.task, note=note)

    def on_exception(self, *_: Any, **__: Any) -> None:
        self.progress.stop()

    def teardown(self, *_: Any, **__: Any) -> None:
        self.progress.stop()
