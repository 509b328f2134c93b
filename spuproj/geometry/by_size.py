"""Views for slices of any size: a constructor called with each new size, and a cache of its last few results."""

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeGuard, TypeVar

import torch
from torch import nn

from spuproj.checks import pixel_size

Made = TypeVar("Made")

KEPT = 8
"""How many results are kept."""


class Recent(Generic[Made]):
    """The last results by key, for any threads; unlike ``functools.lru_cache`` it can be pickled."""

    def __init__(self) -> None:
        self._results: dict[Hashable, Made] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The result of this key, made if it is not there; it may push out the oldest one."""
        result = self._results.get(key)
        if result is None:
            result = make()
            # A new dict each time: other threads may be reading the one before.
            self._results = dict([*self._results.items()][1 - KEPT :]) | {key: result}
        return result


class Factory(Generic[Made]):
    """Calls a constructor with each new size and settings that stay the same.

    Args:
        make: takes ``size``, (H, W) in pixels, and the settings.
        settings: its other arguments.

    Raises:
        TypeError: for settings that ``make`` does not have.
    """

    def __init__(self, make: Callable[..., Made], settings: dict[str, Any]) -> None:
        inspect.signature(make).bind((1, 1), **settings)
        self._make, self._settings, self._recent = make, settings, Recent[Made]()

    def __call__(self, size: Sequence[int]) -> Made:
        """What was made for this size, (H, W) in pixels: the same object while it is kept."""
        height_width = pixel_size(size, "size")
        return self._recent.get(height_width, lambda: self._new(height_width))

    def _new(self, size: tuple[int, int]) -> Made:
        # What is made in inference mode could not be trained through later.
        with torch.inference_mode(False):
            return self._make(size, **self._settings)


def is_function_of_size(views: object) -> TypeGuard[Callable[[tuple[int, int]], Any]]:
    """Whether this makes views of a size. Views can be called too, but with slices; a class needs more than a size."""
    return callable(views) and not isinstance(views, (nn.Module, type))
