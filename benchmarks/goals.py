"""The ratios that spuproj is built to reach, and whether it does. All are float32, bilinear, 240 x 240, nine views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spuproj.benchmarks.cases import BACKWARD_TARGET, BATCH, REDUCE_TARGET, SLICE, TINY, Case
from spuproj.benchmarks.contenders import BUFFERED, COPY, FRESH, OURS, call_of
from spuproj.benchmarks.measuring import Row
from spuproj.benchmarks.memory import MEMORY_CASE, Memory
from spuproj.benchmarks.ratios import select

_ROWS_OF_SCRATCH = 4


@dataclass(frozen=True)
class Goal:
    """One measured number beside its goal.

    Attributes:
        row: what was measured.
        measured: the ratio, or the percentage.
        goal: what is aimed at.
        floor: below this it is not done.
        unit: ``"x"`` or ``"%"``.
        smaller_is_better: whether the measured number must stay below goal and floor, or reach them.
        into_buffer: the same with ``out=``, where that is not what ``measured`` is.
    """

    row: str
    measured: float
    goal: float
    floor: float
    unit: str = "x"
    smaller_is_better: bool = False
    into_buffer: float | None = None

    @property
    def outcome(self) -> str:
        """``"met"``; ``"not met"``, but not short of the floor; or ``"not done"``, short of it."""
        sign = -1 if self.smaller_is_better else 1
        if sign * self.measured >= sign * self.goal:
            return "met"
        return "not met" if sign * self.measured >= sign * self.floor else "not done"


def goals(rows: Sequence[Row], memory: Sequence[Memory], all_threads: int) -> list[Goal]:
    """The goals whose rows were measured."""
    found = [
        _speedup(rows, BATCH, "scipy", 80, 55, BUFFERED),
        _speedup(rows, BATCH, "grid_sample", 14, 9, FRESH),
        _over_copy(rows, BATCH, all_threads, 1.2, 1.7),
        _speedup(rows, SLICE, "cv2", 3, 2, BUFFERED),
        _speedup(rows, SLICE, "scipy", 80, 50, BUFFERED),
        _speedup(rows, BACKWARD_TARGET, "grid_sample", 25, 14, FRESH),
        _speedup(rows, REDUCE_TARGET, "grid_sample", 12, 7, FRESH),
        _speedup(rows, REDUCE_TARGET, "scipy", 80, 50, FRESH),
        *(_extra_memory(entry) for entry in memory if entry.case == MEMORY_CASE),
        *(_call_time(rows, case) for case in TINY),
    ]
    return [goal for goal in found if goal is not None]


def _speedup(rows: Sequence[Row], case: Case, peer: str, goal: float, floor: float, form: str) -> Goal | None:
    ours, theirs, into_buffer = (
        select(rows, case, 1, name, wanted) for name, wanted in ((OURS, form), (peer, None), (OURS, BUFFERED))
    )
    if ours is None or theirs is None:
        return None
    then = " then mean and variance" if case.op == "reduce" else ""
    seconds = theirs.timing.median
    return Goal(
        f"{_short_label(case)}, 1 thread: {peer}{then} over spuproj",
        seconds / ours.timing.median,
        goal,
        floor,
        into_buffer=None if into_buffer is None or form == BUFFERED else seconds / into_buffer.timing.median,
    )


def _over_copy(rows: Sequence[Row], case: Case, threads: int, goal: float, floor: float) -> Goal | None:
    ours, copy = (select(rows, case, threads, name, BUFFERED) for name in (OURS, COPY))
    if ours is None or copy is None:
        return None
    row = f"{_short_label(case)}, {threads} threads: spuproj over copying as many bytes"
    return Goal(row, ours.timing.median / copy.timing.median, goal, floor, smaller_is_better=True)


def _extra_memory(entry: Memory) -> Goal:
    """A few rows of each view are the goal."""
    row = f"{_short_label(entry.case)}: memory beyond input and outputs, of the stack"
    return Goal(row, entry.percent, 100 * _ROWS_OF_SCRATCH / entry.case.size[0], 10, "%", smaller_is_better=True)


def _call_time(rows: Sequence[Row], case: Case) -> Goal | None:
    """Against grid_sample's own call, forward or backward, also where the op does more than that."""
    ours, theirs = select(rows, case, 1, OURS, FRESH), select(rows, case, 1, call_of(case))
    if ours is None or theirs is None:
        return None
    call = "backward call" if case.backward else "call"
    row = f"{case.op} of 8x8, one plane: spuproj over grid_sample's {call}"
    return Goal(row, ours.timing.median / theirs.timing.median, 1, 2, smaller_is_better=True)


def _short_label(case: Case) -> str:
    return f"{case.op} B={case.batch} C={case.channels}"
