"""Memory of large results on the CPU: kept when a result is freed, and reused for the next one (docs/backends.md).

Kernels take their temporary memory from it as well (csrc/cpu/runtime/parallel.hpp).
"""

import math
import os
import sys

import torch
from torch import Tensor

try:
    from spuproj import _cpu
except ImportError:
    _cpu = None  # type: ignore[assignment]

VARIABLE = "SPUPROJ_CACHE_LIMIT"
"""Environment variable with the initial limit, in MiB; 256 if it is not set."""

SMALLEST = 2**20
"""Smaller results, in bytes, are ordinary tensors."""

AVAILABLE = _cpu is not None and _cpu.set_exchange(getattr(torch.Tensor, "__dlpack_c_exchange_api__", None))
"""Whether results can be placed in blocks, for which torch must have DLPack's C exchange interface."""

_limit_known = False


def in_block(like: Tensor, *, keep: bool = True) -> Tensor:
    """An uninitialised tensor like a dense CPU tensor, in a block if large; ``keep`` keeps the block for reuse."""
    if like.nbytes < SMALLEST:
        return like
    if not _limit_known:
        _set_limit(os.environ.get(VARIABLE) or 256, VARIABLE)
    if not AVAILABLE:
        return like
    return _cpu.in_block(like, keep)


def drop_free_blocks() -> None:
    """Returns the memory of freed results to the system; tensors that are still in use are not affected."""
    if AVAILABLE:
        _cpu.drop_unused_blocks()


def kept() -> int:
    """Size of all blocks that are kept, used or free, in bytes."""
    return _cpu.kept_bytes() if AVAILABLE else 0


def set_cache_limit(mebibytes: float) -> None:
    """Sets the largest amount of memory that is kept for results and kernels on the CPU; 0 keeps none.

    The limit includes used and free blocks. It is initially that of the environment variable ``SPUPROJ_CACHE_LIMIT``,
    or 256 MiB.

    Args:
        mebibytes: the limit in MiB, finite and not negative.

    Raises:
        ValueError: for a number that is negative or not finite.
    """
    _set_limit(mebibytes, "mebibytes")


def _set_limit(value: float | str, argument: str) -> None:
    global _limit_known
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{argument} must be a number of MiB, finite and not negative, got {value!r}")
    _limit_known = True
    if AVAILABLE:
        _cpu.set_block_limit(int(min(number * 2**20, sys.maxsize)))
