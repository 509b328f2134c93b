"""How time grows with the number of views, of planes, of pixels and of threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from spuproj.benchmarks.cases import Case
from spuproj.benchmarks.measuring import Row, measure

OPS = ("project", "reduce")

_PEERS = ("grid_sample",)


@dataclass(frozen=True)
class Point:
    """One place on one axis.

    Attributes:
        axis: ``"N"``, ``"B C"``, ``"side"`` or ``"threads"``.
        value: on that axis.
        case: what is measured there.
        threads: on how many threads.
    """

    axis: str
    value: int
    case: Case
    threads: int


def points(all_threads: int, short: bool) -> list[Point]:
    """The points of all axes: one varies; the others stay at N = 9, B C = 8, 240 x 240 and one thread."""
    return [
        Point(axis, value, case, threads)
        for op in OPS
        for axis, value, case, threads in (_small(op) if short else _full(op, all_threads))
    ]


def _small(op: str) -> Iterator[tuple[str, int, Case, int]]:
    for views in (1, 4):
        yield "N", views, Case(op, 2, 4, views, (24, 24), peers=_PEERS), 1
    for side in (16, 24):
        yield "side", side, Case(op, 2, 4, 4, (side, side), peers=_PEERS), 1
    for batch in (1, 2):
        yield "B C", 4 * batch, Case(op, batch, 4, 4, (24, 24), peers=_PEERS), 1
    for threads in (1, 2):
        yield "threads", threads, Case(op, 2, 4, 4, (24, 24), peers=_PEERS), threads


def _full(op: str, all_threads: int) -> Iterator[tuple[str, int, Case, int]]:
    for views in (1, 4, 9, 25):
        yield "N", views, Case(op, 2, 4, views, peers=_PEERS), 1
    for batch, channels in ((1, 1), (1, 4), (4, 4), (16, 4)):
        yield "B C", batch * channels, Case(op, batch, channels, peers=_PEERS), 1
    for side in (30, 60, 120, 240, 480):
        yield "side", side, Case(op, 2, 4, size=(side, side), peers=_PEERS), 1
    for threads in thread_numbers(all_threads):
        yield "threads", threads, Case(op, 2, 4, peers=_PEERS), threads


def thread_numbers(all_threads: int) -> list[int]:
    """Powers of two below the number of all threads, and that number."""
    return [2**power for power in range(all_threads.bit_length()) if 2**power < all_threads] + [all_threads]


def measure_point(point: Point, budget: float) -> list[Row]:
    """The rows at a point."""
    return measure(point.case, [point.threads], budget)
