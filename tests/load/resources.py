"""What a process holds: memory, descriptors, threads."""

import gc
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


class Resources(NamedTuple):
    megabytes: float
    descriptors: int
    threads: int


def held() -> Resources:
    """What this process holds now, without what the garbage collector would free."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    counts = [len(os.listdir(f"/proc/self/{what}")) for what in ("fd", "task")]
    return Resources(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, *counts)
