"""Timing calls that take turns."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import torch

_MINIMUM_ROUNDS = 5
_MAXIMUM_ROUNDS = 25
# Shorter calls are repeated within their turn.
_TURN_SECONDS = 0.005
# Quicker calls are made once before they are timed: caches are warm, and memory that was freed is at hand again.
_SLOW_SECONDS = 0.5
# After an op, torch's OpenMP workers spin on their cores for about ten milliseconds; whose turn is next needs them.
_PAUSE_SECONDS = 0.012


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


def interleaved(calls: Sequence[Callable[[], Any]], budget: float) -> list[Timing]:
    """Times calls that take turns, for about ``budget`` seconds and at least five rounds. Each was called before."""
    estimates = [_seconds(call, 1) for call in calls]
    first = [_turn(*pair) if pair[1] < _SLOW_SECONDS else pair[1] for pair in zip(calls, estimates, strict=True)]
    one_round = sum(max(_TURN_SECONDS, 2 * seconds) + _pause() for seconds in first)
    rounds = min(max(_MINIMUM_ROUNDS, int(budget / one_round)), _MAXIMUM_ROUNDS)
    later = ([_turn(*pair) for pair in zip(calls, estimates, strict=True)] for _ in range(rounds - 1))
    return [Timing(statistics.median(own), min(own), max(own), rounds) for own in zip(first, *later, strict=True)]


def _turn(call: Callable[[], Any], estimate: float) -> float:
    """Mean seconds of a call that takes about ``estimate`` seconds."""
    time.sleep(_pause())
    if estimate < _SLOW_SECONDS:
        call()
    return _seconds(call, max(1, math.ceil(_TURN_SECONDS / estimate)))


def _pause() -> float:
    return _PAUSE_SECONDS if torch.get_num_threads() > 1 else 0.0


def _seconds(call: Callable[[], Any], repeat: int) -> float:
    """Mean seconds of a call, without garbage collection."""
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
