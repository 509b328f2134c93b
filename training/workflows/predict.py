"""Prediction of one case, or of a data set case by case, optionally shared among processes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from spuproj.checks import choice
from spuproj.training.data.case import Case, load_case
from spuproj.training.data.labels import SCHEMES, LabelScheme
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.registry import case_in, cases_in
from spuproj.training.data.splits import chosen, read_split
from spuproj.training.inference.multi_view import AGGREGATIONS, Prediction, predict_case
from spuproj.training.inference.outputs import map_names, mergeable, write_maps, write_merged
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.run import CONFIG, WEIGHTS, load_run
from spuproj.training.report.figures import case_figure
from spuproj.training.report.pages import CohortEntry, entry_of, write_case_report, write_cohort_report
from spuproj.training.report.warnings import case_warnings
from spuproj.training.runtime.execution import Shard
from spuproj.training.runtime.files import InputError, atomic_write_group, read_json, refuse_overwrite, write_json
from spuproj.training.runtime.progress import MakeProgressBar, nested_progress_bar, print_status


@dataclass(frozen=True)
class Task:
    """What is the same for every case of a prediction.

    Attributes:
        runs: configuration and network of each target's model.
        recipe: the aggregation and each model's SHA-256, as JSON; outputs of another recipe are not mixed with these.
        aggregation: see ``spuproj.training.inference.multi_view.segment``.
        members: whether each view's probability is written.
        out: folder of the outputs.
    """

    runs: Sequence[tuple[ModelConfig, nn.Module]]
    recipe: Mapping[str, Any]
    aggregation: str
    members: bool
    out: Path


@dataclass(frozen=True)
class Outcome:
    """Names of the cases that were predicted, skipped and failed, the latter with the reason."""

    predicted: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def predict(
    models: Sequence[Path],
    folder: Path,
    out: Path,
    *,
    labels: str | None = None,
    aggregation: str = "mean",
    members: bool = False,
    force: bool = False,
) -> list[Path]:
    """Predicts a case with one model per target and writes maps, figure and report; on an error nothing is written.

    Args:
        models: folders of finished runs, one per target.
        folder: BraTS case folder ``<id>``; its segmentation, if there is one, is drawn dashed in the figure.
        out: folder of the outputs: ``<id>_<target>_prob``, ``_seg``, ``_var``, ``_entropy``, ``_mi`` (mutual
            information) and, with all three targets, the label map ``<id>_labels`` and the files of a QU-BraTS
            submission: the label map ``<id>`` and the uncertainties ``<id>_unc_whole``, ``_unc_core``, ``_unc_enhance``
            (0 to 100, ``variance-1``); all as ``.nii.gz`` with the input's affine and header; the report
            ``<id>_report.html``; ``<id>_summary.json`` with recipe and results; and the figure ``<id>.png``.
        labels: name of the label scheme of the case and of the merged label map, in place of the one that the files
            imply.
        aggregation: see ``spuproj.training.inference.multi_view.segment``.
        members: also write ``<id>_<target>_members``: each view's probability, float32 [X, Y, Z, N], NaN where the view
            does not show a voxel.
        force: write over existing outputs.

    Returns:
        The files written, the figure last.

    Raises:
        InputError: for a model or case that cannot be used, two models of one target, or existing outputs.
        ValueError: for an unknown aggregation.
    """
    task = _task(models, out, aggregation, members)
    files = case_in(folder, labels)
    paths = [out / name for name in _names(task, files)]
    refuse_overwrite(paths, force)
    with nested_progress_bar("Predicting", 1) as (advance, inner_steps):
        _predict_one(task, files, inner_steps)
        advance(files.name)
    return paths


def predict_cohort(
    models: Sequence[Path],
    data: Path,
    out: Path,
    *,
    labels: str | None = None,
    split: Path | None = None,
    fold: int = 0,
    shard: Shard = (0, 1),
    aggregation: str = "mean",
    members: bool = False,
    force: bool = False,
) -> Outcome:
    """Predicts a data set's cases one after another, as ``predict`` does, with one case in memory at a time.

    A case is finished, and skipped, where all of its files are in ``out``. They are moved there together, so that the
    same call continues after a killed process; files of an unfinished case are overwritten. A case that fails is
    reported, and the others are still predicted.

    At the end ``report.html`` lists the cases of all shards and those that were predicted before, for example with
    models of other folds. The last of several processes to end writes the complete list.

    Args:
        data: as ``cases_in`` takes it.
        split: file of ``spuproj split``; only its test cases are predicted.
        fold: index of the split in the file.
        shard: the part of the cases that this process predicts; several processes may write into one folder.
        force: also predict finished cases, and write over them.

    The other arguments are those of ``predict``.

    Raises:
        InputError: for models or a data set that cannot be used, or where ``out`` has predictions of another recipe.
        ValueError: for an unknown aggregation.
    """
    task = _task(models, out, aggregation, members)
    index, count = shard
    every = cases_in(data, labels)
    cases = every if split is None else chosen(every, read_split(split, fold).test)
    mine = cases[index::count]
    finished = [] if force else [files.name for files in mine if _is_finished(task, files)]
    todo = [files for files in mine if files.name not in finished]
    outcome = Outcome(skipped=finished)
    out.mkdir(parents=True, exist_ok=True)
    part = f" ({index}/{count})" if count > 1 else ""
    with nested_progress_bar(f"Predicting {data.name}{part}", len(todo)) as (advance, inner_steps):
        for files in todo:
            try:
                _predict_one(task, files, inner_steps)
                outcome.predicted.append(files.name)
            # No error of one case may stop the others.
            except Exception as error:
                outcome.failed[files.name] = _reason(error)
                print_status(f"{files.name} failed: {_reason(error)}")
            advance(files.name)
    listed = [files for files in every if files in cases or _is_there(task, files)]
    write_cohort_report(out / "report.html", [_entry(task, files, outcome.failed.get(files.name)) for files in listed])
    return outcome


def _task(models: Sequence[Path], out: Path, aggregation: str, members: bool) -> Task:
    """Loads the models. Raises as ``predict`` does."""
    choice(aggregation, AGGREGATIONS, "aggregation")
    runs = [load_run(model) for model in models]
    targets = [config.target for config, _ in runs]
    if not targets or len(set(targets)) != len(targets):
        raise InputError(f"models must be of different targets, got {', '.join(targets) or 'none'}")
    if any(config.modalities != runs[0][0].modalities for config, _ in runs):
        raise InputError("models must take the same modalities, got " + "; ".join(str(c.modalities) for c, _ in runs))
    digests = {target: _digest(model) for target, model in zip(targets, models, strict=True)}
    return Task(runs, {"aggregation": aggregation, "models": digests}, aggregation, members, out)


def _digest(model: Path) -> str:
    return hashlib.sha256((model / CONFIG).read_bytes() + (model / WEIGHTS).read_bytes()).hexdigest()


def _names(task: Task, files: CaseFiles) -> list[str]:
    """Names of a case's files, the figure last."""
    maps = map_names(files.name, [config.target for config, _ in task.runs], _scheme(files), task.members)
    return [*maps, f"{files.name}_report.html", _summary_name(files), f"{files.name}.png"]


