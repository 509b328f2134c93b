"""Results of an evaluation, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spuproj.checks import choice
from spuproj.training.evaluation.metrics import EMPTY, Curves, Metrics
from spuproj.uncertainty import SCALINGS


@dataclass(frozen=True)
class CaseResult:
    """Metrics of one method for one target of one case."""

    method: str
    target: str
    case: str
    metrics: Metrics
    curves: Curves


@dataclass(frozen=True)
class EvaluationOptions:
    """Scaling of uncertainty and convention for empty masks; noted in every table."""

    scaling: str
    empty: str

    def __post_init__(self) -> None:
        choice(self.scaling, tuple(SCALINGS), "scaling")
        choice(self.empty, EMPTY, "empty")

    @property
    def text(self) -> str:
        """For captions."""
        return f"uncertainty scaled by {self.scaling} ({SCALINGS[self.scaling]}), empty masks by {self.empty}"


def targets_of(rows: Sequence[CaseResult]) -> list[str]:
    """Targets, in order of appearance."""
    return list(dict.fromkeys(row.target for row in rows))


def methods_of(rows: Sequence[CaseResult]) -> list[str]:
    """Methods, in order of appearance."""
    return list(dict.fromkeys(row.method for row in rows))
