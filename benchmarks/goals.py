"""The ratios that spuproj is built to reach, and whether it does; those of calls as users make them come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spuproj.benchmarks.cases import (
    BACKWARD_AS_CALLED,
    BATCH,
    BATCH_AS_CALLED,
    KERNEL_CASE,
    PROJECT_CALL,
    REDUCE_AS_CALLED,
    REDUCE_CALL,
    SLICE_AS_CALLED,
    Case,
)
from spuproj.benchmarks.contenders import BUFFERED, COPY, FRESH, KERNEL, ONE_CALL, OP, OURS
from spuproj.benchmarks.measuring import Row
from spuproj.benchmarks.memory import MEMORY_CASE, Memory
from spuproj.benchmarks.ratios import over, select

_ROWS_OF_SCRATCH = 4


@dataclass(frozen=True)
class Goal:
    """One measured number beside its goal.

    Attributes:
        row: what was measured.
        measured: the ratio, or the percentage.
        goal: what is aimed at.
        floor: short of this it is not done.
        unit: ``"x"`` or ``"%"``.
        smaller_is_better: whether the measured number must stay below goal and floor, or reach them.
    """

    row: str
    measured: float
    goal: float
    floor: float
    unit: str = "x"
    smaller_is_better: bool = False

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
        _speedup(rows, BATCH_AS_CALLED, "scipy", 80, 45),
        _speedup(rows, BATCH_AS_CALLED, "grid_sample", 14, 9),
        _speedup(rows, SLICE_AS_CALLED, "scipy", 60, 38),
        _speedup(rows, SLICE_AS_CALLED, "cv2", 3, 1.6),
        _speedup(rows, SLICE_AS_CALLED, "grid_sample", 12, 4),
        _speedup(rows, BACKWARD_AS_CALLED, "grid_sample", 25, 12),
        _speedup(rows, REDUCE_AS_CALLED, "grid_sample", 40, 20),
        _call_cost(rows, PROJECT_CALL, FRESH, 8, 16),
        _call_cost(rows, PROJECT_CALL, OP, 8, 16),
        _call_cost(rows, REDUCE_CALL, FRESH, 12, 24),
        _over_kernel(rows, KERNEL_CASE, 1.05),
        _over_copy(rows, BATCH, all_threads, 1.2, 1.7),
        *(_extra_memory(entry) for entry in memory if entry.case == MEMORY_CASE),
    ]
    return [goal for goal in found if goal is not None]


def _speedup(rows: Sequence[Row], case: Case, peer: str, goal: float, floor: float) -> Goal | None:
    measured = over(select(rows, case, 1, peer), select(rows, case, 1, OURS, FRESH))
    then = ", then mean and variance," if case.op == "reduce" else ""
    row = f"{_short_label(case)}, as called: {peer}{then} over spuproj"
    return None if measured is None else Goal(row, measured, goal, floor)


def _call_cost(rows: Sequence[Row], case: Case, form: str, goal: float, floor: float) -> Goal | None:
    measured = over(select(rows, case, 1, OURS, form), select(rows, case, 1, ONE_CALL))
    called = f"torch.ops.spuproj.{case.op}" if form == OP else f"views.{case.op}"
    row = f"{called} of 8x8, one plane: over one call of grid_sample"
    return None if measured is None else Goal(row, measured, goal, floor, smaller_is_better=True)


def _over_kernel(rows: Sequence[Row], case: Case, goal: float) -> Goal | None:
    measured = over(*(select(rows, case, 1, name, BUFFERED) for name in (OURS, KERNEL)))
    row = f"{_short_label(case)}, into a buffer: spuproj over its kernel alone"
    return None if measured is None else Goal(row, measured, goal, goal, smaller_is_better=True)


def _over_copy(rows: Sequence[Row], case: Case, threads: int, goal: float, floor: float) -> Goal | None:
    measured = over(*(select(rows, case, threads, name, BUFFERED) for name in (OURS, COPY)))
    row = f"{_short_label(case)}, {threads} threads, into a buffer: spuproj over copying as many bytes"
    return None if measured is None else Goal(row, measured, goal, floor, smaller_is_better=True)


def _extra_memory(entry: Memory) -> Goal:
    """A few rows of each view are the goal."""
    row = f"{_short_label(entry.case)}: memory beyond input and outputs, of the stack"
    return Goal(row, entry.percent, 100 * _ROWS_OF_SCRATCH / entry.case.size[0], 10, "%", smaller_is_better=True)


def _short_label(case: Case) -> str:
    return f"{case.op} B={case.batch} C={case.channels}"
