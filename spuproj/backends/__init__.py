"""Backends: each serves some types of device with the ops of ``spuproj.backends.base.Backend``."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from torch import cuda as torch_cuda

from spuproj.backends import cpu, cuda
from spuproj.backends.base import Backend

VARIABLE = "SPUPROJ_BACKEND"
"""The environment variable that names the backend to use in place of the fastest one."""

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
    if requested := os.environ.get(VARIABLE):
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
    backend: Backend = import_module(f"spuproj.backends.{name}").backend
    return backend


@cache
def backend_for(device_type: str) -> Backend:
    """The backend that serves a device type from its first call on. Raises RuntimeError as ``choose`` does."""
    return load(choose(device_type)[0])
