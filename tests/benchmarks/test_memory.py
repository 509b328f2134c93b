"""The memory of reduce is measured in a process of its own."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from spuproj.benchmarks.memory import MEMORY_CASE, measure_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process so far")
def test_reduce_makes_no_stack():
    (entry,) = measure_memory(replace(MEMORY_CASE, batch=4))
    assert -1 < entry.percent < 50
    assert entry.percent - 1 < entry.first_percent < 100
