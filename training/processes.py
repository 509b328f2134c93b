"""Several processes that train together."""

from __future__ import annotations

from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor, distributed


def rank() -> int:
    """This process's number, from 0, as whatever started it says: known before the processes are joined."""
    return rank_zero_only.rank or 0


def place() -> tuple[int, int]:
    """This process's number among those that are joined, and how many these are."""
    return (distributed.get_rank(), distributed.get_world_size()) if _joined() else (0, 1)


def summed(values: Tensor) -> Tensor:
    """The sum over all processes that are joined, in each of them; every one must call it."""
    total = values.clone()
    if _joined():
        distributed.all_reduce(total)
    return total


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()
