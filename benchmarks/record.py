"""All that one run measured, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from spuproj.benchmarks.cases import Case
from spuproj.benchmarks.contenders import COPY, OURS
from spuproj.benchmarks.goals import Goal
from spuproj.benchmarks.machine import machine, software
from spuproj.benchmarks.measuring import Row
from spuproj.benchmarks.memory import Memory
from spuproj.benchmarks.ratios import gigabytes_per_second, ns_per_element, over_limit, select, speedup
from spuproj.benchmarks.scaling import Point

SCHEMA = 2


@dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        short: whether the shapes were small, and the times mean nothing.
        rows: of all cases.
        goals: what is aimed at, beside what was measured.
        scaling: the rows at each point of each axis.
        memory: of reduce.
    """

    short: bool
    rows: Sequence[Row]
    goals: Sequence[Goal]
    scaling: Sequence[tuple[Point, Sequence[Row]]]
    memory: Sequence[Memory]


def to_json(record: Record) -> bytes:
    """The record with the machine and the software, as JSON."""
    content = {
        "schema": SCHEMA,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "short": record.short,
        "machine": machine(),
        "software": software(),
        "rows": [_row(record.rows, row) for row in record.rows],
        "goals": [{**asdict(goal), "outcome": goal.outcome} for goal in record.goals],
        "scaling": [
            {"axis": point.axis, "value": point.value, **_row(rows, row)}
            for point, rows in record.scaling
            for row in rows
        ],
        "memory": [{**_case(entry.case), "percent": entry.percent, "first_percent": entry.first_percent}
                   for entry in record.memory],
    }  # fmt: skip
    return (json.dumps(content, indent=1) + "\n").encode()


def _case(case: Case) -> dict[str, Any]:
    return {name: value for name, value in asdict(case).items() if name != "peers"}


def _row(rows: Sequence[Row], row: Row) -> dict[str, Any]:
    return {
        **_case(row.case),
        "valid_share": row.valid,
        "name": row.name,
        "form": row.form,
        "threads": row.threads,
        "threaded": row.threaded,
        "error": row.error,
        "median_s": row.timing.median,
        "min_s": row.timing.minimum,
        "max_s": row.timing.maximum,
        "rounds": row.timing.rounds,
        "ns_per_element": ns_per_element(row),
        "gb_per_s": gigabytes_per_second(row),
        "over_limit": over_limit(rows, row),
        **_ratios(rows, row),
    }


def _ratios(rows: Sequence[Row], row: Row) -> dict[str, Any]:
    """Of ours, the time of each peer's fastest form over it; of a peer, its time over ours."""
    if row.name == OURS:
        peers = (select(rows, row.case, row.threads, name) for name in row.case.peers)
        return {"peers_over_this": {peer.name: peer.timing.median / row.timing.median for peer in peers if peer}}
    if row.name == COPY:
        return {}
    return {"over_spuproj": speedup(rows, row)}
