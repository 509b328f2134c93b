"""Reports of predictions for radiologists, of a case and of a cohort: HTML files that need no other file."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from urllib.parse import quote

import matplotlib as mpl
import numpy as np

from spuproj.training.data.case import Case
from spuproj.training.evaluation.metrics import dice
from spuproj.training.inference.multi_view import Prediction
from spuproj.training.report.figures import Truth
from spuproj.training.report.numbers import as_text, found_numbers, numbers_table
from spuproj.training.report.slice_images import LARGEST_DEVIATION, brain_slices, first_position, slice_contents
from spuproj.training.report.viewer import lanes, legend, panels
from spuproj.training.runtime.files import atomic_write

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class CohortEntry:
    """A case in the report of a cohort.

    Attributes:
        name: of the case.
        link: path of its report, relative to the cohort's; None where there is none.
        volumes: by target, in ml.
        uncertainty: by target, the mean over the brain in percent (``variance-1``).
        dice: by target; None where the case has no labels.
        warnings: as ``case_warnings`` gives them.
        error: why the case could not be predicted; all else but the name is empty then.
    """

    name: str
    link: str | None = None
    volumes: Mapping[str, float] = field(default_factory=dict)
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    dice: Mapping[str, float] | None = None
    warnings: Sequence[str] = ()
    error: str | None = None


def entry_of(
    case: Case, predictions: Mapping[str, Prediction], link: str | None, warnings: Sequence[str]
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
        warnings=tuple(warnings),
    )


def write_case_report(
    path: Path, case: Case, predictions: Mapping[str, Prediction], warnings: Sequence[str] = ()
) -> Path:
    """Writes the report of a case: warnings, every slice with brain, and numbers by target.

    Args:
        path: of the HTML file, which appears whole or not at all.
        case: where it has labels they are drawn dashed, and the segmentations are measured.
        predictions: by target, at least one.
        warnings: shown on top; "slice 7" in them becomes a link to the slice.

    Returns:
        The path.

    Raises:
        InputError: where the case's labels do not know a target.
        ValueError: for variances that are not in [0, 1/4].
    """
    truth = _truth(case, predictions)
    shown, first = brain_slices(case), first_position(case, predictions)
    magma = mpl.colormaps["magma"](np.linspace(0, 1, 9))
    return _write_page(
        path,
        "case",
        name=html.escape(case.name),
        warnings=_warnings(warnings, {int(index): position for position, index in enumerate(shown)}),
        panels=panels(case, predictions, truth),
        index=str(shown[first]),
        first=str(first),
        last=str(len(shown) - 1),
        lanes=lanes(case, predictions),
        legend=legend(predictions, truth),
        magma=",".join(mpl.colors.to_hex(colour) for colour in magma),
        largest=str(LARGEST_DEVIATION),
        numbers=numbers_table(case, predictions, truth),
        slices=json.dumps(slice_contents(case, predictions, truth), separators=(",", ":")),
    )


def write_cohort_report(path: Path, entries: Sequence[CohortEntry]) -> Path:
    """Writes the table of all cases: errors first, then those with the largest mean uncertainty of any target.

    Args:
        path: of the HTML file, which appears whole or not at all.
        entries: in any order.

    Returns:
        The path.
    """
    targets = list(dict.fromkeys(target for entry in entries for target in entry.volumes))
    with_dice = any(entry.dice is not None for entry in entries)
    kinds = ("volume, ml", "uncertainty, %", *(["Dice"] if with_dice else []))
    headings = ["Case", *(f"{target} {kind}" for target in targets for kind in kinds), "Warnings"]
    ordered = sorted(entries, key=lambda entry: (entry.error is None, -max(entry.uncertainty.values(), default=0.0)))
    warned, failed = sum(bool(entry.warnings) for entry in entries), sum(entry.error is not None for entry in entries)
    return _write_page(
        path,
        "cohort",
        summary=f"{len(entries)} cases: {warned} with warnings, {failed} could not be predicted",
        headings="".join(
            f'<th scope="col"><button type="button">{html.escape(text)}</button></th>' for text in headings
        ),
        rows="\n".join(_cohort_row(entry, targets, with_dice) for entry in ordered),
    )


def _cohort_row(entry: CohortEntry, targets: Sequence[str], with_dice: bool) -> str:
    name = html.escape(entry.name)
    linked = name if entry.link is None else f'<a href="{html.escape(quote(entry.link))}">{name}</a>'
    cells = [f'<th scope="row" data-value="{name}">{linked}</th>']
    for target in targets:
        cells += [_number_cell(entry.volumes.get(target), 2), _number_cell(entry.uncertainty.get(target), 2)]
        cells += [_number_cell((entry.dice or {}).get(target), 3)] if with_dice else []
    return f"<tr>{''.join(cells)}{_words_cell(entry)}</tr>"


def _number_cell(value: float | None, digits: int) -> str:
    return '<td data-value=""></td>' if value is None else f'<td data-value="{value:g}">{as_text(value, digits)}</td>'


def _words_cell(entry: CohortEntry) -> str:
    """Sorts by the number of warnings, errors as the most."""
    if entry.error is not None:
        return f'<td class="words error" data-value="Infinity">Error: {html.escape(entry.error)}</td>'
    count = len(entry.warnings)
    items = "".join(f"<li>{html.escape(warning)}</li>" for warning in entry.warnings)
    shown = f"<details><summary>{count}</summary><ul>{items}</ul></details>" if count else "0"
    return f'<td class="words" data-value="{count}">{shown}</td>'


def _write_page(path: Path, page: str, **parts: str) -> Path:
    """Writes a page of ``templates/`` with its style, its script and the given parts, which are HTML."""
    template = Template((_TEMPLATES / f"{page}.html").read_text(encoding="utf-8"))
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", f"{page}.js"))
    text = template.substitute(parts, style=style, script=script)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _truth(case: Case, targets: Mapping[str, Prediction]) -> Truth | None:
    return None if case.labels is None else {target: case.target(target) for target in targets}


def _warnings(warnings: Sequence[str], positions: Mapping[int, int]) -> str:
    if not warnings:
        text = "<p>No check raised a warning, which does not mean that the result is right.</p>"
        return f'<section class="warnings none">{text}</section>'
    items = "\n".join(f"<li>{_with_jumps(warning, positions)}</li>" for warning in warnings)
    return f'<section class="warnings" aria-label="Warnings"><h2>Warnings</h2>\n<ul>\n{items}\n</ul></section>'


def _with_jumps(text: str, positions: Mapping[int, int]) -> str:
    def jump(found: re.Match[str]) -> str:
        position = positions.get(int(found[1]))
        button = f'<button type="button" class="jump" data-position="{position}">{found[0]}</button>'
        return found[0] if position is None else button

    return re.sub(r"\bslice (\d+)\b", jump, html.escape(text))
