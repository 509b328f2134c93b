"""Study of view settings: a method and its variations, trained alike and measured on validation cases."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import nn

from spuproj import Views
from spuproj.training.data.case import Case, load_case
from spuproj.training.data.dataset import cache_cohort
from spuproj.training.data.patients import patient_of
from spuproj.training.data.readers.case_files import CaseFiles, modalities_of
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.data.splits import chosen, read_split
from spuproj.training.evaluation.calibration import calibration_error, negative_log_likelihood
from spuproj.training.evaluation.metrics import measure
from spuproj.training.evaluation.statistics import mean_of_known
from spuproj.training.evaluation.study_tables import StudyResult, console_table, study_plot, table_csv
from spuproj.training.fit.record import data_record
from spuproj.training.fit.resume import can_resume
from spuproj.training.fit.temperature import Curve, best_temperature, likelihoods
from spuproj.training.fit.train import train
from spuproj.training.inference.case_prediction import mean_probabilities, predict_case
from spuproj.training.models.config import ModelConfig, canvas_of, make_views
from spuproj.training.models.method import Method
from spuproj.training.models.run import WEIGHTS, load_run_and_digest
from spuproj.training.models.training_record import Data, read_record
from spuproj.training.report.numbers import maps_of
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import atomic_write_group, inside
from spuproj.training.runtime.json_file import read_json, write_json
from spuproj.training.runtime.locks import held
from spuproj.training.runtime.names import plain_name
from spuproj.training.runtime.progress import Advance, print_status, progress_bar, show
from spuproj.training.runtime.settings import plain_errors
from spuproj.training.workflows.study_settings import SPHERICAL, Variations, varied

SCALING = "variance-1"
RESULT = "result.json"
TABLES = ("table.csv", "table.json", "table.png")
MEASURED = (
    "dice", "score", "baseline", "auroc", "error_dice", "aurc", "flagged_90", "corrected_5", "ece", "nll",
    "without_variance",
)  # fmt: skip
"""The measures of ``measure`` in a result."""


def study(
    data: Path,
    targets: Sequence[str],
    split: Path,
    out: Path,
    *,
    method: Method,
    variations: Variations | None = None,
    fold: int = 0,
    seeds: Sequence[int] = (0,),
    labels: str | None = None,
) -> list[Path]:
    """Trains and measures a method and its variations, prints the table and writes it.

    Each target's model is measured alone: unlike in a prediction by several models, outer targets do not include inner
    ones. Finished trainings in ``out`` are not repeated, so that an interrupted study continues.

    Args:
        data: cases with labels, as ``cases_in`` takes them.
        targets: each is trained with every setting and seed.
        split: file of ``spuproj split``; its test cases are not read.
        out: folder of the runs, each with its ``result.json``, of their cache, and of ``table.csv``, ``table.json`` and
            ``table.png``.
        method: the default setting.
        variations: values by property of the method's views; ``SPHERICAL`` where None.
        fold: index of the split in the file.
        seeds: of the trainings. Their spread shows which differences between settings are meaningful.
        labels: name of the label scheme, in place of the one that the files imply.

    Returns:
        The files written.

    Raises:
        InputError: for data, a split or a variation that cannot be used, or a folder that holds runs of another study
            or of other data, or that another process writes to.
    """
    for target in targets:
        plain_name(target, "target")
    settings = varied(method, SPHERICAL if variations is None else variations)
    roles = read_split(split, fold)
    cache = out / "cache"
    cases = chosen(cases_in(data, labels), [*roles.train, *roles.validation], split)
    watched = cases[len(roles.train) :]
    results = []
    with held(out):
        with progress_bar(f"Reading {data.name}", len(cases)) as advance:
            cohort = cache_cohort(cases, modalities_of(cases), targets[0], cache, advance)
        read = data_record(cohort, roles.train, roles.validation)
        for target, (name, each), seed in product(targets, settings.items(), seeds):
            run = inside(inside(inside(out / "runs", target), name), str(seed))
            if not (run / WEIGHTS).is_file():
                number = list(settings).index(name) + 1
                print_status(f"{target}, {name}, seed {seed}: setting {number} of {len(settings)}")
                train(
                    data,
                    target,
                    run,
                    method=each,
                    split=split,
                    fold=fold,
                    seed=seed,
                    labels=labels,
                    resume=can_resume(run),
                    cache=cache,
                )
            results.append(_result(name, target, run, each, watched, read))
        _write_tables(out, results, settings)
    show(console_table(results))
    return [out / name for name in TABLES]


def _write_tables(out: Path, results: Sequence[StudyResult], settings: Mapping[str, Method]) -> None:
    """Writes the files named in ``TABLES``, all or none."""
    csv, values, plot = TABLES
    contents = {csv: table_csv(results).encode(), plot: study_plot(results)}
    with atomic_write_group(out, "", values) as folder:
        for name, content in contents.items():
            inside(folder, name).write_bytes(content)
        write_json(inside(folder, values), study_values(results, settings))


def _result(name: str, target: str, run: Path, method: Method, watched: Sequence[CaseFiles], data: Data) -> StudyResult:
    """The result of a finished run, from its file or measured; ``data`` are those of the study."""
    (config, network), model = load_run_and_digest(run)
    other = "another method" if config.method != method else ""
    if not other and read_record(run).data != data:
        other = "other cases, images or labels"
    if other:
        raise InputError(f"{run} holds a run of {other}; choose another folder for this study")
    kept = _kept_result(run / RESULT, model)
    if kept is None:
        kept = measure_setting(name, config, network, watched)
        write_json(run / RESULT, {"model": model, **asdict(kept)})
    return kept


def _kept_result(path: Path, model: str) -> StudyResult | None:
    """The result in a file; None where there is none, or it is of another model than that of this SHA-256."""
    if not os.path.lexists(path):
        return None
    try:
        content = read_json(path)
        if content.pop("model", None) != model:
            return None
        known = {key: math.nan if value is None else value for key, value in content.items()}
        with plain_errors(StudyResult, f"{path} must be a result of 'spuproj study', but is not: "):
            return TypeAdapter(StudyResult).validate_python(known)
    except InputError as error:
        raise InputError(f"{error}; remove it, and the run is measured again") from None


def measure_setting(name: str, config: ModelConfig, network: nn.Module, watched: Sequence[CaseFiles]) -> StudyResult:
    """Predicts the cases and averages their metrics."""
    rows = []
    title = f"{config.target}, {name}, seed {config.seed}"
    with progress_bar(f"Calibrating {title}", len(watched)) as advance:
        curves = [likelihoods(config, network, case) for case in _loaded(config, watched, advance)]
    with progress_bar(f"Measuring {title}", len(watched)) as advance:
        for files, case in zip(watched, _loaded(config, watched, advance), strict=True):
            # The temperature of a case is that of the other patients: visits of one are alike.
            others = [
                curve for each, curve in zip(watched, curves, strict=True) if patient_of(each) != patient_of(files)
            ]
            rows.append({**_case_row(config, network, case), **_calibrated_row(config, network, case, others)})
    means = {key: mean_of_known([row[key] for row in rows]) for key in rows[0]}
    views, temperature = len(make_views(config, config.view_size)), best_temperature(curves).value
    return StudyResult(name, config.target, config.seed, len(rows), views, temperature=temperature, **means)


def _loaded(config: ModelConfig, watched: Sequence[CaseFiles], advance: Advance) -> Iterator[Case]:
    """The cases with their labels, one at a time."""
    for files in watched:
        yield load_case(files, config.modalities, with_labels=True, clip=config.clip)
        advance(files.name)


def _case_row(config: ModelConfig, network: nn.Module, case: Case) -> dict[str, float]:
    prediction = predict_case(config, network, case, lambda _: None)
    metrics, _ = measure(maps_of(case, config.target, prediction))
    canvas = canvas_of(config, case)
    views, placed = make_views(config, canvas.size), canvas.place(case.image)
    brain = canvas.place(case.brain)
    return {
        "seen": seen(views, brain),
        "round_trip": round_trip(views, placed, brain),
        **{kind: getattr(metrics, kind) for kind in MEASURED},
    }


def _calibrated_row(config: ModelConfig, network: nn.Module, case: Case, others: Sequence[Curve]) -> dict[str, float]:
    """Calibration of a case with the temperature of the other patients' cases, NaN where there are none."""
    if not others:
        return {"calibrated_ece": math.nan, "calibrated_nll": math.nan}
    probability, temperature = np.zeros(case.brain.shape), best_temperature(others).value
    for slices, (mean,) in mean_probabilities(config, network, case, [temperature]):
        probability[slices] = mean
    inside, truth = probability[case.brain], case.target(config.target)[case.brain]
    return {
        "calibrated_ece": calibration_error(inside, truth),
        "calibrated_nll": negative_log_likelihood(inside, truth),
    }


