"""What a peer is: a way to read planes at given points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spuproj.benchmarks.cases import Case
from spuproj.benchmarks.problems import Problem


@dataclass(frozen=True)
class Sampler:
    """A library's call on the points of one problem, with everything that depends on the points alone prepared.

    Attributes:
        prepare: takes ``[B, C, H, W]`` or ``[B, N, C, H, W]`` planes to the library's own layout. Not timed, except in
            a backward op, whose gradient runs through it.
        sample: reads the prepared planes at every point of every view, into new memory; this is timed.
        stack: a view ``[B, N, C, P, Q]`` of what ``sample`` returns, without copying.
    """

    prepare: Callable[[Tensor], Any]
    sample: Callable[[Any], Any]
    stack: Callable[[Any], Any]


@dataclass(frozen=True)
class Peer:
    """One way to call a library.

    Attributes:
        name: of the library's function; several peers may share it, and the fastest then stands for it.
        form: what tells those apart.
        make: builds the sampler of a problem.
        serves: whether it can do the case's work.
        coordinate_error: how far off its points may be, in pixels, of slices and views of ``max(H, W)`` pixels.
        threaded: whether it uses more than one thread.
    """

    name: str
    form: str
    make: Callable[[Problem], Sampler]
    serves: Callable[[Case], bool]
    coordinate_error: Callable[[int], float]
    threaded: bool = True
