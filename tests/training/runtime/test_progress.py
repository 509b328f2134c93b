"""Progress: a bar that is redrawn on a terminal, and lines without control characters elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from processes.forkserver import execute, start

pty = pytest.importorskip("pty", reason="pseudo-terminals are POSIX's")

STEPS = """
from importlib import reload
from spuproj.training.runtime import progress
# The process that this one was forked from has imported it with another terminal.
reload(progress)
with progress.nested_progress_bar("Reading [b]", 2) as (advance, inner):
    with inner("Slices", 3) as advance_inner:
        advance_inner("")
    advance("first")
    advance("second")
print("result")
"""


def run_steps(folder: Path, err: Path, environment: dict[str, str]) -> tuple[int | None, str]:
    """The exit status, and what is written to standard output."""
    process = start(execute, (STEPS, [], folder / "out", err, environment), folder)
    process.join(240)
    return process.exitcode, (folder / "out").read_text()


def test_without_a_terminal_there_is_a_line_per_step(tmp_path):
    assert run_steps(tmp_path, tmp_path / "err", {"FORCE_COLOR": "1"}) == (0, "result\n")
    assert (tmp_path / "err").read_text() == "Reading [b] 1/2 first\nReading [b] 2/2 second\n"


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_a_terminal_shows_a_bar_unless_it_cannot_move_its_cursor(tmp_path, terminal):
    reader, writer = pty.openpty()
    ended = run_steps(tmp_path, Path(os.ttyname(writer)), {"TERM": terminal, "COLUMNS": "120"})
    os.close(writer)
    shown = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert ended == (0, "result\n"), shown
    assert ("\x1b[" in shown) == (terminal == "xterm")
    assert ("Reading [b] 1/2 first\r\n" in shown) == (terminal == "dumb")
    assert "Reading [b]" in shown
    assert "2/2" in shown
