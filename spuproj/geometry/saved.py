"""What a state dict holds of ``Views``, also one of an older version."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spuproj.checks import pixel_size
from spuproj.geometry.table import COLUMNS, Geometry, check_numbers
from spuproj.inputs import plain_tensor


def saved_sizes(state: Tensor | dict[str, Sequence[int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The checked size and view size from an extra state; older versions stored them as a dictionary."""
    height, width, h, w = (*state["size"], *state["view_size"]) if isinstance(state, dict) else state.tolist()
    return pixel_size((height, width), "size"), pixel_size((h, w), "view_size")


def completed_table(table: Tensor) -> Tensor:
    """The checked geometry table, with the spacing columns that older versions lack."""
    table = plain_tensor(table, "geometry")
    if table.shape[-1] == COLUMNS - 2:
        table = torch.cat([table, torch.ones_like(table[..., :2])], dim=-1)
    if table.is_cpu and table.shape[-1] == COLUMNS:
        check_numbers(Geometry.from_table(table))
    return table


def complete_state(views: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Adds what state dicts of older versions lack, before ``Views`` load one: the sizes and the spacing columns."""
    state.setdefault(f"{prefix}_extra_state", views.get_extra_state())
    if isinstance(table := state.get(f"{prefix}geometry"), Tensor):
        state[f"{prefix}geometry"] = completed_table(table)
