"""What was measured, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import fill

from spuproj.benchmarks.cases import PEERS, Case
from spuproj.benchmarks.contenders import COPY, FRESH, KERNEL, ONE_CALL, OURS
from spuproj.benchmarks.goals import Goal
from spuproj.benchmarks.measuring import Row
from spuproj.benchmarks.memory import Memory
from spuproj.benchmarks.ratios import best_forms, gigabytes_per_second, ns_per_element, over_limit, speedup
from spuproj.benchmarks.record import Record

NOTES = (
    "time: from the start of a call until its result is dropped; the median of the rounds, in which all take turns. "
    "spread: slowest over fastest round. ns: per element of the stack [B, N, C, H, W]. GB/s: bytes that must at least "
    "be read and written, over the time.",
    "as called: what a user meets who writes stack = views.project(image) between other work. A turn is a single call, "
    "on one thread; just before it the harness reads and writes 96 MB of its own. Everyone makes a new result at each "
    "call. The result of the call before was dropped by then; a loop that holds on to it until the next one is made "
    "needs memory for two.",
    "reduce as called: every view shows every pixel there, so peers take their libraries' own mean(1) and var(1). The "
    "rows further down take moments of the valid views, written by hand, which torch does in less time than its var.",
    "All other rows: a turn repeats the call for 5 ms, or makes it once, after one call that is not timed unless it "
    "takes half a second. Peers make a new result at each call, and so does ours where it says 'new tensor'; with "
    "'out=' it writes into a buffer that is kept.",
    "error: largest difference from the float64 reference, over the largest value; checked before timing.",
    "/spuproj: time over that of ours with a new result.",
    "/copy: time over that of copying as many bytes, into a new tensor or, for ours with 'out=', into a buffer. The "
    "copy is of a tensor as large as the stack; where the op writes no stack, the copy is into a buffer, and reads and "
    "writes together as many bytes as the op.",
    "Coordinates are prepared for every peer before timing, in the form that it takes, and so are images. Our "
    "coordinates are computed at the first call and kept: 'first call' is ours on views that it has not met. "
    "torch.compile computes them at every call.",
    "Points that are not valid are sent outside the image, where all fill in zero. 16-bit floats and labels are cast "
    "to float32 and back for the peers on tensors, within the time.",
    "scipy and skimage always use one thread, and on large stacks are timed only there; they and cv2 take no 16-bit "
    "floats and have no gradient. Any other peer that is left out could do the work, but would take long.",
    f"call cost: hardly any pixels, so that a call's own cost is left; {ONE_CALL} is one call on as small a plane.",
    f"kernel's share: {KERNEL} is the compiled kernel called with everything prepared, into the same buffer.",
    "Of cv2 and grid_sample the faster of two layouts is shown; of kornia and MONAI only the one that is mostly faster "
    "is timed.",
)
_HEADER = ("", "time ms", "spread", "ns", "GB/s", "error", "/copy", "/spuproj")
_GOALS_HEADER = ("goal", "measured", "goal", "floor", "")
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
    left_out = f"; without {', '.join(missing)}" if missing and case.way == "" else ""
    return f"{case.label}: {_threads(threads)}, {100 * rows[0].valid:.0f} % of the points valid{left_out}"


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def _cells(rows: Sequence[Row], row: Row) -> tuple[str, ...]:
    timing = row.timing
    return (
        "  " + ", ".join(filter(None, (row.name, row.form))),
        _digits(1e3 * timing.median),
        _digits(timing.maximum / timing.minimum),
        _digits(ns_per_element(row)),
        _digits(gigabytes_per_second(row)),
        "" if row.error is None else f"{row.error:.0e}",
        _times(over_limit(rows, row)),
        "" if row.name == COPY or (row.name, row.form) == (OURS, FRESH) else _times(speedup(rows, row)),
    )


def goals_table(goals: Sequence[Goal]) -> str:
    """Each goal on one line."""
    lines = [(goal.row, f"{_digits(goal.measured)}{goal.unit}", *_bounds(goal), goal.outcome) for goal in goals]
    return "\n".join(aligned([_GOALS_HEADER, *lines]))


def _bounds(goal: Goal) -> Iterator[str]:
    sign = "<=" if goal.smaller_is_better else ">="
    return (f"{sign} {bound:.3g}{goal.unit}" for bound in (goal.goal, goal.floor))


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
