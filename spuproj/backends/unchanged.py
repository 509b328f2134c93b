"""Whether a geometry table still has the values for which something was prepared."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import disable_saved_tensors_hooks


def unchanged_since(table: Tensor) -> Callable[[Tensor], bool]:
    """Returns a function that tells whether a table still has its present values.

    On the CPU it compares them. On a GPU a comparison would wait for the device, so it relies on autograd, which counts
    writes to a tensor.
    """
    if table.is_cuda:
        seen = witness(table)
        return lambda now: unwritten(seen, now)
    numbers, dtype, device = table.detach().clone(), table.dtype, table.device
    return lambda now: (now.dtype, now.device) == (dtype, device) and torch.equal(now, numbers)


class _Witness(torch.autograd.Function):
    """Saves a tensor for backward; autograd raises on access if the tensor was written to since."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(table)
        return anchor.clone()


def witness(table: Tensor) -> Tensor:
    """A result of a graph node that has saved the table, for ``unwritten``."""
    try:
        with disable_saved_tensors_hooks("hooks are in force"):
            return _witnessed(table)
    except RuntimeError:
        # Hooks, such as those of torch.utils.checkpoint, would hide writes. They apply to one thread only.
        with ThreadPoolExecutor(1) as another:
            return another.submit(_witnessed, table).result()


def _witnessed(table: Tensor) -> Tensor:
    # Ops run with autograd off; the node needs it on. The detached alias shares the table's version counter.
    with torch.inference_mode(False), torch.enable_grad():
        anchor = torch.zeros((), requires_grad=True, device="cpu")
        seen: Tensor = _Witness.apply(anchor, table.detach())  # type: ignore[no-untyped-call]
        return seen


def unwritten(seen: Tensor, table: Tensor) -> bool:
    """Whether a table has the memory and the shape that its ``witness`` saw, and has not been written to since."""
    # The result is asked and not a node that was kept alone: up to torch 2.11 that lost what it had saved.
    node: Any = seen.grad_fn
    try:
        (saved,) = node.saved_tensors
    except RuntimeError:
        return False
    return bool(saved.data_ptr() == table.data_ptr() and saved.shape == table.shape)
