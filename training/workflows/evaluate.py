"""Evaluation of written predictions against the ground truth, case by case."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from spuproj.training.data.labels import unclear
from spuproj.training.data.patients import shared_stems
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.evaluation.plots import box_plots, filtering_curves, reliability_diagram
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions
from spuproj.training.evaluation.tables import (
    console_table,
    latex,
    per_case_csv,
    summaries_of,
    summary_csv,
    summary_values,
)
from spuproj.training.inference.outputs import MAPS, map_name
from spuproj.training.runtime.errors import InputError, reason_of
from spuproj.training.runtime.files import atomic_write_group, inside, refuse_overwrite, require_folder
from spuproj.training.runtime.json_file import write_json
from spuproj.training.runtime.locks import held
from spuproj.training.runtime.names import named_values, plain_name
from spuproj.training.runtime.progress import print_status, progress_bar, show
from spuproj.training.runtime.wording import some_of
from spuproj.training.workflows.measured_case import map_paths, measured_case

OUTPUTS = ("table.csv", "table.json", "table.tex", "per_case.csv", "score_curves.png", "boxes.png", "reliability.png")


@dataclass(frozen=True)
class Selection:
    """The cases to evaluate, and what there is to tell of them.

    Attributes:
        targets: of each case that every method has predicted, the targets of each method.
        left_out: the other cases, by the reason.
        failed: why a case cannot be evaluated that should be, by its name.
        warnings: what may make measures wrong, and the cases that it holds for.
        models: by method and target, the cases of each model, by its SHA-256.
    """

    targets: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    models: dict[tuple[str, str], dict[str, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )


def evaluate(
    methods: Mapping[str, Path],
    data: Path,
    out: Path,
    *,
    labels: str | None = None,
    scaling: str = "variance-1",
    empty: str = "brats",
    force: bool = False,
) -> list[Path]:
    """Measures predictions; prints the table, and writes it with the measures of each patient and three plots.

    Cases that are not evaluated are said on standard error, and so are those that fail; the others are still measured.

    Args:
        methods: for each method's name the folder that ``spuproj predict`` wrote.
        data: cases with labels, as ``cases_in`` takes them; those that every method has predicted are evaluated.
        out: folder for the files named in ``OUTPUTS``.
        labels: name of the label scheme, where it is not the one that the files tell.
        scaling: from the maps to [0, 100], see ``spuproj.uncertainty.SCALINGS``; ``entropy-1`` takes the entropy maps,
            ``mutual-1`` those of mutual information, all others the variance maps.
        empty: convention for empty masks, see ``spuproj.training.evaluation.metrics.EMPTY``.
        force: write over existing files.

    Returns:
        The files written.

    Raises:
        InputError: where files exist, a folder is missing, or no case is predicted by all methods or can be measured;
            and, after the files are written, where some cases failed: their labels cannot be used, or a map is missing,
            broken or of another shape.
        ValueError: for an unknown scaling or convention.
    """
    require_folder(out)
    refuse_overwrite([out / name for name in OUTPUTS], force)
    options = EvaluationOptions(scaling, empty)
    for folder in methods.values():
        _require_predictions(folder)
    cases = cases_in(data, labels)
    chosen = _selection(cases, methods)
    for sentence in _left_out(cases, chosen, methods):
        print_status(sentence)
    for sentence in shared_stems([files for files in cases if files.name in chosen.targets]):
        print_status(f"warning: {sentence}")
    if not chosen.targets and not chosen.failed:
        raise InputError(
            f"{data} must hold labelled cases that every method has predicted, but none of its cases with labels has "
            f"maps in {', '.join(map(str, methods.values()))}"
        )
    rows = _measured([files for files in cases if files.name in chosen.targets], chosen, methods, options)
    count = len(chosen.targets.keys() | chosen.failed.keys())
    if not rows:
        raise InputError(f"none of {count} cases can be evaluated; {_first_of(chosen.failed)}")
    with held(out):
        _write(rows, options, out, chosen)
    if chosen.failed:
        raise InputError(
            f"{len(chosen.failed)} of {count} cases failed: {', '.join(chosen.failed)}; {out} has the measures of the "
            f"others; {_first_of(chosen.failed)}"
        )
    return [out / name for name in OUTPUTS]


def _first_of(failed: Mapping[str, str]) -> str:
    name, reason = next(iter(failed.items()))
    return f"{name}: {reason}"


def _write(rows: Sequence[CaseResult], options: EvaluationOptions, out: Path, chosen: Selection) -> None:
    """Writes all files, and then prints the table: where standard output is closed or full, the files are there."""
    summaries = summaries_of(rows)
    contents = {
        "table.csv": summary_csv(summaries).encode(),
        "table.tex": latex(rows, summaries, options).encode(),
        "per_case.csv": per_case_csv(rows).encode(),
        "score_curves.png": filtering_curves(rows, options),
        "boxes.png": box_plots(rows),
        "reliability.png": reliability_diagram(rows),
    }
    reasons = {name: reason for reason, names in chosen.left_out.items() for name in names}
    values = {**summary_values(rows, summaries, options), "not_evaluated": {**reasons, **chosen.failed}}
    values["warnings"] = dict(chosen.warnings)
    values["models"] = {f"{method} {target}": list(models) for (method, target), models in chosen.models.items()}
    with atomic_write_group(out, "", "table.json") as folder:
        for name, content in contents.items():
            inside(folder, name).write_bytes(content)
        write_json(folder / "table.json", values)
    show(console_table(rows, summaries, options))


def _selection(cases: Sequence[CaseFiles], methods: Mapping[str, Path]) -> Selection:
    """The cases that every method has predicted, and why the others are left out."""
    chosen = Selection()
    for files in cases:
        if files.label is None:
            chosen.left_out["there is no segmentation"].append(files.name)
        elif files.scheme is None:
            chosen.failed[files.name] = str(unclear(files.label))
        else:
            found = {method: _predicted(folder, files) for method, folder in methods.items()}
            lacking = [method for method, targets in found.items() if not targets]
            if lacking:
                chosen.left_out[f"without maps by {', '.join(lacking)}"].append(files.name)
            else:
                chosen.targets[files.name] = found
    return chosen


def _predicted(folder: Path, files: CaseFiles) -> list[str]:
    """The targets of a case's scheme of which a folder has any map, be it a broken one."""
    return [
        target for target in _targets(files) if any(map(os.path.lexists, map_paths(folder, files.name, target, MAPS)))
    ]


