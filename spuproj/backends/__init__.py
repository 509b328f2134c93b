"""Backends: each module implements the same ops on tensors that ``spuproj.ops`` has already checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor, dtype, memory_format

from spuproj.backends import cpu, torch
from spuproj.backends.variable import VARIABLE


class Backend(Protocol):
    """What a backend module has: the ops, with the arguments of the registered ops of the same names."""

    def project(
        self,
        image: Tensor,
        geometry: Tensor,
        view_size: Sequence[int],
        interpolation: str,
        padding: str,
        out_dtype: dtype | None,
        memory_format: memory_format | None,
    ) -> Tensor: ...

    def project_out(self, image: Tensor, geometry: Tensor, out: Tensor, interpolation: str, padding: str) -> None: ...

    def project_adjoint(
        self, views: Tensor, geometry: Tensor, size: Sequence[int], interpolation: str, padding: str
    ) -> Tensor: ...

    def unproject(self, views: Tensor, geometry: Tensor, size: Sequence[int], interpolation: str) -> Tensor: ...

    def unproject_adjoint(
        self, slices: Tensor, geometry: Tensor, view_size: Sequence[int], interpolation: str
    ) -> Tensor: ...

    def unproject_reduce(
        self, views: Tensor, geometry: Tensor, size: Sequence[int], interpolation: str
    ) -> tuple[Tensor, Tensor, Tensor]: ...

    def unproject_reduce_backward(
        self,
        grad_mean: Tensor,
        grad_variance: Tensor,
        views: Tensor,
        geometry: Tensor,
        mean: Tensor,
        count: Tensor,
        interpolation: str,
    ) -> Tensor: ...


BACKENDS: dict[str, Backend] = {"cpu": cpu, "torch": torch}


def missing(name: str) -> str | None:
    """Why a backend cannot run here, or None where it can."""
    return cpu.MISSING if name == "cpu" else None


def choose(device_type: str) -> tuple[str, str]:
    """The backend that serves a device type, and the reason in words.

    Raises:
        RuntimeError: where the environment variable SPUPROJ_BACKEND names a backend that is unknown, missing, or does
            not serve the device.
    """
    requested = os.environ.get(VARIABLE)
    if requested:
        if requested not in BACKENDS:
            raise RuntimeError(f"{VARIABLE} must be one of {', '.join(BACKENDS)}, got {requested!r}")
        if (why := missing(requested)) is not None:
            raise RuntimeError(f"{VARIABLE} asks for the {requested!r} backend, which is missing: {why}")
        if requested == "cpu" and device_type != "cpu":
            raise RuntimeError(f"{VARIABLE} asks for the 'cpu' backend, which does not serve {device_type} tensors")
        return requested, f"{VARIABLE}={requested}"
    if device_type != "cpu":
        return "torch", f"no kernels for {device_type}"
    if (why := missing("cpu")) is not None:
        return "torch", f"the cpu backend is missing: {why}"
    return "cpu", "fastest for cpu tensors"


def serving(device_type: str) -> Backend:
    """The backend module that serves a device type. Raises RuntimeError as ``choose`` does."""
    return BACKENDS[choose(device_type)[0]]


def _never_planned(
    name: str, sources: tuple[Tensor, ...], geometry: Tensor, options: tuple[Any, ...], out: Tensor | None
) -> None:
    return None


planned: Callable[[str, tuple[Tensor, ...], Tensor, tuple[Any, ...], Tensor | None], Any] = (
    cpu.planned if cpu.MISSING is None else _never_planned
)
"""``planned(name, sources, geometry, options, out)``: the result of an op that has been called like this before.

None where the dispatcher is needed. ``sources`` are the tensors that it reads, ``options`` its other arguments; ``out``
is where the result goes, None for a new tensor.
"""
