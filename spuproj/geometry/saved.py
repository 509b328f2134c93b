"""What a state dict holds of ``Views``, also one of an older version."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spuproj.checks import pixel_size
from spuproj.geometry.table import COLUMNS, Geometry, check_numbers
from spuproj.inputs import plain_tensor


def saved_sizes(state: Tensor | dict[str, Sequence[int]]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The checked size and view size from an extra state; older versions stored them as a dictionary."""
    try:
        height, width, h, w = (*state["size"], *state["view_size"]) if isinstance(state, dict) else state.tolist()
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"the sizes in the state must be four whole numbers, (H, W, h, w), got {state}") from None
    return pixel_size((height, width), "size"), pixel_size((h, w), "view_size")


def completed_table(table: Tensor) -> Tensor:
    """The checked geometry table, with the spacing columns that older versions lack."""
    table = plain_tensor(table, "geometry")
    if table.dtype != torch.float64:
        raise ValueError(
            f"the geometry in the state must be float64, as it was saved, got {table.dtype}: its last digits tell "
            "pixels apart; leave it out where weights are converted"
        )
    if table.shape[-1] == COLUMNS - 2:
        table = torch.cat([table, torch.ones_like(table[..., :2])], dim=-1)
    if table.is_cpu and table.shape[-1] == COLUMNS:
        check_numbers(Geometry.from_table(table))
    return table