def seen(views: Views, brain: NDArray[np.bool_]) -> float:
    """Mean number of views that show a pixel of the brain ``[Z, H, W]``."""
    _, _, count = views.reduce(torch.ones(1, len(views), 1, *views.view_size))
    return float((count[0, 0].numpy() * brain).sum() / brain.sum())


def round_trip(views: Views, slices: NDArray[np.float32], brain: NDArray[np.bool_]) -> float:
    """Root mean square error of projecting slices ``[Z, C, H, W]`` and averaging the views back, over the brain."""
    squares, count = 0.0, 0
    for index in np.flatnonzero(brain.any(axis=(1, 2))):
        image = torch.from_numpy(slices[index])[None]
        back, _, _ = views.reduce(views.project(image))
        lost = (back - image)[0][:, torch.from_numpy(brain[index])]
        squares, count = squares + float(lost.square().sum()), count + lost.numel()
    return math.sqrt(squares / count)


def study_values(results: Sequence[StudyResult], settings: Mapping[str, Method]) -> dict[str, Any]:
    """Contents of ``table.json``: scaling of uncertainty, method of each setting, results."""
    return {
        "scaling": SCALING,
        "settings": {name: asdict(method) for name, method in settings.items()},
        "results": [asdict(each) for each in results],
    }