def _summary_name(files: CaseFiles) -> str:
    return f"{files.name}_summary.json"


def _scheme(files: CaseFiles) -> LabelScheme:
    return files.scheme or SCHEMES["brats2020"]


def _is_there(task: Task, files: CaseFiles) -> bool:
    return all((task.out / name).is_file() for name in _names(task, files))


def _summary(task: Task, files: CaseFiles) -> dict[str, Any]:
    return read_json(task.out / _summary_name(files))


def _is_finished(task: Task, files: CaseFiles) -> bool:
    """Whether all of a case's files are there. Raises InputError for files of another recipe."""
    if (task.out / _summary_name(files)).is_file() and _summary(task, files)["recipe"] != task.recipe:
        raise InputError(
            f"{task.out} must hold no predictions by other models or with another aggregation, but holds those of "
            f"{files.name}; choose another folder, or pass --force to write over them"
        )
    return _is_there(task, files)


def _entry(task: Task, files: CaseFiles, reason: str | None) -> CohortEntry:
    """A case's entry in the report of the data set; ``reason`` is why it failed, if it did."""
    if reason is None and _is_there(task, files):
        return CohortEntry(**_summary(task, files)["entry"])
    return CohortEntry(files.name, error=reason or "it is not predicted yet, or failed in another process")


def _predict_one(task: Task, files: CaseFiles, show: MakeProgressBar) -> None:
    """Predicts a case and writes its files, all or none; ``show`` makes a bar over slices for each target."""
    case = load_case(files, task.runs[0][0].modalities, with_labels=_truth_is_known(task, files))
    predictions = {}
    with atomic_write_group(task.out, files.name, _summary_name(files)) as folder:
        for config, network in task.runs:
            with show(f"Predicting {config.target} of {case.name}", int(case.brain.any(axis=(1, 2)).sum())) as advance:
                prediction = predict_case(
                    config, network, case, advance, aggregation=task.aggregation, members=task.members
                )
            write_maps(folder, case, config.target, prediction)
            # Members are large: only one target's are kept in memory.
            predictions[config.target] = replace(prediction, members=None)
        if mergeable(list(predictions), _scheme(files)):
            write_merged(folder, case, predictions, _scheme(files))
        _write_pages(folder, task, case, predictions)


def _truth_is_known(task: Task, files: CaseFiles) -> bool:
    """Whether the case has a segmentation with all of the models' targets."""
    scheme = files.scheme
    return (
        files.label is not None
        and scheme is not None
        and all(config.target in scheme.targets for config, _ in task.runs)
    )


def _write_pages(folder: Path, task: Task, case: Case, predictions: dict[str, Prediction]) -> None:
    """Writes figure, report and summary."""
    truth = None if case.labels is None else {target: case.target(target) for target in predictions}
    case_figure(case, predictions, task.runs[0][0], folder / f"{case.name}.png", truth)
    warnings = case_warnings(case, predictions)
    report = write_case_report(folder / f"{case.name}_report.html", case, predictions, warnings)
    entry = asdict(entry_of(case, predictions, report.name, warnings))
    write_json(folder / f"{case.name}_summary.json", {"recipe": task.recipe, "entry": entry})


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, InputError | OSError) else f"{type(error).__name__}: {error}"
