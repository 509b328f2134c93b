"""Progress: a bar that is redrawn on a terminal, and lines without control characters elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from helpers import ROOT, run_python

pty = pytest.importorskip("pty", reason="pseudo-terminals are POSIX's")

STEPS = """
from spuproj.training.runtime.progress import nested_progress_bar
with nested_progress_bar("Reading [b]", 2) as (advance, inner):
    with inner("Slices", 3) as advance_inner:
        advance_inner("")
    advance("first")
    advance("second")
print("result")
"""


def test_without_a_terminal_there_is_a_line_per_step():
    run = run_python(STEPS, FORCE_COLOR="1")
    assert run.stdout == "result\n"
    assert run.stderr == "Reading [b] 1/2 first\nReading [b] 2/2 second\n"


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_a_terminal_shows_a_bar_unless_it_cannot_move_its_cursor(terminal):
    reader, writer = pty.openpty()
    environment = {**os.environ, "TERM": terminal, "COLUMNS": "120"}
    process = subprocess.run(
        [sys.executable, "-c", STEPS],
        cwd=ROOT / "tests",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
    )
    os.close(writer)
    shown = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert (process.returncode, process.stdout) == (0, "result\n"), shown
    assert ("\x1b[" in shown) == (terminal == "xterm")
    assert ("Reading [b] 1/2 first\r\n" in shown) == (terminal == "dumb")
    assert "Reading [b]" in shown
    assert "2/2" in shown