def _targets(files: CaseFiles) -> list[str]:
    return [] if files.scheme is None else sorted(files.scheme.targets)


def _left_out(cases: Sequence[CaseFiles], chosen: Selection, methods: Mapping[str, Path]) -> Iterator[str]:
    """A sentence for each reason why cases, targets of them, or maps are not evaluated."""
    for reason, names in chosen.left_out.items():
        yield f"{_count(names, 'case')} not evaluated, {reason}: {', '.join(names)}"
    every = {target for found in chosen.targets.values() for targets in found.values() for target in targets}
    for method, target in product(methods, sorted(every)):
        names = [name for name, found in chosen.targets.items() if target not in found[method]]
        if names:
            yield f"{_count(names, 'case')} not evaluated for {target}, no maps by {method}: {', '.join(names)}"
    known = {map_name(files.name, target, "seg") for files in cases for target in _targets(files)}
    references = {files.label.resolve() for files in cases if files.label is not None}
    for method, folder in methods.items():
        paths = sorted(path for path in folder.iterdir() if path.name.endswith("_seg.nii.gz"))
        others = [path.name for path in paths if path.name not in known and path.resolve() not in references]
        if others:
            yield f"{_count(others, 'map')} not evaluated, of no such case or target, by {method}: {', '.join(others)}"


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s are' if len(names) > 1 else ' is'}"


def _measured(
    cases: Sequence[CaseFiles], chosen: Selection, methods: Mapping[str, Path], options: EvaluationOptions
) -> list[CaseResult]:
    """The measures of the cases. One that fails is said, and joins those that have failed."""
    rows: list[CaseResult] = []
    with progress_bar("Evaluating", len(cases) * len(methods)) as advance:
        for files in cases:
            try:
                measured = measured_case(files, methods, chosen.targets[files.name], options, advance)
            # No error of one case may stop the others.
            except Exception as error:
                chosen.failed[files.name] = reason_of(error)
                continue
            rows += measured.rows
            for sentence in measured.warnings:
                chosen.warnings[sentence].append(files.name)
            for pair, model in measured.models.items():
                chosen.models[pair][model].append(files.name)
    _warn_of_several_models(chosen)
    for sentence, names in chosen.warnings.items():
        print_status(f"warning: {sentence}: {some_of(names)}")
    for name, reason in chosen.failed.items():
        print_status(f"{name} failed: {reason}")
    return rows


def _warn_of_several_models(chosen: Selection) -> None:
    for (method, target), models in chosen.models.items():
        if len(models) > 1:
            told = "; ".join(f"{sha256[:12]}: {some_of(names)}" for sha256, names in models.items())
            every = [name for names in models.values() for name in names]
            chosen.warnings[f"the maps of {target} by {method} are of {len(models)} models ({told})"] += every


def methods_named(entries: Sequence[str]) -> dict[str, Path]:
    """Parses entries ``NAME=FOLDER``.

    Raises:
        InputError: for other text, a name that no file can have, a repeated name or a missing folder.
    """
    methods: dict[str, Path] = {}
    for name, folder in named_values(entries, "predictions", "NAME=FOLDER"):
        if plain_name(name, "the name of a method") in methods:
            raise InputError(f"predictions must have names of their own, got {name!r} twice")
        methods[name] = Path(folder)
        _require_predictions(methods[name])
    return methods


def _require_predictions(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder} must be a folder of predictions, but there is no such folder")
