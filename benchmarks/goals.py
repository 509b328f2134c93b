"""Ratios of the measured times, and the goals for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from spuproj.benchmarks.memory import MEMORY_CASE, Memory
from spuproj.benchmarks.ops import cases
from spuproj.benchmarks.ops.cases import Case
from spuproj.benchmarks.ops.contenders import (
    BOTH_PASSES,
    BUFFERED,
    COPY,
    FRESH,
    KERNEL,
    LAST,
    ONE_CALL,
    OP,
    OP_BUFFERED,
    OURS,
    WEIGHTED,
)
from spuproj.benchmarks.timing import Row


def ns_per_element(row: Row) -> float:
    """Nanoseconds per element of the stack ``[B, N, C, H, W]``, the output of project and unproject."""
    return 1e9 * row.median_s / row.case.stack_shape.numel()


def select(rows: Iterable[Row], case: Case, threads: int, name: str, form: str | None = None) -> Row | None:
    """The row of a contender's fastest form, or of the given form; None if it was not measured."""
    wanted = (case, threads, name)
    found = [row for row in rows if (row.case, row.threads, row.name) == wanted and form in (None, row.form)]
    return min(found, key=lambda row: row.median_s, default=None)


def best_forms(rows: Sequence[Row]) -> list[Row]:
    """The rows to show: the fastest form of each peer, and all forms of spuproj, of copying, and on a GPU."""
    kept = [row.name in (OURS, COPY) or row.case.way == cases.ON_GPU for row in rows]
    best = [row is select(rows, row.case, row.threads, row.name) for row in rows]
    return [row for row, *wanted in zip(rows, kept, best, strict=True) if any(wanted)]


def over(row: Row | None, other: Row | None) -> float | None:
    """The time of one row divided by that of another; None if one was not measured."""
    return None if row is None or other is None else row.median_s / other.median_s


def over_limit(rows: Sequence[Row], row: Row) -> float | None:
    """The row's time divided by that of copying as many bytes, also into a buffer or into a new tensor.

    An op that writes no stack is compared with the copy into a buffer. None if copying was not measured.
    """
    forms = (BUFFERED,) if row.form in (BUFFERED, LAST) else (FRESH, BUFFERED)
    copies = (select(rows, row.case, row.threads, COPY, form) for form in forms)
    return over(row, next((copy for copy in copies if copy is not None), None))


@dataclass(frozen=True)
class Goal:
    """One measured number beside its goal.

    Attributes:
        row: what was measured.
        measured: the number; None where it could not be measured.
        goal: the value to reach.
        floor: the least acceptable value; a worse one is ``"not done"``.
        unit: ``"x"``, ``"%"``, or empty for a number as it is.
        smaller_is_better: whether goal and floor are upper limits instead of lower ones.
    """

    row: str
    measured: float | None
    goal: float
    floor: float
    unit: str = "x"
    smaller_is_better: bool = False

    @property
    def outcome(self) -> str:
        """``"met"``, ``"not met"`` (between floor and goal), ``"not done"`` (below the floor) or ``"not measured"``."""
        if self.measured is None:
            return "not measured"
        sign = -1 if self.smaller_is_better else 1
        if sign * self.measured >= sign * self.goal:
            return "met"
        return "not met" if sign * self.measured >= sign * self.floor else "not done"


