"""The compiled kernel of ``project`` alone, called with everything prepared: what a whole call is compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from spuproj import _cpu
from spuproj.backends import cpu
from spuproj.backends.native import CODES
from spuproj.backends.taps import sampling_of
from spuproj.benchmarks.problems import Problem
from spuproj.benchmarks.timing import Call


def kernel_call(problem: Problem, stack: Tensor) -> Call:
    """The kernel on a problem's planes, into ``stack``, on one thread; returns the stack."""
    image, code = problem.planes, CODES[torch.float32]
    # The taps that a whole call finds, so that both read the same memory.
    sampling = sampling_of(stack, image, "bilinear", inverse=False)
    taps = cpu.backend.prepared.get(problem.views.geometry, sampling, cpu.flat_taps)
    source = (image.data_ptr(), image.stride(0), 0, image.stride(1), image.stride(3))
    destination = (stack.data_ptr(), *stack.stride()[:3], stack.stride(4))
    shape = (stack.shape[0], stack.shape[1], stack.shape[2])

    def call() -> Tensor:
        _cpu.project(code, code, shape, taps.native, source, destination, 0.0, 1)
        return stack

    return call
