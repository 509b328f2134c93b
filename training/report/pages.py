"""Reports of predictions for radiologists, of a case and of a cohort: self-contained HTML files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from spuproj.training.data.case import Case
from spuproj.training.data.findings import Finding, Level
from spuproj.training.evaluation.metrics import dice
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.summary import CohortEntry
from spuproj.training.report.colours import colours_of
from spuproj.training.report.figures import Truth
from spuproj.training.report.html import write_page
from spuproj.training.report.numbers import found_numbers, numbers_table
from spuproj.training.report.slice_images import LARGEST_DEVIATION, first_position, slice_contents
from spuproj.training.report.viewer import frame_of, lanes, panels


def entry_of(
    case: Case, predictions: Mapping[str, CasePrediction], link: str | None, warnings: Sequence[Finding]
) -> CohortEntry:
    """The entry of a predicted case. Raises as ``write_case_report`` does."""
    truth = _truth(case, predictions)
    found = {target: found_numbers(case, prediction) for target, prediction in predictions.items()}
    return CohortEntry(
        name=case.name,
        link=link,
        volumes={target: numbers["volume"] for target, numbers in found.items()},
        uncertainty={target: numbers["mean"] for target, numbers in found.items()},
        dice=None
        if truth is None
        else {name: dice(truth[name], each.segmentation) for name, each in predictions.items()},
        expected_dice={target: numbers["expected_dice"] for target, numbers in found.items()},
        warnings=tuple(warnings),
    )


def write_case_report(
    path: Path,
    case: Case,
    predictions: Mapping[str, CasePrediction],
    warnings: Sequence[Finding] = (),
    models: str = "",
) -> Path:
    """Writes the report of a case: warnings, every slice with brain, and numbers by target.

    Args:
        path: of the HTML file, which appears whole or not at all.
        case: where it has labels they are drawn dashed, and the segmentations are measured.
        predictions: by target, at least one.
        warnings: shown on top, in their order; "slice 7" in them becomes a link to the slice.
        models: that made the predictions, in words; not mentioned where empty.

    Returns:
        The path.

    Raises:
        InputError: where the case's labels do not know a target.
        ValueError: for variances that are not in [0, 1/4].
    """
    truth = _truth(case, predictions)
    headings, numbers = numbers_table(case, predictions)
    slices = slice_contents(case, predictions, truth)
    positions = {int(index): position for position, index in enumerate(case.brain_slices)}
    return write_page(
        path,
        "case.html",
        title=case.name,
        warnings=[(each.level <= Level.WARNING, _with_jumps(each.message, positions)) for each in warnings],
        frame=frame_of(case),
        panels=panels(case, predictions, truth is not None),
        lanes=lanes(case, predictions),
        colours=colours_of(predictions),
        has_truth=truth is not None,
        heat=[mpl.colors.to_hex(colour) for colour in mpl.colormaps["magma"](np.linspace(0, 1, 9))],
        largest_deviation=LARGEST_DEVIATION,
        headings=headings,
        numbers=numbers,
        slices=slices,
        first=first_position(case, predictions),
        models=models,
    )


def write_cohort_report(path: Path, entries: Sequence[CohortEntry]) -> Path:
    """Writes the table of all cases, the least trustworthy first.

    First those that could not be predicted, then those with warnings that are more than notes, then all others; in each
    group those with the lowest expected Dice of any target come first.

    Args:
        path: of the HTML file, which appears whole or not at all.
        entries: in any order.

    Returns:
        The path.
    """
    ordered = sorted(entries, key=lambda entry: (entry.error is None, entry.serious == 0, entry.trust))
    return write_page(
        path,
        "cohort.html",
        title="Predicted cases",
        entries=ordered,
        targets=list(dict.fromkeys(target for entry in entries for target in entry.volumes)),
        with_dice=any(entry.dice is not None for entry in entries),
        warned=sum(entry.serious > 0 for entry in entries),
        failed=sum(entry.error is not None for entry in entries),
    )


def _truth(case: Case, targets: Iterable[str]) -> Truth | None:
    return None if case.labels is None else {target: case.target(target) for target in targets}


def _with_jumps(warning: str, positions: Mapping[int, int]) -> list[tuple[str, int | None]]:
    """A warning in parts: "slice 7" with its position among the shown slices, the text between them with None."""
    # With a group in the pattern, every second part is a match.
    parts = re.split(r"\b(slice \d+)\b", warning)
    return [
        (part, positions.get(int(part.removeprefix("slice "))) if number % 2 else None)
        for number, part in enumerate(parts)
    ]
