"""Backends: each module implements the same ops on tensors that ``spuproj.ops`` has already checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from torch import Tensor, dtype, memory_format
from torch import cuda as torch_cuda

from spuproj.backends import cpu, cuda, torch
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


DEVICES = {"cpu": ("cpu",), "cuda": ("cuda",), "triton": ("cuda",)}
"""Backends with kernels of their own, the fastest first, and the types of device that each serves."""

NAMES = (*DEVICES, "torch")
"""All backends; ``torch`` serves every device."""


def missing(name: str) -> str | None:
    """Why a backend cannot run here, or None where it can."""
    if name == "torch":
        return None
    if name == "cpu":
        return cpu.MISSING
    if name == "cuda" and cuda.MISSING is not None:
        return cuda.MISSING
    if name == "triton" and find_spec("triton") is None:
        return "the package triton is not installed; pip install triton"
    return None if torch_cuda.is_available() else "torch sees no GPU"


def choose(device_type: str) -> tuple[str, str]:
    """The backend that serves a device type, and the reason in words.

    Raises:
        RuntimeError: where the environment variable SPUPROJ_BACKEND names a backend that is unknown, missing, or does
            not serve the device.
    """
    return _choose(device_type, os.environ.get(VARIABLE))


@cache
def _choose(device_type: str, requested: str | None) -> tuple[str, str]:
    if requested:
        _check_request(requested, device_type)
        return requested, f"{VARIABLE}={requested}"
    passed: list[str] = []
    for name in DEVICES:
        if device_type in DEVICES[name]:
            why = missing(name)
            if why is None:
                return name, "; ".join(passed) or f"fastest for {device_type} tensors"
            passed.append(f"the {name} backend is missing: {why}")
    return "torch", "; ".join(passed) or f"no kernels for {device_type}"


def _check_request(name: str, device_type: str) -> None:
    if name not in NAMES:
        raise RuntimeError(f"{VARIABLE} must be one of {', '.join(NAMES)}, got {name!r}")
    if (why := missing(name)) is not None:
        raise RuntimeError(f"{VARIABLE} asks for the {name!r} backend, which is missing: {why}")
    if name in DEVICES and device_type not in DEVICES[name]:
        raise RuntimeError(f"{VARIABLE} asks for the {name!r} backend, which does not serve {device_type} tensors")


@cache
def load(name: str) -> Backend:
    """The backend of a name; Triton is imported when it is first asked for."""
    if name == "cpu":
        return cpu
    if name == "torch":
        return torch
    module = import_module(f"spuproj.backends.{name}")
    backend: Backend = module.backend
    return backend


def serving(device_type: str) -> Backend:
    """The backend that serves a device type. Raises RuntimeError as ``choose`` does."""
    return load(choose(device_type)[0])


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
