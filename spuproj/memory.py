"""Memory of large results on the CPU: kept when a result is freed, and given to the next one.

New memory costs as much as the work: the system clears it page by page. So results of 1 MiB and more lie in blocks of
their own, in large pages where the system has them. The blocks made last are kept, up to a limit; one that no tensor
uses any more is given to the next result that fits.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
from threading import Lock

import torch
from torch import Tensor

from spuproj.result import Result

VARIABLE = "SPUPROJ_CACHE_LIMIT"
"""The environment variable with the limit at start, in MiB."""

SMALLEST = 2**20
"""Results of fewer bytes are ordinary tensors."""

_LARGE_PAGE = 2**21
_DEFAULT_LIMIT = 256 * 2**20


class Block:
    """Whole large pages of memory."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = -(-nbytes // _LARGE_PAGE) * _LARGE_PAGE
        # A page more, so that the block may begin with a large page.
        length = self.nbytes + _LARGE_PAGE
        if hasattr(mmap, "MAP_PRIVATE"):
            # A forked child has a copy of its own.
            self._memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            self._memory = mmap.mmap(-1, length)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        self._offset = -torch.frombuffer(self._memory, dtype=torch.uint8).data_ptr() % _LARGE_PAGE
        self._unused = sys.getrefcount(self._memory)

    @property
    def idle(self) -> bool:
        """Whether no tensor lies in the block: each holds a reference to its memory."""
        return sys.getrefcount(self._memory) == self._unused

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor at the block's beginning, which keeps the memory alive."""
        flat = torch.frombuffer(self._memory, dtype=dtype, count=math.prod(shape), offset=self._offset)
        return flat.view(shape)


_blocks: list[Block] = []
_lock = Lock()
_limit: int | None = None


def _fresh_lock() -> None:
    global _lock
    _lock = Lock()


# A forked child must not wait for a lock that a thread of its parent held.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


def new_result(result: Result, device: torch.device) -> Tensor:
    """A result's uninitialised tensor, in memory that is used again where it is large."""
    if result.nbytes < SMALLEST:
        return result.empty(device)
    return result.of(lambda shape: _tensor_in_block(shape, result.dtype, result.nbytes))


def large_pages(nbytes: int) -> Tensor:
    """So many bytes of new memory in large pages, not kept when it is freed."""
    return Block(nbytes).tensor((nbytes,), torch.uint8)


def empty_cache() -> None:
    """Gives the memory of freed results back to the system. That of tensors which are still used stays theirs."""
    with _lock:
        _blocks[:] = [block for block in _blocks if not block.idle]


def set_cache_limit(mebibytes: float) -> None:
    """Sets how much memory of results is kept at most for the next ones, in MiB; 0 keeps none.

    At the start it is that of the environment variable ``SPUPROJ_CACHE_LIMIT``, or 256.

    Raises:
        ValueError: for a number that is negative or not finite.
    """
    global _limit
    limit = _checked_limit(mebibytes, "mebibytes")
    with _lock:
        _limit = limit
        _drop_oldest()


def cache_limit() -> int:
    """How much is kept at most, in bytes. Raises ValueError where the environment variable is no such number."""
    global _limit
    if _limit is None:
        text = os.environ.get(VARIABLE)
        _limit = _checked_limit(text, VARIABLE) if text else _DEFAULT_LIMIT
    return _limit


def _checked_limit(value: float | str, argument: str) -> int:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{argument} must be a number of MiB, finite and not negative, got {value!r}")
    return int(number * 2**20)


def _tensor_in_block(shape: tuple[int, ...], dtype: torch.dtype, nbytes: int) -> Tensor:
    """A tensor in the idle block used last that it fills by half, else in a new one."""
    with _lock:
        for block in reversed(_blocks):
            if nbytes <= block.nbytes <= 2 * max(nbytes, _LARGE_PAGE) and block.idle:
                _blocks.remove(block)
                _blocks.append(block)
                break
        else:
            block = Block(nbytes)
            _blocks.append(block)
            _drop_oldest()
        # Made before the lock is released: from here on the block is in use.
        return block.tensor(shape, dtype)


def _drop_oldest() -> None:
    """Forgets the blocks used longest ago, until the rest is within the limit; those in use live on by themselves."""
    limit = cache_limit()
    kept = sum(block.nbytes for block in _blocks)
    while kept > limit:
        kept -= _blocks.pop(0).nbytes
