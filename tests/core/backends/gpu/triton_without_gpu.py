"""What Triton compiles when the ops are called on a GPU, on a machine without one: for a fresh process (`run_python`).

The ops are called with CPU tensors. A driver that stands for a GPU tells Triton what to compile for, and a hook takes
each kernel before it would be compiled and launched.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from backends_under_test import OpsOn
from helpers import random_geometry
from spuproj.backends.triton import backend as triton_backend

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.uint8, torch.int16, torch.int32, torch.int64)
BACKEND = OpsOn(triton_backend)


class _Gpu:
    """The active driver, as far as Triton asks it before a launch."""

    def __init__(self, capability: int) -> None:
        self._target = GPUTarget("cuda", capability, 32)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


@dataclass(frozen=True)
class Wanted:
    """A kernel with the dtypes, constants and properties of arguments for which it is to be compiled."""

    key: str
    kernel: Any
    request: dict[str, Any]

    @property
    def name(self) -> str:
        """The kernel, the types of its pointers, and its constants."""
        signature = self.request["signature"]
        types = [kind.removeprefix("*") for kind in signature.values() if kind.startswith("*")]
        constants = ", ".join(map(str, self.request["constants"].values()))
        return f"{self.kernel.fn.__name__}({', '.join(types)}; {constants})"

    def compiled(self, capability: int = 90) -> dict[str, Any]:
        """The kernel in each of the compiler's languages: ``ttir``, ``ttgir``, ``ptx``, ``cubin`` and others."""
        source = ASTSource(
            self.kernel, self.request["signature"], self.request["constants"], self.request["configs"][0]
        )
        options = {name: self.request[name] for name in ("num_warps", "num_ctas", "num_stages", "enable_fp_fusion")}
        made: dict[str, Any] = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm
        return made


def wanted_by(calls: Callable[[], Any], capability: int = 90) -> list[Wanted]:
    """The different kernels that these calls would compile."""
    found: dict[str, Wanted] = {}

    def take(*, key: str, fn: Any, compile: dict[str, Any], **_: Any) -> bool:
        found[f"{fn.name} {key}"] = Wanted(f"{fn.name} {key}", fn.jit_function, compile)
        # Neither compile nor launch.
        return True

    triton.runtime.driver.set_active(_Gpu(capability))
    knobs.runtime.jit_cache_hook = take
    calls()
    return list(found.values())


def products_of_32_bits(ttir: str) -> list[str]:
    """The multiplications of 32-bit integers of a kernel: in an offset they overflow from 2^31 elements on."""
    return re.findall(r"arith\.muli .* : (?:tensor<[\dx]*x)?i32\b", ttir)


def stores(ptx: str) -> dict[str, int]:
    """How often a kernel has each of its instructions that store to memory."""
    return Counter(re.findall(r"\bst\.global[.:\w]*", ptx))


def loads(ptx: str) -> list[int]:
    """The number of loads from memory with a condition, and without one."""
    conditions = re.findall(r"(@%p\d+ +)?ld\.global", ptx)
    return [sum(map(bool, conditions)), len(conditions) - sum(map(bool, conditions))]


@triton.jit
def with_a_product_of_32_bits(result, count, stride):
    """A kernel that is wrong for large results."""
    for n in range(count):
        tl.store(result + n * stride, 0.0)


def table_of(size: tuple[int, int], view_size: tuple[int, int], views: int = 2) -> torch.Tensor:
    return random_geometry(0, size, view_size, "equal_area", "gnomonic", views=views).table()


def call_every_op(
    dtype: torch.dtype = torch.float32,
    batch: int = 3,
    channels: int = 5,
    views: int = 2,
    size: tuple[int, int] = (9, 11),
    view_size: tuple[int, int] = (7, 13),
    change: Callable[[torch.Tensor], torch.Tensor] = torch.clone,
) -> None:
    """Calls every op: shared and per-sample geometry, both layouts of results, with and without weights.

    ``change`` is applied to what the ops read.
    """
    table = table_of(size, view_size, views)
    image = change(torch.zeros(batch, channels, *size, dtype=dtype))
    stack = change(torch.zeros(batch, views, channels, *view_size, dtype=dtype))
    weights = torch.ones(batch, views, *size)
    for geometry in (table, table.repeat(batch, 1, 1)):
        for layout in (torch.contiguous_format, torch.channels_last):
            BACKEND.project(image, geometry, view_size, "bilinear", "constant", 0, None, layout)
        BACKEND.project_adjoint(stack, geometry, size, "bilinear", "constant")
        for given in ([], [weights[0]], [weights]):
            mean, variance, count = BACKEND.unproject_reduce(stack, geometry, size, "bilinear", *given)
            BACKEND.unproject_reduce_backward(mean, variance, stack, geometry, mean, count, "bilinear", *given)


def project(
    dtype: torch.dtype, to: torch.dtype, channels: int = 5, layout: torch.memory_format = torch.contiguous_format
) -> None:
    """Calls `project`, which moves integers without arithmetic."""
    image, mode = torch.zeros(3, channels, 9, 11, dtype=dtype), "bilinear" if dtype.is_floating_point else "nearest"
    BACKEND.project(image, table_of((9, 11), (7, 13)), (7, 13), mode, "constant", 0, to, layout)
