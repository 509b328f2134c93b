"""Backends: each module implements the same ops on tensors that ``spuproj.ops`` has already checked.

A backend has the functions ``project``, ``project_adjoint``, ``unproject``, ``unproject_adjoint``, ``unproject_reduce``
and ``unproject_reduce_backward``, with the arguments of the ops of the same names.
"""

from __future__ import annotations

import os
from types import ModuleType

from spuproj.backends import cpu, torch

BACKENDS: dict[str, ModuleType] = {"cpu": cpu, "torch": torch}
VARIABLE = "SPUPROJ_BACKEND"


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


def serving(device_type: str) -> ModuleType:
    """The backend module that serves a device type. Raises RuntimeError as ``choose`` does."""
    return BACKENDS[choose(device_type)[0]]
