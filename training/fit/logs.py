"""TensorBoard's logs of a training: without what a resumed training writes again, and on a full disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

from spuproj.training.runtime.disk import full_disk_in
from spuproj.training.runtime.files import atomic_write

LOGS = "logs"
"""Folder of a run."""

# TensorBoard reads files in the order of these names, in which others have the time.
_KEPT = "events.out.tfevents.0000000000.kept"


def cut_logs(logs: Path, steps: int) -> None:
    """Keeps what was logged in the first ``steps`` steps, in one file that is read first, and removes all else.

    A training that goes on after a kill makes the steps after its checkpoint again, and logs them again. Nothing is
    kept twice, also where an earlier call was killed before it had removed what it had copied.
    """
    files = sorted(logs.glob("events.out.tfevents.*"), key=lambda path: path.name)
    if not files:
        return
    kept = dict.fromkeys(event.SerializeToString() for event in _events(files) if event.step < steps)
    with atomic_write(logs / _KEPT) as temporary, temporary.open("wb") as file:
        writer = RecordWriter(file)
        for event in kept:
            writer.write(event)
    for path in files:
        if path.name != _KEPT:
            path.unlink()


def _events(files: list[Path]) -> Iterator[Event]:
    """The events of all files; a killed process may have left the last one of a file in part, which is not read."""
    for path in files:
        yield from LegacyEventFileLoader(str(path)).Load()


@contextmanager
def full_disk_said_once() -> Iterator[None]:
    """TensorBoard writes in a thread, which passes on to the training that a disk is full, and need not print it."""
    before, hook = set(threading.enumerate()), threading.excepthook

    def passed_on(found: threading.ExceptHookArgs) -> None:
        if full_disk_in(found.exc_value) is None:
            hook(found)

    threading.excepthook = passed_on
    try:
        yield
    except Exception as error:
        # The thread may not have ended yet.
        for thread in set(threading.enumerate()) - before if full_disk_in(error) else ():
            thread.join(1)
        raise
    finally:
        threading.excepthook = hook
