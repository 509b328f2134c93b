"""The whole benchmark: measure, print the tables, write JSON and pictures."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import track

from spuproj.benchmarks.cases import AS_CALLED, FULL, SHORT, Case
from spuproj.benchmarks.files import refuse_overwrite, write_whole
from spuproj.benchmarks.goals import goals
from spuproj.benchmarks.machine import machine, slug, software
from spuproj.benchmarks.measuring import measure
from spuproj.benchmarks.memory import MEMORY_CASE, VIEWS, measure_memory
from spuproj.benchmarks.plots import ratios_picture, scaling_picture
from spuproj.benchmarks.record import Record, to_json
from spuproj.benchmarks.scaling import measure_point, points
from spuproj.benchmarks.tables import text

# Seconds for all contenders of a case at one number of threads; five rounds are timed in any case.
_BUDGET = 1.5
_AS_CALLED_BUDGET = 6.0
_SCALING_BUDGET = 0.3
_SHORT_BUDGET = 0.05

T = TypeVar("T")


def run_bench(out: Path, *, short: bool, force: bool) -> list[Path]:
    """Measures everything, prints the tables and writes ``<machine>.json``, ``.png`` and ``-scaling.png``.

    Args:
        out: folder of the three files.
        short: small shapes, which check every peer's result in about a minute; their times mean nothing.
        force: write over existing files.

    Returns:
        What was written.

    Raises:
        ValueError: where a file exists already and ``force`` is not set.
        RuntimeError: where a result differs from the reference.
    """
    paths = [out / f"{slug()}{ending}" for ending in (".json", ".png", "-scaling.png")]
    refuse_overwrite(paths, force)
    record = collect(short)
    print(text(record))
    subtitle = _subtitle()
    contents = (
        to_json(record),
        ratios_picture(record.rows, subtitle),
        scaling_picture(record.scaling, record.memory, subtitle),
    )
    for path, content in zip(paths, contents, strict=True):
        write_whole(path, content)
    return paths


def collect(short: bool) -> Record:
    """Measures everything, at one thread and at all."""
    all_threads = torch.get_num_threads()
    numbers = sorted({1, all_threads})
    cases, scaling_budget = (SHORT, 0.0) if short else (FULL, _SCALING_BUDGET)
    rows = [
        row
        for case in _watched(cases, "Cases")
        for row in measure(case, [1] if case.way else numbers, _SHORT_BUDGET if short else _budget(case))
    ]
    places = [
        (point, measure_point(point, scaling_budget)) for point in _watched(points(all_threads, short), "Scaling")
    ]
    memory = [
        entry
        for views in _watched(VIEWS[:2] if short else VIEWS, "Memory")
        for entry in measure_memory(replace(MEMORY_CASE, views=views))
    ]
    return Record(short, rows, goals(rows, memory, all_threads), places, memory)


def _budget(case: Case) -> float:
    return _AS_CALLED_BUDGET if case.way == AS_CALLED else _BUDGET


def _watched(items: Sequence[T], description: str) -> Iterable[T]:
    """The items, with a bar on standard error that is drawn between two of them and never during one."""
    return track(items, description, auto_refresh=False, console=Console(file=sys.stderr))


def _subtitle() -> str:
    known, versions = machine(), software()
    return (
        f"{known['cpu']}, {known['cores']} cores, {versions['simd'].split()[0]}; "
        f"torch {versions['torch']}, spuproj {versions['spuproj']}"
    )
