"""Memory of large results on the CPU: kept when a result is freed, and reused for the next one.

The operating system takes as long to zero new memory as a kernel takes to fill it. So results of 1 MiB and more are
placed in blocks of large pages (``csrc/cpu/runtime/block_pool.hpp``). The most recently used blocks are kept, up to a
limit, and a block that no tensor uses any more is reused for the next result that fits. If torch lacks DLPack's C
exchange interface, results are ordinary tensors.
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
"""Environment variable with the initial limit, in MiB."""

SMALLEST = 2**20
"""Smaller results, in bytes, are ordinary tensors."""

_DEFAULT_LIMIT = 256

AVAILABLE = _cpu is not None and _cpu.set_exchange(getattr(torch.Tensor, "__dlpack_c_exchange_api__", None))
"""Whether results can be placed in blocks."""

_limit_read = False


def in_block(like: Tensor, *, keep: bool = True) -> Tensor:
    """An uninitialised tensor like a dense CPU tensor, in a block if large; ``keep`` keeps the block for reuse."""
    if not AVAILABLE or like.nbytes < SMALLEST:
        return like
    if not _limit_read:
        _read_limit()
    return _cpu.in_block(like, keep)


def empty_cache() -> None:
    """Returns the memory of freed results to the system; tensors that are still in use are not affected."""
    if AVAILABLE:
        _cpu.drop_unused_blocks()


def kept() -> int:
    """Size of all blocks for results, used or free, in bytes."""
    return _cpu.kept_bytes() if AVAILABLE else 0


def set_cache_limit(mebibytes: float) -> None:
    """Sets the largest amount of memory that is kept for results on the CPU; 0 keeps none.

    The limit includes used and free blocks. It is initially that of the environment variable ``SPUPROJ_CACHE_LIMIT``,
    or 256 MiB.

    Args:
        mebibytes: the limit in MiB, finite and not negative.

    Raises:
        ValueError: for a number that is negative or not finite.
    """
    global _limit_read
    limit = _checked_limit(mebibytes, "mebibytes")
    _limit_read = True
    if AVAILABLE:
        _cpu.set_block_limit(limit)


def _read_limit() -> None:
    """Sets the limit from the environment variable. Raises ValueError if it is not a valid number."""
    global _limit_read
    limit = _checked_limit(os.environ.get(VARIABLE) or _DEFAULT_LIMIT, VARIABLE)
    _limit_read = True
    _cpu.set_block_limit(limit)


def _checked_limit(value: float | str, argument: str) -> int:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{argument} must be a number of MiB, finite and not negative, got {value!r}")
    return int(min(number * 2**20, sys.maxsize))
