"""Prediction of one case, or of a data set case by case, optionally shared among processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.registry import case_in, cases_in
from spuproj.training.data.splits import chosen, read_split
from spuproj.training.inference.outputs import DEFAULT_KINDS
from spuproj.training.inference.summary import CohortEntry, finished_summary, predicted_names, read_summary
from spuproj.training.report.html import is_page
from spuproj.training.report.pages import write_cohort_report
from spuproj.training.runtime.disk import DiskFullError
from spuproj.training.runtime.errors import InputError, reason_of
from spuproj.training.runtime.execution import Shard
from spuproj.training.runtime.files import inside, refuse_overwrite
from spuproj.training.runtime.leftovers import remove_all_leftovers
from spuproj.training.runtime.locks import held
from spuproj.training.runtime.progress import nested_progress_bar, print_status
from spuproj.training.workflows.prediction_files import (
    COHORT_REPORT,
    differences,
    is_there,
    require_names,
    segmentation_hash,
)
from spuproj.training.workflows.write_prediction import Task, make_task, write_prediction


@dataclass(frozen=True)
class Outcome:
    """Names of the cases that were predicted, skipped and failed, the latter with the reason."""

    predicted: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def predict(
    models: Sequence[Path] | None,
    folder: Path,
    out: Path,
    *,
    labels: str | None = None,
    aggregation: str = "mean",
    maps: Sequence[str] = DEFAULT_KINDS,
    force: bool = False,
) -> list[Path]:
    """Predicts a case with one model per target and writes maps, figure and report; on an error nothing is written.

    Args:
        models: folders of finished runs, one per target; where None, the models of the package, which a line on
            standard error says. A patient who lacks some of their modalities can be predicted where all were trained
            with augmentation; a warning says what is missing.
        folder: of a case, in any known convention; its segmentation, if there is one, is drawn dashed in the figure.
            One that cannot be used is left out, with a warning.
        out: folder of the outputs: the maps, all as ``.nii.gz`` with the input's affine and header; the report
            ``<id>_report.html``; ``<id>_summary.json`` with recipe and results; and the figure ``<id>.png``.
        labels: name of the label scheme of the case and of the merged label map, in place of the one that the files
            imply.
        aggregation: see ``spuproj.training.inference.case_prediction.segment``.
        maps: what is written: ``prob``, ``seg``, ``var``, ``entropy``, ``mi`` (mutual information) and ``members`` as
            ``<id>_<target>_<kind>``, the last with each view's probability, float32 [X, Y, Z, N], NaN where the view
            does not show a voxel; with all three targets also ``labels``, the label map ``<id>_labels``, and
            ``qubrats``, the files of a QU-BraTS submission: the label map ``<id>`` and the uncertainties
            ``<id>_unc_whole``, ``_unc_core``, ``_unc_enhance`` (0 to 100, ``variance-1``).
        force: write over existing outputs.

    Returns:
        The files written, the figure last.

    Raises:
        InputError: for a model or case that cannot be used, two models of one target, unknown maps, or existing
            outputs.
        ValueError: for an unknown aggregation.
    """
    task = make_task(models, out, aggregation, maps)
    files = case_in(folder, labels)
    require_names([files], task.targets, task.kinds, out)
    paths = [inside(out, name) for name in task.names(files)]
    if not _interrupted(out, files.name):
        refuse_overwrite(paths, force)
    remove_all_leftovers(out)
    with nested_progress_bar("Predicting", 1) as (advance, inner_steps):
        try:
            write_prediction(task, files, inner_steps)
        except DiskFullError as error:
            raise DiskFullError(f"{error}; nothing of {files.name} was written, and what was there is safe") from None
        except (ValueError, RuntimeError, OSError):
            raise
        # Other errors of libraries would not say which case they are of.
        except Exception as error:
            raise InputError(f"{files.name} cannot be predicted: {reason_of(error)}") from error
        advance(files.name)
    return paths


def predict_cohort(
    models: Sequence[Path] | None,
    data: Path,
    out: Path,
    *,
    labels: str | None = None,
    split: Path | None = None,
    fold: int = 0,
    shard: Shard = (0, 1),
    aggregation: str = "mean",
    maps: Sequence[str] = DEFAULT_KINDS,
    force: bool = False,
) -> Outcome:
    """Predicts a data set's cases one after another, as ``predict`` does, with one case in memory at a time.

    A case is finished, and skipped, where all of its files are in ``out`` and its segmentation is the same. They are
    moved there together, so that the same call continues after a killed process; files of an unfinished case are
    overwritten. A case that fails is reported, and the others are still predicted.

    One process at a time writes a case, and one a shard; another ends with an error. Where the disk is full, the
    prediction ends.

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
        InputError: for models or a data set that cannot be used, unknown maps, cases of which two would write one file,
            where ``out`` has predictions of another recipe, or another process writes to it.
        DiskFullError: where the disk of ``out`` is full; it says what is safe.
        ValueError: for an unknown aggregation.
    """
    task = make_task(models, out, aggregation, maps)
    index, count = shard
    every = cases_in(data, labels)
    cases = every if split is None else chosen(every, read_split(split, fold).test, split)
    require_names(cases, task.targets, task.kinds, out)
    outcome = Outcome()
    # No case can have a name that begins with a dot.
    part = f".shard-{index}-of-{count}" if count > 1 else ""
    with held(out, part):
        _require_own_report(out, force)
        remove_all_leftovers(out)
        todo = _unfinished(task, cases[index::count], outcome, force)
        _predict_each(task, todo, outcome, f"Predicting {data.name}" + (f" ({index}/{count})" if part else ""))
        names = dict.fromkeys([*(files.name for files in cases), *predicted_names(out)])
        entries = [_entry(out, name, outcome.failed.get(name)) for name in names]
        write_cohort_report(out / COHORT_REPORT, entries)
    return outcome


def _interrupted(out: Path, case: str) -> bool:
    """Whether a process was killed while it moved the files of a case: then the same command goes on."""
    with suppress(InputError):
        summary = read_summary(out, case)
        return summary is not None and not summary.finished
    return False


def _require_own_report(out: Path, force: bool) -> None:
    """Raises InputError where the report's name is that of a file of another kind."""
    path = out / COHORT_REPORT
    if os.path.lexists(path) and not is_page(path):
        refuse_overwrite([path], force)


