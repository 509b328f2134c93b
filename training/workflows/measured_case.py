"""The measures of a case's written maps, and what makes them doubtful."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from spuproj.training.data.case import Case, load_case, load_slices
from spuproj.training.data.findings import Level
from spuproj.training.data.patients import patient_of
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.data.volumes.same_grid import TOLERANCE
from spuproj.training.evaluation.metrics import CaseMaps, measure
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions
from spuproj.training.inference.outputs import MAP_ENDING, map_name
from spuproj.training.inference.predicted import changed_maps, model_of
from spuproj.training.inference.summary import LEARNED, CaseSummary, finished_summary
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import inside
from spuproj.training.workflows.prediction_files import content_of, other_images, predicted_modalities
from spuproj.uncertainty import entropy, to_percent

_UNCERTAINTIES = {"entropy-1": "entropy", "mutual-1": "mi"}


class MeasuredCase(NamedTuple):
    """What a case's maps are worth.

    Attributes:
        rows: the measures of each method and target.
        warnings: what may make them wrong.
        models: by method and target, the SHA-256 of the model that made the maps, or ``"unknown"``.
    """

    rows: list[CaseResult]
    warnings: list[str]
    models: dict[tuple[str, str], str]


def measured_case(
    files: CaseFiles,
    methods: Mapping[str, Path],
    targets: Mapping[str, Sequence[str]],
    options: EvaluationOptions,
    on_method: Callable[[str], None],
) -> MeasuredCase:
    """Measures a case's maps against its segmentation.

    Args:
        files: of the case, with a segmentation and its scheme.
        methods: for each method's name the folder of its maps.
        targets: of each method.
        options: of the evaluation.
        on_method: called after each method.

    Raises:
        InputError: for a segmentation or a map that cannot be used.
    """
    summaries = {method: finished_summary(folder, files.name) for method, folder in methods.items()}
    # The brain is that of the images that were predicted: others of the case may not be skull-stripped.
    used = tuple(dict.fromkeys(name for each in summaries.values() for name in predicted_modalities(each)))
    content = content_of(files, used)
    case = load_case(files, used or None, with_labels=True, may_lack=True)
    rows = _case_rows(case, patient_of(files), methods, targets, options, on_method)
    warnings = [finding.message for finding in case.findings if finding.level <= Level.WARNING]
    models = {}
    for method, summary in summaries.items():
        if summary is not None:
            warnings += _doubts(method, methods[method], targets[method], summary, content)
        for target in targets[method]:
            models[method, target] = (summary and model_of(summary, target)) or "unknown"
    return MeasuredCase(rows, warnings, models)


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


def map_paths(folder: Path, case: str, target: str, kinds: Sequence[str]) -> list[Path]:
    """The files of a target's maps, whether they are there or not."""
    return [inside(folder, map_name(case, target, kind)) for kind in kinds]


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
    paths = map_paths(folder, case.name, target, kinds)
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
