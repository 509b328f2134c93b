"""Forks runs of ``spuproj predict`` on a data set, and kills or stops each at another moment.

A task has ``data``, ``model``, ``outs`` (the folder of the runs' folders), and ``runs``, each
with a ``name``, the ``shard`` and the ``moment``; with a ``case``, that alone is predicted, into its own folder, which
is the run's: ``["operation", 17]`` comes before the 17th operation on the
outputs' files, ``["before", "os.rename a"]`` and ``["after", "os.rename a"]`` are those around one of them, and
``["time", 0.4]`` is this part of the time that the first run has taken; a run that takes less is repeated. Without a
moment it ends by itself. The task's result is an object: for each run how it ended, and the operations that it came
to. With ``stop``, a run is stopped instead, its process id is sent, and it is killed when an answer comes.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from spuproj.training.workflows import write_prediction
from spuproj_cli import entry

OPERATIONS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def _watch(out: Path, log: int, moment: tuple[str, Any], action: signal.Signals) -> None:
    """Writes each operation on files below a folder to a log, and at the moment sends this process a signal."""
    count, last = 0, ""

    def on_event(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count, last
        if event not in OPERATIONS or not _is_below(out, event, arguments):
            return
        target = os.path.relpath(arguments[1] if event == "os.rename" else arguments[0], out)
        operation = f"{event} {target}"
        if event == "os.rename" and os.path.basename(arguments[0]) != os.path.basename(target):
            operation += f" ({os.path.basename(arguments[0])})"
        if moment in (("operation", count), ("before", operation), ("after", last)):
            os.kill(os.getpid(), action)
        count, last = count + 1, operation
        os.write(log, f"{operation}\n".encode())

    sys.addaudithook(on_event)


def _is_below(out: Path, event: str, arguments: tuple[Any, ...]) -> bool:
    path = os.fspath(arguments[0]) if isinstance(arguments[0], str | Path) else ""
    # rmtree names entries relative to open folders.
    return path.startswith(str(out)) or (event in ("os.remove", "os.rmdir") and arguments[1] not in (-1, None))


def _run(task: dict[str, Any], run: dict[str, Any], out: Path, log: int) -> None:
    """In a fork: predicts, without pictures, which take most of the time."""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    torch.set_num_threads(1)
    write_prediction.case_figure = lambda case, predictions, config, path, truth: path.write_text("picture")  # type: ignore
    action = signal.SIGSTOP if run.get("stop") else signal.SIGKILL
    _watch(out, log, tuple(run.get("moment", ("", ""))), action)
    shard = "/".join(map(str, run.get("shard", (0, 1))))
    source = {"--case": str(out)} if run.get("case") else {"--data": task["data"], "--shard": shard}
    options = {"--model": task["model"], "--out": str(out), **source}
    sys.argv = ["spuproj", "predict", *(each for option in options.items() for each in option)]
    sys.argv += ["--force"] if run.get("force") else []
    try:
        entry.main()
    except SystemExit as end:
        os._exit(0 if end.code in (None, 0) else 1)


def _forked(
    task: dict[str, Any], run: dict[str, Any], out: Path, log: Path, whole: float, connection: Connection
) -> tuple[int, float]:
    """How a run ended, and the seconds that it took; ``whole`` are those of a run that nobody kills."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _run(task, run, out, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    if run.get("stop"):
        os.waitpid(child, os.WUNTRACED)
        connection.send(child)
        connection.recv()
        os.kill(child, signal.SIGKILL)
    kind, value = run.get("moment", ("", ""))
    killer = threading.Timer(value * whole if kind == "time" else 0, os.kill, (child, signal.SIGKILL))
    if kind == "time":
        killer.start()
    # The process keeps its number until it is waited for, so that the timer kills no other.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    killer.cancel()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - started


def run_all(task: dict[str, Any], connection: Connection) -> None:
    """Does a task and sends its result."""
    ends, whole = {}, 0.0
    for run in task["runs"]:
        out = Path(task["outs"], run["name"])
        log = out.with_suffix(".log")
        if run.get("case"):
            out = shutil.copytree(run["case"], out / Path(run["case"]).name)
        status, seconds = _forked(task, run, out, log, whole, connection)
        # A run that ended before its moment tells how long one takes now.
        while status == 0 and run.get("moment", ("",))[0] == "time":
            shutil.rmtree(out)
            status, seconds = _forked(task, run, out, log, seconds, connection)
        whole = whole or seconds
        ends[run["name"]] = {"status": status, "operations": log.read_text().splitlines() if log.exists() else []}
    connection.send(ends)
