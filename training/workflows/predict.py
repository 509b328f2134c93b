"""Prediction of one case, or of a data set case by case, optionally shared among processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spuproj.checks import choice
from spuproj.training.data.case import Case, add_labels, load_case
from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.readers.case_files import CaseFiles, lacking
from spuproj.training.data.readers.registry import case_in, cases_in
from spuproj.training.data.splits import chosen, read_split
from spuproj.training.inference.multi_view import AGGREGATIONS, Prediction
from spuproj.training.inference.nesting import predict_targets
from spuproj.training.inference.outputs import DEFAULT_KINDS, MERGED, kinds_named, mergeable, write_maps, write_merged
from spuproj.training.models.run import Run, digest, load_runs
from spuproj.training.models.trained_models import PACKAGED, trained_models
from spuproj.training.report.figures import case_figure
from spuproj.training.report.pages import CohortEntry, entry_of, write_case_report, write_cohort_report
from spuproj.training.report.warnings import case_warnings
from spuproj.training.runtime.disk import DiskFullError
from spuproj.training.runtime.execution import Shard
from spuproj.training.runtime.files import (
    InputError,
    atomic_write_group,
    inside,
    refuse_overwrite,
    require_folder,
)
from spuproj.training.runtime.leftovers import remove_all_leftovers
from spuproj.training.runtime.locks import held
from spuproj.training.runtime.progress import MakeProgressBar, nested_progress_bar, print_status
from spuproj.training.runtime.wording import reason_of
from spuproj.training.workflows.prediction_files import (
    COHORT_REPORT,
    Summary,
    differences,
    file_names,
    is_there,
    older_maps,
    read_summary,
    recipe_of,
    report_name,
    require_names,
    require_replaceable,
    scheme_of,
    segmentation_hash,
    summary_name,
    write_summary,
)


@dataclass(frozen=True)
class Task:
    """What is the same for every case of a prediction.

    Attributes:
        runs: configuration and network of each target's model.
        models: the SHA-256 of each model, by target.
        origin: where the models are from, for people.
        aggregation: see ``spuproj.training.inference.multi_view.segment``.
        kinds: of the files to write, see ``spuproj.training.inference.outputs``.
        out: folder of the outputs.
    """

    runs: Sequence[Run]
    models: Mapping[str, str]
    origin: str
    aggregation: str
    kinds: Sequence[str]
    out: Path

    @property
    def targets(self) -> list[str]:
        """Of the models."""
        return [config.target for config, _ in self.runs]

    @property
    def described(self) -> str:
        """The models, for people: where they are from, and the beginning of the SHA-256 of each."""
        return f"{self.origin} ({', '.join(f'{target}: {sha256[:12]}' for target, sha256 in self.models.items())})"

    def recipe(self, files: CaseFiles) -> dict[str, Any]:
        """What a case's maps depend on. Raises as ``recipe_of`` does."""
        return recipe_of(files, self.runs[0][0].modalities, self.models, self.aggregation)


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
        aggregation: see ``spuproj.training.inference.multi_view.segment``.
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
    task = _task(models, out, aggregation, maps)
    files = case_in(folder, labels)
    require_names([files], task.targets, task.kinds, out)
    paths = [inside(out, name) for name in file_names(files, task.targets, task.kinds)]
    refuse_overwrite(paths, force)
    remove_all_leftovers(out)
    with nested_progress_bar("Predicting", 1) as (advance, inner_steps):
        try:
            _predict_one(task, files, inner_steps)
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
    task = _task(models, out, aggregation, maps)
    index, count = shard
    every = cases_in(data, labels)
    cases = every if split is None else chosen(every, read_split(split, fold).test, split)
    require_names(cases, task.targets, task.kinds, out)
    outcome = Outcome()
    # No case can have a name that begins with a dot.
    part = f".shard-{index}-of-{count}" if count > 1 else ""
    with held(out, part):
        remove_all_leftovers(out)
        todo = _unfinished(task, cases[index::count], outcome, force)
        _predict_each(task, todo, outcome, f"Predicting {data.name}" + (f" ({index}/{count})" if part else ""))
        listed = [files for files in every if files in cases or is_there(files, task.targets, task.kinds, out)]
        entries = [_entry(task, files, outcome.failed.get(files.name)) for files in listed]
        write_cohort_report(out / COHORT_REPORT, entries)
    return outcome


def _predict_each(task: Task, todo: Sequence[CaseFiles], outcome: Outcome, what: str) -> None:
    """Predicts cases one after another. Raises DiskFullError."""
    with nested_progress_bar(what, len(todo)) as (advance, inner_steps):
        for files in todo:
            try:
                _predict_one(task, files, inner_steps)
                outcome.predicted.append(files.name)
            # The others would be computed in vain.
            except DiskFullError as error:
                finished = len(outcome.predicted) + len(outcome.skipped)
                raise DiskFullError(
                    f"{error}; {finished} finished cases are safe, and the same command goes on with the others"
                ) from None
            # No error of one case may stop the others.
            except Exception as error:
                _fail(outcome, files, error)
            advance(files.name)


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
        same = older is not None and older.segmentation == segmentation_hash(files)
        if same and is_there(files, task.targets, task.kinds, task.out):
            outcome.skipped.append(files.name)
        else:
            todo.append(files)
    return todo


def _fail(outcome: Outcome, files: CaseFiles, error: Exception) -> None:
    outcome.failed[files.name] = reason_of(error)
    print_status(f"{files.name} failed: {reason_of(error)}")


