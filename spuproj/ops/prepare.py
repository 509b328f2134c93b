"""Computes ahead what the ops need of a geometry, or tells them where they find it."""

from typing import Any

import torch
from torch import Tensor

from spuproj.backends import backend_for
from spuproj.backends.taps import sampling_of
from spuproj.checks import choice
from spuproj.ops.checks import FLOATING, INTEGRAL, INTERPOLATIONS, PADDINGS


def prepare(
    geometry: Tensor,
    size: tuple[int, int],
    view_size: tuple[int, int],
    interpolation: str,
    padding: str,
    dtype: torch.dtype,
    *,
    backward: bool,
) -> None:
    """Prepares both directions, between slices of ``size`` and views of ``view_size``; see ``Views.prepare``."""
    choice(interpolation, INTERPOLATIONS, "interpolation")
    choice(padding, PADDINGS, "padding")
    if geometry.is_cuda and geometry.is_inference():
        raise ValueError("views must be made outside torch.inference_mode to be prepared, got views made inside it")
    if dtype not in FLOATING + INTEGRAL:
        raise TypeError(f"dtype must be one of images and stacks, such as torch.float32, got {dtype!r}")
    views, slices = (torch.empty(each, dtype=dtype, device="meta") for each in (view_size, size))
    there = sampling_of(views, slices, interpolation, inverse=False, padding=padding)
    back = sampling_of(slices, views, interpolation, inverse=True)
    backend_for(geometry.device).prepare(geometry, (there, back), backward=backward)


def chosen(geometry: Tensor, at: tuple[Any, ...]) -> Tensor:
    """The views ``geometry[at]``, a copy. Their taps are taken from those of ``geometry`` where these are kept."""
    table = geometry[at]
    if type(geometry) is Tensor and not torch.compiler.is_compiling() and _stays(table):
        numbers = torch.arange(geometry.shape[:-1].numel(), device=geometry.device).view(*geometry.shape[:-1], 1)
        backend_for(geometry.device).prepared.choose(geometry, numbers[at].squeeze(-1), table)
    return table


def _stays(table: Tensor) -> bool:
    """Whether views keep this tensor: not one of inference mode, which they copy, and not one inside ``vmap``."""
    try:
        table.data_ptr()
    except RuntimeError:
        return False
    return not table.is_inference()
