"""The choice of a backend (``spuproj.backends.base.Backend``) for a device, and what backends keep for later calls."""

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec

# The name torch is that of the submodule here.
from torch import cuda as torch_cuda
from torch import device as torch_device

from spuproj.backends import cpu, cuda
from spuproj.backends.base import Backend
from spuproj.backends.memory import drop_free_blocks
from spuproj.backends.prepared import clear_all

VARIABLE = "SPUPROJ_BACKEND"
"""Environment variable that names the backend to use instead of the fastest one."""

DEVICES = {"cpu": ("cpu",), "cuda": ("cuda",), "triton": ("cuda",)}
"""Backends with their own kernels, the fastest first, and the device types that each supports."""

NAMES = (*DEVICES, "torch")
"""All backends; ``torch`` supports every device."""


def missing(name: str, device: torch_device | str = "cuda") -> str | None:
    """The reason why a backend cannot run here, for GPU backends on a device, or None if it can."""
    if name == "torch":
        return None
    if name == "cpu":
        return cpu.MISSING
    if name == "cuda" and cuda.MISSING is not None:
        return cuda.MISSING
    if name == "triton" and find_spec("triton") is None:
        return "the package triton is not installed; pip install triton"
    if not torch_cuda.is_available():
        return "torch sees no GPU"
    return cuda.problem(torch_device(device).index) if name == "cuda" else None


def choose(device: torch_device | str) -> tuple[str, str]:
    """The name of the backend for a device, and the reason for the choice.

    Raises:
        RuntimeError: if the environment variable SPUPROJ_BACKEND names a backend that is unknown, missing, or does not
            support the device.
    """
    device_type = torch_device(device).type
    if requested := os.environ.get(VARIABLE):
        if requested not in NAMES:
            raise RuntimeError(f"{VARIABLE} must be one of {', '.join(NAMES)}, got {requested!r}")
        asks = f"{VARIABLE} asks for the {requested!r} backend, which"
        if (why := missing(requested, device)) is not None:
            raise RuntimeError(f"{asks} is missing: {why}")
        if requested in DEVICES and device_type not in DEVICES[requested]:
            raise RuntimeError(f"{asks} does not serve {device_type} tensors")
        return requested, f"{VARIABLE}={requested}"
    passed: list[str] = []
    for name in DEVICES:
        if device_type in DEVICES[name]:
            why = missing(name, device)
            if why is None:
                return name, "; ".join(passed) or f"fastest for {device_type} tensors"
            passed.append(f"the {name} backend is missing: {why}")
    return "torch", "; ".join(passed) or f"no kernels for {device_type}"


@cache
def load(name: str) -> Backend:
    """The backend with this name; its module is imported at the first call (Triton's import is slow)."""
    backend: Backend = import_module(f"spuproj.backends.{name}").backend
    return backend


@cache
def backend_for(device: torch_device | str) -> Backend:
    """The backend for a device, chosen once per process. Raises RuntimeError as ``choose`` does."""
    return load(choose(device)[0])


def empty_cache() -> None:
    """Frees what is kept for later calls: the memory of freed results on the CPU, and taps, on every device.

    Tensors that are in use are not affected. Taps are computed again when they are needed; CUDA graphs that use those
    of ``Views.prepare`` must not be replayed any more. Memory of a GPU goes back to torch, whose own
    ``torch.cuda.empty_cache()`` then returns it to the system.
    """
    drop_free_blocks()
    clear_all()
