"""Fresh interpreters that have imported torch, which takes seconds, and nothing of spuproj: forks of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from helpers import ROOT, python_environment, run_python

_SERVER = """
import json, os, sys, torch
for line in sys.stdin:
    wanted = json.loads(line)
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
for stream, path in enumerate((os.devnull, wanted["stdout"], wanted["stderr"])):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
os.environ.update(wanted["environment"])
exec(wanted["code"], {"__name__": "__main__"})
"""


@cache
def _server() -> subprocess.Popen[str]:
    """It ends with the process that started it, when its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        env=python_environment(),
        cwd=ROOT / "tests",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def run_after_torch(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Like ``run_python``, in an interpreter that has imported torch before it gets this environment."""
    if not hasattr(os, "fork"):
        return run_python(code, **environment)
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        stdout, stderr = Path(folder, "stdout"), Path(folder, "stderr")
        wanted = {"code": code, "environment": environment, "stdout": str(stdout), "stderr": str(stderr)}
        print(json.dumps(wanted), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess([], status, stdout.read_text(), stderr.read_text())
