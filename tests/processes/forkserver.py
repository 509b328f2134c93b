"""Processes that are forked from one that has imported the libraries once: a fresh one takes seconds to import them."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess

_PRELOADED = (
    "spuproj.metrics",
    "spuproj.training.fit.train",
    "spuproj.training.workflows.predict",
    "spuproj_cli.app",
    "tensorboard.backend.event_processing.event_accumulator",
)


def context() -> ForkServerContext:
    """Where processes are started; they import what else they need, as their target's module."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(list(_PRELOADED))
    return found


def start(target: Callable[..., object], arguments: tuple[object, ...], folder: Path) -> BaseProcess:
    """Starts a function of a module; the first process, from which all are forked, is started in ``folder``."""
    before = os.getcwd()
    # Python looks for modules in the folder that it starts in first.
    os.chdir(folder)
    try:
        process = context().Process(target=target, args=arguments)
        process.start()
    finally:
        os.chdir(before)
    return process


def redirect(out: Path, err: Path) -> None:
    """What this process prints goes to files from now on."""
    for stream, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, stream)
        os.close(file)


def run_with_libraries(code: str, *arguments: object, limit: float = 240) -> CompletedProcess[str]:
    """Runs code as its own program with ``arguments``; fails where it takes more than ``limit`` seconds."""
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name, "out"), Path(name, "err")
        process = start(execute, (code, [*map(str, arguments)], out, err), Path(name))
        process.join(limit)
        if process.exitcode is None:
            process.kill()
            raise AssertionError(f"still running after {limit} s: {err.read_text()}")
        return CompletedProcess(code, process.exitcode, out.read_text(), err.read_text())


def execute(
    code: str, arguments: list[str], out: Path, err: Path, environment: Mapping[str, str] | None = None
) -> None:
    """What ``start`` runs for a program given as code; it prints to ``out`` and ``err``."""
    redirect(out, err)
    os.environ.update(environment or {})
    import torch

    torch.set_num_threads(1)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})
