"""Peak memory of reduce beyond its input and outputs, each number of views in a process of its own. Linux only."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from spuproj import Views
from spuproj.benchmarks.cases import Case
from spuproj.benchmarks.problems import make_views

MEMORY_CASE = Case("reduce", batch=16)
VIEWS = (1, 4, 9, 16, 25)

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
# Freed blocks of any size go back to the system at once, so that none hides what a call takes.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "SPUPROJ_CACHE_LIMIT": "0"}


@dataclass(frozen=True)
class Memory:
    """Peak memory of one reduce call, in percent of its input ``[B, N, C, h, w]``, without input and outputs.

    Attributes:
        case: the call.
        percent: of a call whose views were met before.
        first_percent: of the first call, which also computes and keeps where each pixel lies in each view.
    """

    case: Case
    percent: float
    first_percent: float


def measure_memory(case: Case) -> list[Memory]:
    """Memory of a reduce case, in a process of its own; empty where the system does not tell a process's peak."""
    if not (_STATUS.exists() and _RESET.exists()):
        return []
    shape = json.dumps([case.batch, case.channels, case.views, *case.size])
    run = subprocess.run(
        [sys.executable, "-m", "spuproj.benchmarks.memory", shape],
        env={**os.environ, **_ALLOCATOR},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"measuring memory must succeed, but failed: {run.stderr}")
    first, again = json.loads(run.stdout)
    return [Memory(case, again, first)]


def _measure_here(case: Case) -> tuple[float, float]:
    """Percentages of the first and the second call in this process."""
    views = make_views(case, torch.Generator())
    stack = torch.empty(case.stack_shape).normal_()
    _warm_up(views)
    first, again = (100 * _extra_bytes(stack, views) / stack.nbytes for _ in range(2))
    return first, again


def _warm_up(views: Views) -> None:
    """Loads code and starts threads, on another size."""
    Views.from_table(views.geometry, (64, 64)).reduce(torch.zeros(64, len(views), 1, 64, 64))


def _extra_bytes(stack: torch.Tensor, views: Views) -> int:
    _RESET.write_text("5")
    before = _status_bytes("VmRSS")
    results = views.reduce(stack)
    return _status_bytes("VmHWM") - before - sum(result.nbytes for result in results)


def _status_bytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{_STATUS} must tell {name}, but does not")
    return 1024 * int(found[1])


if __name__ == "__main__":
    batch, channels, views, height, width = json.loads(sys.argv[1])
    print(json.dumps(_measure_here(Case("reduce", batch, channels, views, (height, width)))))
