"""The summary of a predicted case, which marks it as finished: what was found, what it was made of, and its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.readers.listing import SUMMARY
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import inside
from spuproj.training.runtime.json_file import read_json, write_json
from spuproj.training.runtime.names import plain_name
from spuproj.training.runtime.settings import plain_errors

LEARNED = {"train": "trained on", "validation": "validated on"}
"""Roles of a case in the training of a model, in words."""


@dataclass(frozen=True)
class CohortEntry:
    """A case in the report of a cohort.

    Attributes:
        name: of the case.
        link: path of its report, relative to the cohort's; None where there is none.
        volumes: by target, in ml.
        uncertainty: by target, the mean over the brain in percent, see ``uncertainty_percent``.
        dice: by target; None where the case has no labels.
        expected_dice: by target, see ``spuproj.training.evaluation.expected_dice``.
        warnings: as ``case_warnings`` gives them.
        error: why the case could not be predicted; all else but the name is empty then.
    """

    name: str
    link: str | None = None
    volumes: Mapping[str, float] = field(default_factory=dict)
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    dice: Mapping[str, float] | None = None
    expected_dice: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[Finding, ...] = ()
    error: str | None = None

    @property
    def trust(self) -> float:
        """The lowest expected Dice of any target; 1 where there is none."""
        return min(self.expected_dice.values(), default=1.0)

    @property
    def serious(self) -> int:
        """Number of warnings that are more than notes."""
        return sum(warning.level <= Level.WARNING for warning in self.warnings)


@dataclass(frozen=True)
class CaseSummary:
    """What ``<id>_summary.json`` holds.

    Attributes:
        recipe: what the maps depend on, see ``recipe_of``; outputs of another recipe are not mixed with these.
        entry: the case in the report of the data set.
        files: the SHA-256 of each of the case's other files, by name; these are never read as data, see
            ``list_folder``.
        segmentation: the SHA-256 of the segmentation that the report compares with; None where there was none, or it
            could not be read.
        patient: of the case, see ``patient_of``; None where an earlier version wrote the summary.
        roles: by target, whether its model was trained or validated on the case or its patient ("train",
            "validation"), by their names; targets of other models are left out.
        finished: whether the files are those of this prediction. False while they are moved into place, and after a
            process was killed then: some may be older, or missing.
    """

    recipe: Mapping[str, Any]
    entry: CohortEntry
    files: Mapping[str, str] = field(default_factory=dict)
    segmentation: str | None = None
    patient: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    finished: bool = True


def report_name(case: str) -> str:
    """Name of a case's report."""
    return f"{case}_report.html"


def summary_name(case: str) -> str:
    """Name of a case's summary."""
    return f"{case}{SUMMARY}"


def write_summary(path: Path, summary: CaseSummary) -> None:
    """Writes a summary."""
    write_json(path, asdict(summary))


def read_summary(out: Path, case: str) -> CaseSummary | None:
    """A case's summary, or None where there is none.

    Raises:
        InputError: where it is damaged, of another case or of another version.
    """
    path = inside(out, summary_name(case))
    if not os.path.lexists(path):
        return None
    remedy = "; remove it and the case's maps, or predict the case again with --force"
    try:
        with plain_errors(CaseSummary, f"{path} must be a summary of 'spuproj predict', but is not: "):
            summary = TypeAdapter(CaseSummary).validate_python(read_json(path))
        for target in summary.entry.volumes:
            plain_name(target, f"{path}: the name of a target")
    except InputError as error:
        raise InputError(f"{error}{remedy}") from None
    if summary.entry.name != case:
        raise InputError(f"{path} must be the summary of {case}, but is that of {summary.entry.name}{remedy}")
    if summary.entry.link not in (None, report_name(case)):
        raise InputError(f"{path} must link to {report_name(case)}, but links to {summary.entry.link!r:.80}{remedy}")
    return summary


def predicted_names(folder: Path) -> list[str]:
    """Names of the cases that a folder holds a summary of, sorted."""
    return sorted(path.name.removesuffix(SUMMARY) for path in folder.glob(f"?*{SUMMARY}"))


def finished_summary(out: Path, case: str) -> CaseSummary | None:
    """A case's summary, or None where there is none, or one of another program, as for its maps.

    Raises:
        InputError: where it is unfinished, or as ``read_summary`` does.
    """
    if _is_foreign(inside(out, summary_name(case))):
        return None
    summary = read_summary(out, case)
    if summary is not None and not summary.finished:
        raise InputError(
            f"{out} must hold finished predictions, but that of {case} is being written, or was interrupted then; wait "
            "for it, or repeat the command that wrote it"
        )
    return summary


def _is_foreign(path: Path) -> bool:
    """Whether a file is JSON that has nothing of a summary."""
    with suppress(InputError):
        return read_json(path).keys().isdisjoint(("recipe", "entry"))
    return False
