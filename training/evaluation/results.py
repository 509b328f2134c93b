"""Results of an evaluation, case by case, and the options that they depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spuproj.checks import choice
from spuproj.training.evaluation.metrics import EMPTY, Curves, Metrics
from spuproj.uncertainty import SCALINGS


@dataclass(frozen=True)
class CaseResult:
    """The measures of one target of one case, for one method; several cases may be visits of one patient."""

    method: str
    target: str
    case: str
    patient: str
    metrics: Metrics
    curves: Curves


@dataclass(frozen=True)
class EvaluationOptions:
    """The options of an evaluation; every table names them.

    Attributes:
        scaling: from uncertainty maps to [0, 100], a name in ``spuproj.uncertainty.SCALINGS``.
        empty: convention for empty masks, one of ``EMPTY`` in ``metrics``.

    Raises:
        ValueError: for an unknown name.
    """

    scaling: str
    empty: str

    def __post_init__(self) -> None:
        choice(self.scaling, tuple(SCALINGS), "scaling")
        choice(self.empty, EMPTY, "empty")

    @property
    def text(self) -> str:
        """Both options in words."""
        return f"uncertainty scaled by {self.scaling} ({SCALINGS[self.scaling]}), empty masks by {self.empty}"


def targets_in(rows: Sequence[CaseResult]) -> list[str]:
    """The targets, in the order in which they first occur."""
    return list(dict.fromkeys(row.target for row in rows))


def methods_in(rows: Sequence[CaseResult]) -> list[str]:
    """The methods, in the order in which they first occur."""
    return list(dict.fromkeys(row.method for row in rows))
