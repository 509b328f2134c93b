"""Rows of a benchmark that nobody measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spuproj.benchmarks.goals import cpu_goals
from spuproj.benchmarks.memory import MEMORY_CASE, Memory
from spuproj.benchmarks.ops.cases import SLICE, SLICE_AS_CALLED, Case, scaling_points
from spuproj.benchmarks.ops.contenders import BUFFERED, COPY, FRESH, OURS
from spuproj.benchmarks.record import Record
from spuproj.benchmarks.timing import Row


def row(name: str, form: str = "", seconds: float = 1.0, case: Case = SLICE, threads: int = 1, **other: Any) -> Row:
    error = None if name == COPY else 1e-6
    return Row(case, 0.5, name, form, threads, seconds, seconds / 2, seconds * 2, 5, **{"error": error, **other})


def some_rows(case: Case = SLICE, threads: int = 1) -> list[Row]:
    """Ours, two peers, of which one has two forms, and copies."""
    return [
        row(name, form, seconds, case, threads)
        for name, form, seconds in (
            (OURS, FRESH, 0.02),
            (OURS, BUFFERED, 0.01),
            ("scipy", "", 0.8),
            ("grid_sample", "views as batch", 0.3),
            ("grid_sample", "planes as channels", 0.2),
            (COPY, BUFFERED, 0.005),
            (COPY, FRESH, 0.016),
        )
    ]


def some_record() -> Record:
    """Of two cases, one of them at two numbers of threads, with scaling, memory and goals."""
    rows = some_rows(SLICE_AS_CALLED) + some_rows() + some_rows(threads=2)
    memory = [Memory(replace(MEMORY_CASE, views=views), 0.5, 4.0) for views in (1, 4, 9)]
    scaling = [(axis, entry) for axis, case, threads in scaling_points(2, True) for entry in some_rows(case, threads)]
    return Record(rows, scaling, memory, cpu_goals(rows, memory, 2))
