"""Keeps the last few results of a function, such as views for each size of slice."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

Result = TypeVar("Result")

KEPT = 8
"""How many results are kept."""


class Recent(Generic[Result]):
    """The last results by key. Unlike ``functools.lru_cache`` it can be pickled and is seen by torch.compile."""

    def __init__(self) -> None:
        self._results: dict[Hashable, Result] = {}

    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def get(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """The result of this key, made if it is not there; it may push out the oldest one."""
        if key not in self._results:
            result = make()
            while len(self._results) >= KEPT:
                self._results.pop(next(iter(self._results)))
            self._results[key] = result
        return self._results[key]
