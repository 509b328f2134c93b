"""Checks of the values that users of the bundle replace, before anything is read or computed."""

from __future__ import annotations

from typing import Any

from spuproj.checks import choice

MAPS = ("mean", "variance", "entropy", "mutual_information", "count")
"""The maps that the bundle can write."""


def check_values(maps: Any, slices_per_batch: Any) -> None:
    """Raises TypeError or ValueError for values of the bundle's configuration that it cannot work with.

    Args:
        maps: list of names in ``MAPS``, at least one.
        slices_per_batch: whole number of at least 1.
    """
    if not isinstance(maps, list | tuple):
        raise TypeError(f"maps must be a list of names, any of {', '.join(MAPS)}, got {maps!r}")
    if not maps:
        raise ValueError(f"maps must name at least one of {', '.join(MAPS)}, got none")
    for name in maps:
        choice(name, MAPS, "maps")
    if type(slices_per_batch) is not int or slices_per_batch < 1:
        raise ValueError(f"slices_per_batch must be a positive whole number, got {slices_per_batch!r}")
