"""Every backend, made to take CPU tensors: GPU backends on a GPU where there is one, and elsewhere on the CPU.

Without a GPU the CUDA kernels' per-element code runs in the compiled module ``spuproj._cuda_host``. Triton's
interpreter is too slow to be one of these: ``test_triton.py`` has tests of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from spuproj import backends
from spuproj.backends.base import Backend
from spuproj.backends.cuda import CudaKernels
from spuproj.backends.gpu import GpuBackend
from spuproj.ops.records import OPS
from spuproj.ops.run import run

GPU = torch.cuda.is_available()


def moved(tensor: Tensor, device: str) -> Tensor:
    """The same tensor on a device: with its strides and offset, and all of its memory."""
    memory = tensor.new_empty(0, device=device)
    storage = tensor.untyped_storage().to(device=torch.device(device))
    return memory.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())


class OpsOn:
    """The ops on one backend, checked and allocated as the registered ones: ``OpsOn(backend).project(...)``."""

    def __init__(self, backend: Backend, device: str = "cpu") -> None:
        self.backend = backend
        self._device = device

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in OPS:
            raise AttributeError(name)

        def call(*args: Any) -> Any:
            if self._device == "cpu":
                return run(OPS[name], self.backend, args)
            there = tuple(moved(arg, self._device) if isinstance(arg, Tensor) else arg for arg in args)
            result = run(OPS[name], self.backend, there)
            if name == "project_out":
                return args[2].copy_(there[2])
            return tuple(part.cpu() for part in result) if isinstance(result, tuple) else result.cpu()

        return call


def host_twin() -> GpuBackend:
    """The ``cuda`` backend with its kernels' per-element code on the CPU."""
    return GpuBackend(CudaKernels(import_module("spuproj._cuda_host")))


def _backends() -> dict[str, OpsOn]:
    found = {name: OpsOn(backends.load(name)) for name in ("cpu", "torch")}
    if GPU:
        served = [name for name in ("cuda", "triton") if backends.missing(name) is None]
        return found | {name: OpsOn(backends.load(name), "cuda") for name in served}
    return found | {"cuda-on-cpu": OpsOn(host_twin())}


BACKENDS = _backends()
