"""Evaluation of written predictions against the ground truth, case by case."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spuproj.training.data.case import Case, load_case, load_slices
from spuproj.training.data.findings import Level
from spuproj.training.data.labels import unclear
from spuproj.training.data.patients import patient_of, shared_stems
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.data.volumes.same_grid import TOLERANCE
from spuproj.training.evaluation.metrics import CaseMaps, measure
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
from spuproj.training.inference.outputs import MAP_ENDING, MAPS, map_name
from spuproj.training.inference.predicted import changed_maps, model_of
from spuproj.training.inference.summary import LEARNED, CaseSummary, finished_summary
from spuproj.training.runtime.errors import InputError, reason_of
from spuproj.training.runtime.files import atomic_write_group, inside, refuse_overwrite, require_folder
from spuproj.training.runtime.json_file import write_json
from spuproj.training.runtime.locks import held
from spuproj.training.runtime.names import named_values, plain_name
from spuproj.training.runtime.progress import print_status, progress_bar, show
from spuproj.training.runtime.wording import some_of
from spuproj.training.workflows.prediction_files import content_of, other_images, predicted_modalities
from spuproj.uncertainty import entropy, to_percent

OUTPUTS = ("table.csv", "table.json", "table.tex", "per_case.csv", "score_curves.png", "boxes.png", "reliability.png")

_UNCERTAINTIES = {"entropy-1": "entropy", "mutual-1": "mi"}


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
    return [target for target in _targets(files) if any(map(os.path.lexists, _paths(folder, files.name, target, MAPS)))]


def _targets(files: CaseFiles) -> list[str]:
    return [] if files.scheme is None else sorted(files.scheme.targets)


def _paths(folder: Path, case: str, target: str, kinds: Sequence[str]) -> list[Path]:
    return [inside(folder, map_name(case, target, kind)) for kind in kinds]


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
                rows += _of_case(files, chosen, methods, options, advance)
            # No error of one case may stop the others.
            except Exception as error:
                chosen.failed[files.name] = reason_of(error)
    _warn_of_several_models(chosen)
    for sentence, names in chosen.warnings.items():
        print_status(f"warning: {sentence}: {some_of(names)}")
    for name, reason in chosen.failed.items():
        print_status(f"{name} failed: {reason}")
    return rows


def _of_case(
    files: CaseFiles,
    chosen: Selection,
    methods: Mapping[str, Path],
    options: EvaluationOptions,
    on_method: Callable[[str], None],
) -> list[CaseResult]:
    """The measures of a case. What may make them wrong, and which models made its maps, joins the selection."""
    summaries = {method: finished_summary(folder, files.name) for method, folder in methods.items()}
    # The brain is that of the images that were predicted: others of the case may not be skull-stripped.
    used = tuple(dict.fromkeys(name for each in summaries.values() for name in predicted_modalities(each)))
    content = content_of(files, used)
    case = load_case(files, used or None, with_labels=True, may_lack=True)
    rows = _case_rows(case, patient_of(files), methods, chosen.targets[files.name], options, on_method)
    warnings = [finding.message for finding in case.findings if finding.level <= Level.WARNING]
    for method, summary in summaries.items():
        targets = chosen.targets[files.name][method]
        if summary is not None:
            warnings += _doubts(method, methods[method], targets, summary, content)
        for target in targets:
            model = None if summary is None else model_of(summary, target)
            chosen.models[method, target][model or "unknown"].append(files.name)
    for sentence in warnings:
        chosen.warnings[sentence].append(files.name)
    return rows


def _doubts(
    method: str, folder: Path, targets: Sequence[str], summary: CaseSummary, content: Mapping[str, Any]
) -> Iterator[str]:
    """Sentences on what makes the measures of a case doubtful.

    Its images, whose content is given, or its maps have changed since it was predicted, or a model was trained on it.
    """
    if words := other_images(summary, content):
        yield f"the maps by {method} are {words} than the data hold now"
    if changed := changed_maps(folder, summary):
        kinds = ", ".join(name.removeprefix(f"{summary.entry.name}_").removesuffix(MAP_ENDING) for name in changed)
        yield f"maps by {method} have changed since they were predicted ({kinds})"
    for target, role in summary.roles.items():
        if target in targets and role in LEARNED:
            yield (
                f"the model of {target} by {method} was {LEARNED[role]} a case or patient of this name: its measures "
                "say little about others"
            )


def _warn_of_several_models(chosen: Selection) -> None:
    for (method, target), models in chosen.models.items():
        if len(models) > 1:
            told = "; ".join(f"{sha256[:12]}: {some_of(names)}" for sha256, names in models.items())
            every = [name for names in models.values() for name in names]
            chosen.warnings[f"the maps of {target} by {method} are of {len(models)} models ({told})"] += every


def _case_rows(
    case: Case,
    patient: str,
    methods: Mapping[str, Path],
    targets: Mapping[str, Sequence[str]],
    options: EvaluationOptions,
    on_method: Callable[[str], None],
) -> list[CaseResult]:
    rows = []
    for method, folder in methods.items():
        for target in targets[method]:
            metrics, curves = measure(_maps(case, target, folder, options), options.empty)
            rows.append(CaseResult(method, target, case.name, patient, metrics, curves))
        on_method(f"{case.name} {method}")
    return rows


def _maps(case: Case, target: str, folder: Path, options: EvaluationOptions) -> CaseMaps:
    kinds = ("seg", "prob", _UNCERTAINTIES.get(options.scaling, "var"))
    paths = _paths(folder, case.name, target, kinds)
    missing = [path for path in paths if not os.path.lexists(path)]
    if missing:
        raise InputError(f"{missing[0]} must be there, but is missing; predict with --maps {','.join(kinds)}")
    for path in paths:
        _require_grid(case, path)
    segmentation, probability, uncertainty = (load_slices(path) for path in paths)
    if not ((probability >= 0) & (probability <= 1)).all():
        worst = probability[~((probability >= 0) & (probability <= 1))].flat[0]
        raise InputError(f"{paths[1]} must hold probabilities from 0 to 1, but holds {worst:g}; predict the case again")
    # A single view has an entropy.
    instead = None if options.scaling == "entropy-1" else entropy(torch.from_numpy(probability.astype(float)))
    try:
        percent = to_percent(uncertainty, options.scaling, instead)
    except ValueError as error:
        raise InputError(f"{paths[2]} cannot be scaled: {error}") from None
    x, y, z = case.spacing
    return CaseMaps(
        truth=case.target(target),
        segmentation=segmentation > 0,
        probability=probability.astype(float),
        percent=percent,
        brain=case.brain,
        spacing=(z, y, x),
        without_variance=int(np.isnan(uncertainty[case.brain]).sum()),
    )


def _require_grid(case: Case, path: Path) -> None:
    """Raises InputError where a map is not on the case's grid, by its header; the order of axes does not matter."""
    grid, wanted = open_volume(ImageFile(path)).grid.lps, case.grid.lps
    if grid.shape != wanted.shape:
        raise InputError(f"{path} must have the shape of {case.name} in LPS axes, {wanted.shape}, got {grid.shape}")
    apart = wanted.distance(grid)
    if not apart <= TOLERANCE:
        raise InputError(f"{path} must be on the grid of {case.name}, but lies {apart:.3g} voxels beside it")


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
