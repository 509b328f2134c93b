"""Checking, then timing, all contenders of a case in turns: by the CPU's clock, or on a GPU by the device's events."""

from __future__ import annotations

import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch

from spuproj.benchmarks.ops.cases import AS_CALLED, Case
from spuproj.benchmarks.ops.contenders import Call, Contender, contenders
from spuproj.benchmarks.ops.truth import Truth, difference, make_problem, make_truth

FEWEST_ROUNDS, _MOST_ROUNDS = 5, 99
# Shorter calls are repeated within their turn.
_TURN_SECONDS = 0.005
# Quicker calls are made once before they are timed: caches are warm, and memory that was freed is at hand again.
_SLOW_SECONDS = 0.5
# After an op, torch's OpenMP workers spin on their cores for about ten milliseconds; whose turn is next needs them.
_PAUSE_SECONDS = 0.012
# 96 MB, more than a core's caches hold.
_OTHER_ELEMENTS = 24_000_000
# Contenders that always use one thread are timed on larger stacks at one thread only.
_SLOW_ELEMENTS = 8_000_000

Turn = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """What was measured of one contender on one case.

    Attributes:
        case, valid: what was done, and the share of the points that are valid.
        name, form: who did it, and in which way.
        threads: number of threads that torch and OpenCV had.
        median_s, min_s, max_s, rounds: seconds of a call, over so many rounds in which all contenders take their turn.
        error: largest difference from the reference over the largest value; None where the work was not the op's.
        same_bits: on a GPU, whether a second call gave the same bits.
    """

    case: Case
    valid: float
    name: str
    form: str
    threads: int
    median_s: float
    min_s: float
    max_s: float
    rounds: int
    error: float | None = None
    same_bits: bool | None = None


def measure(
    case: Case, thread_counts: Sequence[int] = (1,), budget: float = 0, device: str = "cpu", rounds: int = FEWEST_ROUNDS
) -> list[Row]:
    """The rows of a case, all contenders taking turns at each number of threads.

    Args:
        case: what to measure.
        thread_counts: numbers of threads.
        budget: seconds for each of them.
        device: where.
        rounds: how many are timed whatever the budget.

    Raises:
        RuntimeError: where a result differs from the reference by more than rounding.
    """
    problem = make_problem(case, device)
    truth, entries, valid, rows = make_truth(problem), contenders(problem), problem.valid.double().mean().item(), []
    other_memory = torch.zeros(_OTHER_ELEMENTS if case.way == AS_CALLED else 0)
    turn_of = partial(as_called, other_memory) if case.way == AS_CALLED else partial(over_and_over, device)
    for number in thread_counts:
        slow = number > 1 and case.stack_shape.numel() > _SLOW_ELEMENTS
        taking_part = [entry for entry in entries if entry.threaded or not slow]
        with threads(number):
            checks = [checked(entry, truth) for entry in taking_part]
            seconds = in_turns([turn_of(entry) for entry in taking_part], budget, rounds)
        for entry, check, times in zip(taking_part, checks, seconds, strict=True):
            statistic = (statistics.median(times), min(times), max(times), len(times))
            rows.append(Row(case, valid, entry.name, entry.form, number, *statistic, *check))
    return rows


def checked(entry: Contender, truth: Truth) -> tuple[float | None, bool | None]:
    """A contender's error and, on a GPU, whether a second call gives the same bits; None where it has no results.

    Raises RuntimeError where the error is larger than rounding explains.
    """
    case, returned = truth.problem.case, entry.call()
    if entry.results is None:
        return None, None
    results = entry.results(returned)
    error = difference(results, truth, entry.near, case.batch / entry.parts)
    # Points off by ``near`` pixels, between neighbours that differ by up to twice the largest value, and rounding.
    tolerance = 0.0 if case.interpolation == "nearest" else 16 * (entry.near + torch.finfo(case.torch_dtype).eps)
    if not error <= tolerance:
        raise RuntimeError(
            f"{entry.name} ({entry.form}) must agree with the reference to {tolerance:.1e} on {case.label}, "
            f"got a difference of {error:.1e}"
        )
    if truth.problem.planes.device.type == "cpu":
        return error, None
    again = entry.results(entry.call())
    return error, all(map(torch.equal, map(torch.as_tensor, results), map(torch.as_tensor, again)))


@contextmanager
def threads(number: int) -> Iterator[None]:
    """torch and, where it is loaded, OpenCV on a number of threads; afterwards as before."""
    libraries = [(torch.get_num_threads, torch.set_num_threads)]
    if cv2 := sys.modules.get("cv2"):
        libraries.append((cv2.getNumThreads, cv2.setNumThreads))
    before = [(give, current()) for current, give in libraries]
    try:
        for give, _ in before:
            give(number)
        yield
    finally:
        for give, old in before:
            give(old)


def in_turns(turns: Sequence[Turn], budget: float, rounds: int = FEWEST_ROUNDS) -> list[tuple[float, ...]]:
    """Of each turn its seconds in all rounds: for about ``budget`` seconds, but at least ``rounds`` of them."""
    start = time.perf_counter()
    first = [turn() for turn in turns]
    one_round = time.perf_counter() - start
    number = min(max(rounds, int(budget / one_round)), _MOST_ROUNDS)
    later = ([turn() for turn in turns] for _ in range(number - 1))
    return list(zip(first, *later, strict=True))


def as_called(other_memory: torch.Tensor, entry: Contender) -> Turn:
    """A turn of one call, made after other memory was read and written."""

    def turn() -> float:
        other_memory.add_(1)
        return _seconds(entry.call, 1)

    return turn


def over_and_over(device: str, entry: Contender) -> Turn:
    """A turn of as many calls as fill it, after one that is not timed; of slow ones, as long as all samples take."""
    call, clock = entry.call, "cpu" if entry.on_host else device
    estimate = _seconds(call, 1, clock)

    def turn() -> float:
        time.sleep(_PAUSE_SECONDS if torch.get_num_threads() > 1 else 0)
        if estimate < _SLOW_SECONDS:
            _seconds(call, 1, clock)
        return entry.parts * _seconds(call, max(1, math.ceil(_TURN_SECONDS / estimate)), clock)

    return turn


def _seconds(call: Call, repeat: int, device: str = "cpu") -> float:
    """Mean seconds of a call and of dropping its result, without garbage collection."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        elapsed = _clock(device)
        for _ in range(repeat):
            call()
        return elapsed() / repeat
    finally:
        if collecting:
            gc.enable()


def _clock(device: str) -> Callable[[], float]:
    """Starts a clock; returns what reads its seconds: on a GPU, those between two events."""
    if device == "cpu":
        start = time.perf_counter()
        return lambda: time.perf_counter() - start
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()

    def elapsed() -> float:
        after.record()
        after.synchronize()
        return float(before.elapsed_time(after)) / 1000

    return elapsed
