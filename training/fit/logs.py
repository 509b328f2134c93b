"""TensorBoard's logs of a training, without what a resumed training writes again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

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