def _task(models: Sequence[Path] | None, out: Path, aggregation: str, maps: Sequence[str]) -> Task:
    """Loads the models. Raises as ``predict`` does."""
    choice(aggregation, AGGREGATIONS, "aggregation")
    kinds = kinds_named(maps)
    require_folder(out)
    folders = trained_models() if models is None else models
    runs = load_runs(folders)
    if models is None:
        print_status(f"models: {PACKAGED}; see {folders[0].parent} (card.md of each)")
    digests = {config.target: digest(folder) for (config, _), folder in zip(runs, folders, strict=True)}
    origin = PACKAGED if models is None else ", ".join(map(str, folders))
    return Task(runs, digests, origin, aggregation, kinds, out)


def _entry(task: Task, files: CaseFiles, reason: str | None) -> CohortEntry:
    """A case's entry in the report of the data set; ``reason`` is why it failed, if it did."""
    if reason is None and is_there(files, task.targets, task.kinds, task.out):
        try:
            summary = read_summary(task.out, files.name)
        except InputError as error:
            return CohortEntry(files.name, error=str(error))
        if summary is not None:
            return summary.entry
    return CohortEntry(files.name, error=reason or "it is not predicted yet, or failed in another process")


def _predict_one(task: Task, files: CaseFiles, show: MakeProgressBar) -> None:
    """Predicts a case and writes its files, all or none; ``show`` makes a bar over slices for each target."""
    written = file_names(files, task.targets, task.kinds)
    require_replaceable(task.out, written)
    with held(task.out, files.name):
        # Before anything is read: what changes from now on is noticed by the next prediction.
        recipe, segmentation = task.recipe(files), segmentation_hash(files)
        case = _loaded(task, files)
        alike, older = older_maps(task.out, files, recipe, task.targets)
        with atomic_write_group(task.out, files.name, summary_name(files.name)) as folder:
            entry = _write_case(task, files, case, folder, show)
            names = dict.fromkeys([*written, *(older if alike else ())])
            write_summary(folder, Summary(recipe, entry, tuple(names), segmentation))
            for name in older:
                if name not in names:
                    inside(task.out, name).unlink(missing_ok=True)


def _write_case(task: Task, files: CaseFiles, case: Case, folder: Path, show: MakeProgressBar) -> CohortEntry:
    """Predicts a case and writes its files to a folder, all but the summary."""
    predictions: dict[str, Prediction] = {}
    scheme, members = scheme_of(files), "members" in task.kinds
    for target, prediction in predict_targets(task.runs, case, scheme, show, task.aggregation, members):
        write_maps(folder, case, target, prediction, task.kinds)
        # Members are large, and only the maps need them.
        predictions[target] = replace(prediction, members=None)
    predictions = {target: predictions[target] for target in task.targets}
    if mergeable(predictions, scheme):
        write_merged(folder, case, predictions, scheme, task.kinds)
    return _write_pages(folder, task, case, predictions)


def case_for(runs: Sequence[Run], files: CaseFiles, with_labels: bool = False) -> Case:
    """Reads a case for models that predict it together.

    It may lack modalities where all models were trained with augmentation, see ``load_case``.

    Raises:
        InputError: as ``load_case`` does; for a modality that is missing, it says which models need it.
    """
    config = runs[0][0]
    not_augmented = [each.target for each, _ in runs if not each.augmented]
    try:
        return load_case(files, config.modalities, with_labels, config.clip, may_lack=not not_augmented)
    except InputError as error:
        missing = lacking(files, config.modalities)
        if not (missing and not_augmented):
            raise
        raise InputError(
            f"{error}; only models that were trained with augmentation predict a patient without "
            f"{', '.join(missing)}, and the model of {', '.join(not_augmented)} was not"
        ) from None


def _loaded(task: Task, files: CaseFiles) -> Case:
    """The case, with its segmentation where that can be used; where it cannot, a finding says so."""
    case, notes = case_for(task.runs, files), _notes(task, files)
    if files.label is not None and not _unknown_targets(task, files):
        try:
            case = add_labels(case, files)
        # A prediction does not need the segmentation.
        except Exception as error:
            message = f"the segmentation cannot be used, and is not shown: {reason_of(error)}"
            notes.append(Finding(Level.WARNING, message))
    return replace(case, findings=(*case.findings, *notes))


def _unknown_targets(task: Task, files: CaseFiles) -> list[str]:
    """The models' targets that the case's labels do not have."""
    known = files.scheme.targets if files.scheme is not None else ()
    return [target for target in task.targets if target not in known]


def _notes(task: Task, files: CaseFiles) -> list[Finding]:
    """Notes on a scheme that was taken for granted, and on a segmentation that is not shown."""
    notes, scheme, unknown = [], scheme_of(files), _unknown_targets(task, files)
    if files.scheme is None and mergeable(task.targets, scheme) and not set(MERGED).isdisjoint(task.kinds):
        notes.append(f"the label map has the values of {scheme.name}, since nothing tells those of the data")
    if files.label is not None and files.scheme is None:
        notes.append("the segmentation is not shown, since nothing tells what its labels mean; name them with --labels")
    elif files.label is not None and unknown:
        notes.append(f"the segmentation is not shown, since its labels do not have {', '.join(unknown)}")
    return [Finding(Level.NOTE, note) for note in notes]


def _write_pages(folder: Path, task: Task, case: Case, predictions: dict[str, Prediction]) -> CohortEntry:
    """Writes figure and report, and says serious warnings on standard error."""
    truth = None if case.labels is None else {target: case.target(target) for target in predictions}
    case_figure(case, predictions, task.runs[0][0], inside(folder, f"{case.name}.png"), truth)
    warnings = case_warnings(case, predictions)
    for warning in warnings:
        if warning.level <= Level.WARNING:
            print_status(f"{case.name}: {warning.message}")
    report = write_case_report(inside(folder, report_name(case.name)), case, predictions, warnings, task.described)
    return entry_of(case, predictions, report.name, warnings)
