"""Checks, then times, all contenders of a case in turns: with the CPU's clock, or with events on a GPU."""

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
# Calls shorter than this are repeated within a turn.
_TURN_SECONDS = 0.005
# Calls quicker than this are made once before timing, to warm caches and to have freed memory available.
_SLOW_SECONDS = 0.5
# After an op, torch's OpenMP threads spin for about 10 ms; without this pause they would slow the next turn.
_PAUSE_SECONDS = 0.012
# Elements of other memory (96 MB), more than a core's caches hold.
_OTHER_ELEMENTS = 24_000_000
# With larger stacks, contenders that always use one thread are timed only at one thread.
_SLOW_ELEMENTS = 8_000_000

Turn = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """The measurements of one contender on one case.

    Attributes:
        case, valid: the case, and the share of its points that are valid.
        name, form: the contender, and how it was called.
        threads: number of threads of torch and OpenCV.
        median_s, min_s, max_s, rounds: seconds of a call, over the given number of rounds.
        error: largest difference from the reference over the largest value; None if it does not compute the op.
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
    case: Case,
    thread_counts: Sequence[int] = (1,),
    budget: float = 0,
    device: str = "cpu",
    rounds: int = FEWEST_ROUNDS,
    limit: float = math.inf,
) -> list[Row]:
    """The rows of a case, all contenders taking turns at each number of threads.

    Args:
        case: what to measure.
        thread_counts: numbers of threads to measure with.
        budget: seconds of timing for each of them.
        device: device of the tensors.
        rounds: least number of rounds, whatever the budget.
        limit: seconds after which no other round begins, whatever the least number.

    Raises:
        RuntimeError: if a result differs from the reference by more than rounding.
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
            seconds = in_turns([turn_of(entry) for entry in taking_part], budget, rounds, limit)
        for entry, check, times in zip(taking_part, checks, seconds, strict=True):
            statistic = (statistics.median(times), min(times), max(times), len(times))
            rows.append(Row(case, valid, entry.name, entry.form, number, *statistic, *check))
    return rows


def checked(entry: Contender, truth: Truth) -> tuple[float | None, bool | None]:
    """A contender's error and, on a GPU, whether a second call gives the same bits; None if it has no results.

    Raises RuntimeError if the error is larger than rounding can explain.
    """
    case, returned = truth.problem.case, entry.call()
    if entry.results is None:
        return None, None
    results = entry.results(returned)
    error = difference(results, truth, entry.near, case.batch / entry.parts)
    # Coordinates may be off by ``near`` pixels; neighbours differ by up to twice the largest value; plus rounding.
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


def in_turns(
    turns: Sequence[Turn], budget: float, rounds: int = FEWEST_ROUNDS, limit: float = math.inf
) -> list[tuple[float, ...]]:
    """Seconds of each turn in all rounds: for about ``budget`` seconds, but at least ``rounds``, or until ``limit``."""
    start = time.perf_counter()
    seconds = [[turn() for turn in turns]]
    one_round = time.perf_counter() - start
    number = min(max(rounds, int(budget / one_round)), _MOST_ROUNDS)
    while len(seconds) < number and time.perf_counter() - start < limit:
        seconds.append([turn() for turn in turns])
    return list(zip(*seconds, strict=True))


def as_called(other_memory: torch.Tensor, entry: Contender) -> Turn:
    """A turn of one call, after reading and writing other memory."""

    def turn() -> float:
        other_memory.add_(1)
        return _seconds(entry.call, 1)

    return turn


def over_and_over(device: str, entry: Contender) -> Turn:
    """A turn of repeated calls, after one untimed call unless slow; scaled to all samples of the batch."""
    call, clock = entry.call, "cpu" if entry.on_host else device
    estimate = _seconds(call, 1, clock)

    def turn() -> float:
        time.sleep(_PAUSE_SECONDS if torch.get_num_threads() > 1 else 0)
        if estimate < _SLOW_SECONDS:
            _seconds(call, 1, clock)
        return entry.parts * _seconds(call, max(1, math.ceil(_TURN_SECONDS / estimate)), clock)

    return turn


def _seconds(call: Call, repeat: int, device: str = "cpu") -> float:
    """Mean seconds of a call, including freeing its result, without garbage collection."""
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
    """Starts a clock; returns a function that reads the elapsed seconds, on a GPU between two events."""
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
