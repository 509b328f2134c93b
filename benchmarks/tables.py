"""What was measured, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import fill

from spuproj.benchmarks.cases import PEERS, Case
from spuproj.benchmarks.contenders import BUFFERED, COPY, FRESH, ONE_CALL, OURS
from spuproj.benchmarks.goals import Goal
from spuproj.benchmarks.measuring import Row
from spuproj.benchmarks.memory import Memory
from spuproj.benchmarks.ratios import best_forms, gigabytes_per_second, ns_per_element, over_limit, speedup
from spuproj.benchmarks.record import Record

NOTES = (
    "time: median of the rounds, in which all take turns; a turn begins with a call that is not timed, unless that "
    "takes half a second. spread: slowest over fastest round. ns: per element of the stack [B, N, C, H, W]. GB/s: "
    "bytes that must at least be read and written, over the time.",
    "error: largest difference from the float64 reference, over the largest value; checked before timing.",
    "/spuproj, /out=: time over that of ours with a new result, and into a buffer. Like is compared with like: scipy "
    "and cv2 write into a buffer, as ours with out= does, all others make a new result.",
    "/copy: time over that of copying as many bytes, likewise. The copy is of a tensor as large as the stack; where "
    "the op writes no stack, the copy reads and writes together as many bytes as the op, into a buffer.",
    "Coordinates are prepared for every peer before timing, in the form that it takes. Ours are computed at the first "
    "call and kept: 'first call' is ours on views that it has not met. torch.compile computes them at every call.",
    "Points that are not valid are sent outside the image, where all fill in zero. 16-bit floats and labels are cast "
    "to float32 and back for the peers on tensors, within the time.",
    "scipy and skimage always use one thread, and on large stacks are timed only there; they and cv2 take no 16-bit "
    "floats and have no gradient. Any other peer that is left out could do the work, but would take long.",
    f"{ONE_CALL}: one call of it on as small a plane, where a tiny op's own work would take users several.",
    "Of cv2 and grid_sample the faster of two layouts is shown; of kornia and MONAI only the one that is mostly faster "
    "is timed.",
)
_HEADER = ("", "time ms", "spread", "ns", "GB/s", "error", "/copy", "/spuproj", "/out=")
_GOALS_HEADER = ("goal", "measured", "with out=", "goal", "floor", "")
_MEMORY_HEADER = ("memory beyond input and outputs, of the stack", "views met before", "first call")
_WIDTH = 118


def text(record: Record) -> str:
    """The tables of a run and how to read them."""
    notes = [fill(note, _WIDTH, initial_indent="- ", subsequent_indent="  ") for note in NOTES]
    parts = [main_table(record.rows), "\n".join(notes)]
    if record.memory:
        parts.append(memory_table(record.memory))
    if record.goals:
        parts.append(goals_table(record.goals))
    return "\n\n".join(parts)


def main_table(rows: Sequence[Row]) -> str:
    """A group of lines for each case and number of threads, with the fastest form of each peer."""
    shown = best_forms(rows)
    header, *lines = aligned([_HEADER, *(_cells(rows, row) for row in shown)])
    found, rest = [header], iter(lines)
    for (case, threads), group in groupby(shown, key=lambda row: (row.case, row.threads)):
        members = list(group)
        found += ["", _title(case, threads, members), *(next(rest) for _ in members)]
    return "\n".join(found)


def _title(case: Case, threads: int, rows: Sequence[Row]) -> str:
    missing = [name for name in PEERS if name not in {row.name for row in rows}]
    left_out = f"; without {', '.join(missing)}" if missing else ""
    return f"{case.label}: {_threads(threads)}, {100 * rows[0].valid:.0f} % of the points valid{left_out}"


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def _cells(rows: Sequence[Row], row: Row) -> tuple[str, ...]:
    timing = row.timing
    peer = row.name not in (OURS, COPY)
    return (
        "  " + ", ".join(filter(None, (row.name, row.form))),
        _digits(1e3 * timing.median),
        _digits(timing.maximum / timing.minimum),
        _digits(ns_per_element(row)),
        _digits(gigabytes_per_second(row)),
        "" if row.error is None else f"{row.error:.0e}",
        _times(over_limit(rows, row)),
        *(_times(speedup(rows, row, form)) if peer else "" for form in (FRESH, BUFFERED)),
    )


def goals_table(goals: Sequence[Goal]) -> str:
    """Each goal on one line."""
    lines = [
        (goal.row, _value(goal.measured, goal), _value(goal.into_buffer, goal), *_bounds(goal), goal.outcome)
        for goal in goals
    ]
    return "\n".join(aligned([_GOALS_HEADER, *lines]))


def _bounds(goal: Goal) -> Iterator[str]:
    sign = "<=" if goal.smaller_is_better else ">="
    return (f"{sign} {bound:.3g}{goal.unit}" for bound in (goal.goal, goal.floor))


def _value(number: float | None, goal: Goal) -> str:
    return "" if number is None else f"{_digits(number)}{goal.unit}"


def memory_table(memory: Sequence[Memory]) -> str:
    """A line for each number of views."""
    lines = [(entry.case.label, f"{entry.percent:.2f} %", f"{entry.first_percent:.2f} %") for entry in memory]
    return "\n".join(aligned([_MEMORY_HEADER, *lines]))


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns of equal width, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{_digits(ratio)}x"


def _digits(number: float) -> str:
    """Three significant digits, without exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}" if number >= 0.001 else f"{number:.4f}"
