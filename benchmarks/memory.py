"""Peak memory of reduce beyond its input and outputs, each number of views in a process of its own. Linux only."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from unittest.mock import patch

import torch

from spuproj import Views
from spuproj.benchmarks.ops.cases import Case
from spuproj.benchmarks.ops.truth import make_views

MEMORY_CASE = Case("reduce", batch=16)
VIEWS = (1, 4, 9, 16, 25)

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
# Freed blocks of any size go back to the system at once, so that none hides what a call takes.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "SPUPROJ_CACHE_LIMIT": "0"}


@dataclass(frozen=True)
class Memory:
    """Peak memory of one reduce call, in percent of its input ``[B, N, C, h, w]``, without input and outputs.

    The first call also computes and keeps where each pixel lies in each view; ``percent`` is that of a later call.
    """

    case: Case
    percent: float
    first_percent: float


def measure_memory(case: Case) -> list[Memory]:
    """Memory of a reduce case, in a process of its own; empty where the system does not tell a process's peak."""
    if not (_STATUS.exists() and _RESET.exists()):
        return []
    with patch.dict(os.environ, _ALLOCATOR), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        first, again = pool.submit(_percentages, case).result()
    return [Memory(case, again, first)]


def _percentages(case: Case) -> list[float]:
    """Of the first and the second call in this process."""
    views = make_views(case)
    stack = torch.empty(case.stack_shape).normal_()
    # Loads code and starts threads, on another size.
    Views.from_table(views.geometry, (64, 64)).reduce(torch.zeros(64, len(views), 1, 64, 64))
    return [100 * _extra_bytes(stack, views) / stack.nbytes for _ in range(2)]


def _extra_bytes(stack: torch.Tensor, views: Views) -> int:
    _RESET.write_text("5")
    before = _status_bytes("VmRSS")
    results = views.reduce(stack)
    return _status_bytes("VmHWM") - before - int(sum(result.nbytes for result in results))


def _status_bytes(name: str) -> int:
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return 1024 * int(lines[name].removesuffix("kB"))
