"""The plans of the ``cpu`` backend: calls that have been made before, and go straight to the kernel.

What a call needs beside its tensors' addresses depends on shapes, strides, dtypes and the geometry's numbers alone. It
is put together at the first call and kept. Where the dispatcher would do nothing with the next such call but pass it
on, the plan is run instead, from compiled code.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from spuproj import _cpu
from spuproj.backends.cpu_taps import Taps
from spuproj.backends.variable import VARIABLE

LIMIT = 256
"""Plans that are kept at most."""

# Below this many elements a thread costs more than it brings.
_ELEMENTS_PER_THREAD = 32768
# Results up to this size are made like ones that the plan keeps, which is the fastest way to make them.
_SMALL_BYTES = 2**16

# What must hold for the dispatcher to have nothing to do, beside what the tensors say.
_CONDITIONS: tuple[tuple[Callable[[], object], object], ...] = (
    (torch._C._len_torch_dispatch_stack, 0),
    (torch._C._len_torch_function_stack, 0),
    (torch._C._functorch.peek_interpreter_stack, None),
    (torch._C._is_tracing, False),
    (torch._C._autograd._profiler_enabled, False),
    (torch._C._is_any_autocast_enabled, False),
    (partial(getattr, forward_ad, "_current_level"), -1),
)

plans = _cpu.Plans(
    tensor_type=Tensor,
    empty_like=torch.empty_like,
    grad_enabled=torch.is_grad_enabled,
    num_threads=torch.get_num_threads,
    conditions=_CONDITIONS,
    unless_variable=VARIABLE,
    limit=LIMIT,
)

planned = plans.call
"""``planned(name, sources, geometry, options, out)``: the result of a planned call, or None."""


def launch(
    name: str,
    kernel: _cpu.Kernel,
    taps: Taps,
    sources: tuple[Tensor, ...],
    geometry: Tensor,
    options: tuple[Any, ...],
    results: tuple[Tensor, ...],
    elements: int,
    *,
    dense: tuple[Tensor, ...],
    empty: Callable[[Tensor], Any] | None = None,
) -> None:
    """Runs a kernel, and plans the next such call.

    Args:
        name: of the op.
        kernel: takes the addresses of the sources and of the results.
        taps: what it reads beside them.
        sources: what the op was given.
        geometry: the table.
        options: the op's other arguments.
        results: where the results go.
        elements: how much work it is.
        dense: the sources as the kernel reads them: themselves, or copies. Calls that copy are not planned.
        empty: makes the results for the first source; None where the op was given them.
    """
    threads = max(1, elements // _ELEMENTS_PER_THREAD)
    kernel([tensor.data_ptr() for tensor in (*dense, *results)], min(torch.get_num_threads(), threads))
    if any(a is not b for a, b in zip(dense, sources, strict=True)):
        return
    small = empty is not None and sum(result.nbytes for result in results) <= _SMALL_BYTES
    plans.keep(
        name,
        sources,
        geometry,
        options,
        results[0] if empty is None else None,
        weakref.ref(taps),
        kernel,
        threads,
        tuple(map(torch.empty_like, results)) if small else None,
        empty,
    )
