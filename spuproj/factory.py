"""A constructor that waits for the size of the slice; see ``Views.factory``."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from spuproj.checks import pixel_size
from spuproj.recent import Recent

Made = TypeVar("Made")


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
        return self._recent.get(height_width, lambda: self._make(height_width, **self._settings))
