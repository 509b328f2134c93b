"""Findings about a case: errors, warnings and notes."""

from __future__ import annotations

from collections.abc import Iterable
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


def merged(found: Iterable[tuple[str, Finding]]) -> list[Finding]:
    """One finding for those that say the same of several things, such as modalities or files.

    Args:
        found: the name of a thing, and a finding about it, whose message has ``{}`` for the name.
    """
    names: dict[Finding, list[str]] = {}
    for name, finding in found:
        names.setdefault(finding, []).append(name)
    return [Finding(each.level, each.message.replace("{}", ", ".join(those))) for each, those in names.items()]
