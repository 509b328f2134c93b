"""Findings about a case: errors, warnings and notes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """How much a finding matters, the worst first."""

    ERROR = 0
    """The case cannot be used."""
    WARNING = 1
    """The case can be used, but what comes out may be wrong."""
    NOTE = 2
    """Something that was taken for granted, or is unusual."""


@dataclass(frozen=True)
class Finding:
    """One finding: how much it matters, and a sentence that says what was found and what to do."""

    level: Level
    message: str