_NEW, _KEPT = (OURS, FRESH), (OURS, BUFFERED)
# Text, case, (name, form) of the numerator and of the denominator, goal, floor.
_ON_CPU: tuple[tuple[str, Case, tuple[str, ...], tuple[str, ...], float, float], ...] = (
    ("{}, as called: scipy over spuproj", cases.BATCH_AS_CALLED, ("scipy",), _NEW, 80, 45),
    ("{}, as called: grid_sample over spuproj", cases.BATCH_AS_CALLED, ("grid_sample",), _NEW, 14, 9),
    ("{}, as called: scipy over spuproj", cases.SLICE_AS_CALLED, ("scipy",), _NEW, 60, 38),
    ("{}, as called: cv2 over spuproj", cases.SLICE_AS_CALLED, ("cv2",), _NEW, 3, 1.6),
    ("{}, as called: grid_sample over spuproj", cases.SLICE_AS_CALLED, ("grid_sample",), _NEW, 12, 4),
    ("{}, as called: grid_sample over spuproj", cases.BACKWARD_AS_CALLED, ("grid_sample",), _NEW, 25, 12),
    ("{}, as called: grid_sample, then mean and variance, over spuproj", cases.REDUCE_AS_CALLED, ("grid_sample",), _NEW,
     40, 20),
    ("{}, as called: with weights over without", cases.REDUCE_AS_CALLED, (OURS, WEIGHTED), _NEW, 1.05, 1.15),
    ("views.project of 8x8, one plane: over one call of grid_sample", cases.PROJECT_CALL, _NEW, (ONE_CALL,), 8, 16),
    ("torch.ops.spuproj.project of 8x8, one plane: over one call of grid_sample", cases.PROJECT_CALL, (OURS, OP),
     (ONE_CALL,), 8, 16),
    ("views.reduce of 8x8, one plane: over one call of grid_sample", cases.REDUCE_CALL, _NEW, (ONE_CALL,), 12, 24),
    ("{}, torch.ops.spuproj.project_out over its kernel alone", cases.KERNEL_CASE, (OURS, OP_BUFFERED),
     (KERNEL, BUFFERED), 1.05, 1.05),
    ("{}, views.project into a buffer over its kernel alone", cases.KERNEL_CASE, _KEPT, (KERNEL, BUFFERED), 1.05, 1.05),
)  # fmt: skip
_ON_GPU = ((cases.GPU_BATCH, 90, 70), (cases.GPU_REDUCE, 85, 65), (cases.GPU_BACKWARD, 75, 50))
_GPU_PEERS = (("grid_sample", 4), ("torch.compile", 3), ("cupyx", 10), ("scipy, one CPU core", 1000))


def cpu_goals(rows: Sequence[Row], memory: Sequence[Memory], all_threads: int) -> list[Goal]:
    """The goals on the CPU whose rows were measured; those measured as called come first."""
    found = [_ratio(rows, *goal) for goal in _ON_CPU]
    words = f"{{}}, {all_threads} threads, into a buffer: spuproj over copying as many bytes"
    found.append(_ratio(rows, words, cases.BATCH, _KEPT, (COPY, BUFFERED), 1.2, 1.7, threads=all_threads))
    four_rows, words = 400 / MEMORY_CASE.size[0], ": memory beyond input and outputs, of the stack"
    found += [
        Goal(_short(MEMORY_CASE) + words, entry.percent, four_rows, 10, "%", True)
        for entry in memory if entry.case == MEMORY_CASE
    ]  # fmt: skip
    return [goal for goal in found if goal.measured is not None]


def gpu_goals(rows: Sequence[Row], training_share: float | None) -> list[Goal]:
    """The goals on a GPU, also those not measured; ``share`` is projecting's percentage of a training step."""
    ours, batch, backward = rows[0].name if rows else OURS, cases.GPU_BATCH, cases.GPU_BACKWARD
    both = f"{backward.label}, {BOTH_PASSES}: grid_sample over {ours}"
    verbs = {True: "written", False: "read"}
    return [
        *(_ratio(rows, f"{case.label}: bytes {verbs[cases.writes_stack(case)]} per second over a copy's", case, (COPY,),
                 (ours, ""), goal, floor, "%")
          for whole, goal, floor in _ON_GPU for case in (whole, *cases.in_halves(whole))),
        *(_ratio(rows, f"{batch.label}: {peer} over {ours}", batch, (peer,), (ours, ""), goal, goal)
          for peer, goal in _GPU_PEERS),
        _ratio(rows, both, backward, ("grid_sample",), (ours, BOTH_PASSES), 8, 8),
        Goal("projection's share of a training step", training_share, 2, 2, "%", True),
        *(_ratio(rows, f"{case.label}: triton over cuda", case, ("triton", ""), ("cuda", ""), 1.3, 1.3)
          for case, *_ in _ON_GPU),
    ]  # fmt: skip


def _ratio(
    rows: Sequence[Row], words: str, case: Case, of: Sequence[str], to: Sequence[str], goal: float, floor: float,
    unit: str = "x", threads: int = 1,
) -> Goal:  # fmt: skip
    """The time of ``of`` divided by that of ``to``; if ``of`` is one of ours, smaller is better."""
    measured = over(select(rows, case, threads, *of), select(rows, case, threads, *to))
    in_unit = None if measured is None else measured * (100 if unit == "%" else 1)
    return Goal(words.format(_short(case)), in_unit, goal, floor, unit, of[0] in (OURS, "triton"))


def _short(case: Case) -> str:
    return f"{case.op} B={case.batch} C={case.channels}"
