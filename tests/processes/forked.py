"""Code that runs in a process of its own without the seconds that an import of torch takes.

The process is forked from one that has imported torch and nothing else, so what the code imports beyond torch, what is
missing for it and what it changes are as in a fresh interpreter.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from helpers import python_environment

PARENT = """
import json, os, sys, types
import torch

for line in sys.stdin:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()

job = json.loads(line)
os.chdir(job["folder"])
os.environ.clear()
os.environ.update(job["environment"])
for number, path in enumerate((os.devnull, "out", "err")):
    os.dup2(os.open(os.path.join(job["streams"], path), os.O_RDWR | os.O_CREAT), number)
sys.argv = job["arguments"]
main = sys.modules["__main__"] = types.ModuleType("__main__")
main.__file__ = job["arguments"][0]
exec(compile(job["code"], job["arguments"][0], "exec"), main.__dict__)
"""
"""It forks once per line that it reads. What follows the loop runs in the child, and ends as any program ends."""


@cache
def _parent() -> subprocess.Popen[str]:
    # One thread: a forked process has none of the others that its parent had.
    environment = {**python_environment(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PARENT]
    parent = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(parent.communicate)
    return parent


def run_forked(
    code: str | Path, *arguments: object, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs code, or a script with arguments, in a forked process with one thread, in a folder (or an empty one)."""
    with tempfile.TemporaryDirectory() as empty:
        where = str(folder or empty)
        everything = {**python_environment(), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", **environment}
        command = ["-c" if isinstance(code, str) else str(code), *map(str, arguments)]
        if sys.platform == "linux":
            return _forked(code if isinstance(code, str) else code.read_text(), command, where, everything)
        # Elsewhere a forked process may not use all libraries, or there are none.
        fresh = [sys.executable, *(["-c", code] if isinstance(code, str) else command[:1]), *command[1:]]
        return subprocess.run(fresh, cwd=where, env=everything, capture_output=True, text=True, check=False)


def _forked(
    code: str, command: list[str], folder: str, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    with tempfile.TemporaryDirectory() as streams:
        job = {"code": code, "arguments": command, "folder": folder, "environment": environment, "streams": streams}
        parent.stdin.write(json.dumps(job) + "\n")
        parent.stdin.flush()
        status = int(parent.stdout.readline())
        out, err = (Path(streams, name).read_text() for name in ("out", "err"))
    return subprocess.CompletedProcess(command, status, out, err)
