"""Finds where views lie in geometry tables, and joins tables."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spuproj.geometry.module import GeometryModule
from spuproj.inputs import whole_numbers


def picked(table: Tensor, index: Tensor | Sequence[int]) -> tuple[Any, ...]:
    """Where one view for each sample lies in a table ``[N, 19]`` or ``[B, N, 19]``; see ``Views.pick``.

    With what is returned as its index, the table gives ``[B, 1, 19]``.
    """
    chosen, views = whole_numbers(index, "index"), table.shape[-2]
    samples = len(table) if table.dim() == 3 else None
    if chosen.dim() != 1 or chosen.dtype == torch.bool:
        raise ValueError(f"index must be whole numbers [B], got {chosen.dtype} of shape {tuple(chosen.shape)}")
    if samples not in (None, len(chosen)):
        raise ValueError(f"index must have one entry per sample, {samples}, got {len(chosen)}")
    if chosen.device.type == "cpu":
        # Not a comparison, whose result has no value under vmap or in compiled code. The latter raises when it is run.
        try:
            chosen = torch.arange(views, device="cpu")[chosen]
        except IndexError:
            raise ValueError(f"index must lie in [-{views}, {views - 1}], got {index!r}") from None
    chosen = chosen.to(table.device, non_blocking=table.is_cuda).unsqueeze(1)
    return (chosen,) if samples is None else (torch.arange(samples, device=chosen.device).unsqueeze(1), chosen)


def selected(table: Tensor, index: int | slice | Sequence[int] | Tensor) -> tuple[Any, ...]:
    """Where some views, of all samples, lie in a table; see ``Views.__getitem__``."""
    views = table.shape[-2]
    if isinstance(index, slice):
        rows = torch.arange(views, device=table.device)[index]
    else:
        rows = _rows(whole_numbers(index, "index"), index, views, table.device)
    if len(rows) == 0:
        raise ValueError(f"index must leave at least one of {views} views, got {index!r}")
    return ..., rows, slice(None)


def _rows(at: Tensor, index: int | Sequence[int] | Tensor, views: int, device: torch.device) -> Tensor:
    """The numbers of the views that an index chooses, on a device; integers on a GPU are not checked."""
    if at.dim() > 1:
        raise TypeError(f"index must be a number, or a list or mask of one axis, got {index!r}")
    if at.is_cuda and at.device == device and at.dtype != torch.bool:
        return at.reshape(-1)
    try:
        chosen = torch.arange(views, device="cpu")[at.cpu().reshape(-1)]
    except IndexError as error:
        raise IndexError(f"index must choose among {views} views, got {index!r}: {error}") from None
    return chosen.to(device, non_blocking=device.type == "cuda")


def joined(one: GeometryModule, other: GeometryModule) -> Tensor:
    """The table of the views of both. Raises ValueError if sizes differ, or the batch sizes of views per sample."""
    if (one.size, one.view_size) != (other.size, other.view_size):
        raise ValueError(
            f"views must have the same size and view_size to be added, got {one.size}, {one.view_size} and "
            f"{other.size}, {other.view_size}"
        )
    first, second = one.geometry, other.geometry
    if first.dim() == second.dim() == 3 and first.shape[0] != second.shape[0]:
        raise ValueError(f"views must have the same batch to be added, got {first.shape[0]} and {second.shape[0]}")
    batch = first.shape[:-2] or second.shape[:-2]
    return torch.cat([table.expand(*batch, -1, -1) for table in (first, second)], dim=-2)
