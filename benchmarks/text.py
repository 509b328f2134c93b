"""The measurements as text tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from spuproj.benchmarks.goals import Goal, best_forms, ns_per_element, over, over_limit, select
from spuproj.benchmarks.memory import Memory
from spuproj.benchmarks.ops.cases import ON_GPU, PEERS, read_and_written
from spuproj.benchmarks.ops.contenders import COPY, FRESH, OURS
from spuproj.benchmarks.record import Record
from spuproj.benchmarks.timing import Row

_HEADER = ("", "time ms", "spread", "ns", "GB/s", "error", "same bits", "/copy", "/spuproj")
_GOALS_HEADER = ("goal", "measured", "goal", "floor", "")
_MEMORY_HEADER = ("memory beyond input and outputs, of the stack", "views met before", "first call")


def text(record: Record) -> str:
    """The tables of a run, with notes on how to read them."""
    notes = "gpu.txt" if any(row.case.way == ON_GPU for row in record.rows) else "cpu.txt"
    parts = [
        "Small shapes, to check results: the times, ratios and goals mean nothing." if record.short else "",
        main_table(record.rows),
        (Path(__file__).parent / "notes" / notes).read_text().rstrip(),
        memory_table(record.memory) if record.memory else "",
        goals_table(record.goals) if record.goals and not record.short else "",
    ]
    return "\n\n".join(filter(None, parts))


def main_table(rows: Sequence[Row]) -> str:
    """One group of lines per case and thread count, with the fastest form of each peer."""
    shown = best_forms(rows)
    header, *lines = aligned([_HEADER, *(_cells(rows, row) for row in shown)])
    found = [header]
    for _, group in groupby(zip(shown, lines, strict=True), key=lambda pair: (pair[0].case, pair[0].threads)):
        members, of_members = zip(*group, strict=True)
        found += ["", _title(members), *of_members]
    return "\n".join(found)


def _title(rows: Sequence[Row]) -> str:
    """The title of the rows of one case and thread count."""
    case, threads = rows[0].case, rows[0].threads
    missing = [name for name in PEERS if name not in {row.name for row in rows}]
    left_out = f"; without {', '.join(missing)}" if missing and case.way == "" else ""
    on = "" if case.way == ON_GPU else f"{threads} thread{'s' * (threads > 1)}, "
    return f"{case.label}: {on}{100 * rows[0].valid:.0f} % of the points valid{left_out}"


def _cells(rows: Sequence[Row], row: Row) -> tuple[str, ...]:
    limit, ratio = over_limit(rows, row), over(row, select(rows, row.case, row.threads, OURS, FRESH))
    alone, moved = row.name == COPY or (row.name, row.form) == (OURS, FRESH), sum(read_and_written(row.case)) / 1e9
    return (
        "  " + ", ".join(filter(None, (row.name, row.form))),
        *map(_digits, (1e3 * row.median_s, row.max_s / row.min_s, ns_per_element(row), moved / row.median_s)),
        "" if row.error is None else f"{row.error:.0e}",
        "" if row.same_bits is None else "yes" if row.same_bits else "no",
        "" if limit is None else f"{_digits(limit)}x",
        "" if ratio is None or alone else f"{_digits(ratio)}x",
    )


def goals_table(goals: Sequence[Goal]) -> str:
    """Each goal on one line."""
    lines: list[tuple[str, ...]] = [_GOALS_HEADER]
    for goal in goals:
        measured = "" if goal.measured is None else f"{_digits(goal.measured)}{goal.unit}"
        sign = "<=" if goal.smaller_is_better else ">="
        bounds = (f"{sign} {_digits(bound)}{goal.unit}" for bound in (goal.goal, goal.floor))
        lines.append((goal.row, measured, *bounds, goal.outcome))
    return "\n".join(aligned(lines))


def memory_table(memory: Sequence[Memory]) -> str:
    """One line per number of views."""
    lines = [(entry.case.label, f"{entry.percent:.2f} %", f"{entry.first_percent:.2f} %") for entry in memory]
    return "\n".join(aligned([_MEMORY_HEADER, *lines]))


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Aligned lines: the first column left-aligned, the others right-aligned; empty columns are left out."""
    first, *others = [column for column in zip(*cells, strict=True) if any(column[1:])]
    columns = [[cell.ljust(max(map(len, first))) for cell in first]]
    columns += [[cell.rjust(max(map(len, column))) for cell in column] for column in others]
    return ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]


def _digits(number: float) -> str:
    """Three significant digits, without exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}" if number >= 0.001 else f"{number:.4f}"
