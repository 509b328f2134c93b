"""Colours of the targets, the same in every figure and page."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

COLOURS = {"WT": "#4aa3ff", "TC": "#ffb000", "ET": "#ff4f79"}
_OTHER_COLOURS = ("#35c46a", "#b58cff", "#3fd5d5", "#ff8a4a", "#e6e04a", "#ff9bd2")


def colours_of(targets: Iterable[str]) -> dict[str, str]:
    """A colour for each target: that of ``COLOURS``, or the next of the other ones."""
    others = cycle(_OTHER_COLOURS)
    return {target: COLOURS.get(target) or next(others) for target in targets}
