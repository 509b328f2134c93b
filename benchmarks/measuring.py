"""Checking, then timing, all contenders of a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from spuproj.benchmarks.cases import AS_CALLED, Case
from spuproj.benchmarks.contenders import Contender, contenders
from spuproj.benchmarks.problems import make_problem
from spuproj.benchmarks.timing import Timing, as_called, in_turns, over_and_over, threads
from spuproj.benchmarks.truth import Truth, difference, make_truth

_SLOW_ELEMENTS = 8_000_000


@dataclass(frozen=True)
class Row:
    """What was measured of one contender on one case.

    Attributes:
        case: what was done.
        name: who did it.
        form: in which way.
        threads: number of threads that torch and OpenCV had.
        threaded: whether the contender can use more than one.
        error: largest difference from the reference over the largest value; None where the work was not the op's.
        valid: share of the points that are valid.
        timing: seconds of a call.
    """

    case: Case
    name: str
    form: str
    threads: int
    threaded: bool
    error: float | None
    valid: float
    timing: Timing


def measure(case: Case, thread_counts: Sequence[int], budget: float) -> list[Row]:
    """The rows of a case, all contenders taking turns at each number of threads.

    Args:
        case: what to measure.
        thread_counts: numbers of threads.
        budget: seconds for each of them; there are five rounds at least.

    Raises:
        RuntimeError: where a result differs from the reference by more than rounding.
    """
    problem = make_problem(case)
    truth = make_truth(problem)
    entries = contenders(problem)
    return [row for number in thread_counts for row in _rows(truth, entries, number, budget)]


def _rows(truth: Truth, entries: Sequence[Contender], number: int, budget: float) -> list[Row]:
    """The rows of a case at one number of threads."""
    case, valid = truth.problem.case, float(truth.problem.valid.mean())
    taking_part = [entry for entry in entries if number == 1 or entry.threaded or not _slow(case)]
    with threads(number):
        errors = [checked(entry, truth) for entry in taking_part]
        turn_of = as_called if case.way == AS_CALLED else over_and_over
        timings = in_turns([turn_of(entry.call) for entry in taking_part], budget)
    return [
        Row(case, entry.name, entry.form, number, entry.threaded, error, valid, timing)
        for entry, error, timing in zip(taking_part, errors, timings, strict=True)
    ]


def _slow(case: Case) -> bool:
    """Whether contenders that always use one thread are timed at one thread only."""
    return torch.Size(case.stack_shape).numel() > _SLOW_ELEMENTS


def checked(entry: Contender, truth: Truth) -> float | None:
    """Calls a contender once; the difference of its results from the reference, None where its work is not the op's.

    Raises:
        RuntimeError: where it is larger than rounding explains.
    """
    returned = entry.call()
    if entry.results is None:
        return None
    found = difference(entry.results(returned), truth, entry.near)
    if not found <= entry.tolerance:
        raise RuntimeError(
            f"{entry.name} ({entry.form}) must agree with the reference to {entry.tolerance:.1e} on "
            f"{truth.problem.case.label}, got a difference of {found:.1e}"
        )
    return found
