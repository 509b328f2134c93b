"""Timing calls that take turns."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import torch

_MINIMUM_ROUNDS = 5
_MAXIMUM_ROUNDS = 99
# Shorter calls are repeated within their turn.
_TURN_SECONDS = 0.005
# Quicker calls are made once before they are timed: caches are warm, and memory that was freed is at hand again.
_SLOW_SECONDS = 0.5
# After an op, torch's OpenMP workers spin on their cores for about ten milliseconds; whose turn is next needs them.
_PAUSE_SECONDS = 0.012
_OTHER_ELEMENTS = 24_000_000

Call = Callable[[], Any]
Turn = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, over rounds in which all contenders take their turn."""

    median: float
    minimum: float
    maximum: float
    rounds: int


@contextmanager
def threads(number: int) -> Iterator[None]:
    """torch and OpenCV on a number of threads; afterwards as before."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(number)
    cv2.setNumThreads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def in_turns(turns: Sequence[Turn], budget: float) -> list[Timing]:
    """Rounds in which everyone takes a turn, for about ``budget`` seconds; five rounds at least."""
    start = time.perf_counter()
    first = [turn() for turn in turns]
    one_round = time.perf_counter() - start
    rounds = min(max(_MINIMUM_ROUNDS, int(budget / one_round)), _MAXIMUM_ROUNDS)
    later = ([turn() for turn in turns] for _ in range(rounds - 1))
    return [Timing(statistics.median(own), min(own), max(own), rounds) for own in zip(first, *later, strict=True)]


def as_called(call: Call) -> Turn:
    """A turn of one call, made after other memory was read and written."""

    def turn() -> float:
        touch_other_memory()
        return _seconds(call, 1)

    return turn


def over_and_over(call: Call) -> Turn:
    """A turn of as many calls as fill it, after one that is not timed."""
    estimate = _seconds(call, 1)

    def turn() -> float:
        time.sleep(_PAUSE_SECONDS if torch.get_num_threads() > 1 else 0)
        if estimate < _SLOW_SECONDS:
            call()
        return _seconds(call, max(1, math.ceil(_TURN_SECONDS / estimate)))

    return turn


def touch_other_memory() -> None:
    """Reads and writes 96 MB of the harness's own, more than a core's caches hold."""
    _other_memory().add_(1)


@lru_cache(maxsize=1)
def _other_memory() -> torch.Tensor:
    return torch.zeros(_OTHER_ELEMENTS)


def _seconds(call: Call, repeat: int) -> float:
    """Mean seconds of a call and of dropping its result, without garbage collection."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(repeat):
            call()
        return (time.perf_counter() - start) / repeat
    finally:
        if collecting:
            gc.enable()