def _predict_each(task: Task, todo: Sequence[CaseFiles], outcome: Outcome, what: str) -> None:
    """Predicts cases one after another. Raises DiskFullError."""
    with nested_progress_bar(what, len(todo)) as (advance, inner_steps):
        for files in todo:
            try:
                write_prediction(task, files, inner_steps)
                outcome.predicted.append(files.name)
            # The others would be computed in vain.
            except DiskFullError as error:
                raise DiskFullError(f"{error}; {_safe(outcome)}") from None
            except KeyboardInterrupt:
                print_status(f"stopped; {_safe(outcome)}")
                raise
            # No error of one case may stop the others.
            except Exception as error:
                _fail(outcome, files, error)
            advance(files.name)


def _safe(outcome: Outcome) -> str:
    finished = len(outcome.predicted) + len(outcome.skipped)
    return f"{finished} finished cases are safe, and the same command goes on with the others"


def _unfinished(task: Task, cases: Sequence[CaseFiles], outcome: Outcome, force: bool) -> list[CaseFiles]:
    """The cases that are to be predicted.

    Finished ones go to the outcome, and so do those that fail: the summary is broken, or of other images.

    Raises:
        InputError: for a case that was predicted by other models, or with other settings.
    """
    if force:
        return list(cases)
    todo = []
    for files in cases:
        try:
            older = read_summary(task.out, files.name)
            if older is None:
                # They are of another program.
                refuse_overwrite([inside(task.out, name) for name in task.names(files)], force=False)
            other = {} if older is None else differences(older.recipe, task.recipe(files))
        except InputError as error:
            _fail(outcome, files, error)
            continue
        if other:
            refusal = InputError(
                f"{task.out} must hold no predictions {' and '.join(other.values())}, but holds those of {files.name}; "
                "choose another folder, remove its files there, or pass --force to write over them"
            )
            if not other.keys() <= {"images", "mask"}:
                raise refusal
            _fail(outcome, files, refusal)
            continue
        # The report compares with the segmentation; the maps come out as they were.
        same = older is not None and older.finished and older.segmentation == segmentation_hash(files)
        if same and is_there(files, task.targets, task.kinds, task.out):
            outcome.skipped.append(files.name)
        else:
            todo.append(files)
    return todo


def _fail(outcome: Outcome, files: CaseFiles, error: Exception) -> None:
    outcome.failed[files.name] = reason_of(error)
    print_status(f"{files.name} failed: {reason_of(error)}")


def _entry(out: Path, case: str, reason: str | None) -> CohortEntry:
    """A case's entry in the report of the data set; ``reason`` is why it failed, if it did."""
    if reason is None:
        try:
            summary = finished_summary(out, case)
        except InputError as error:
            return CohortEntry(case, error=str(error))
        if summary is not None:
            return summary.entry
    return CohortEntry(case, error=reason or "it is not predicted yet, or failed in another process")
