"""Predicts a case with several models and writes its files, all or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spuproj.checks import choice
from spuproj.training.data.case import Case, add_labels, load_case
from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.patients import patient_named, patient_of
from spuproj.training.data.readers.case_files import CaseFiles, lacking
from spuproj.training.data.volumes.content import content_hash
from spuproj.training.inference.case_prediction import AGGREGATIONS, CasePrediction
from spuproj.training.inference.nesting import predict_targets
from spuproj.training.inference.outputs import MERGED, kinds_named, mergeable, write_maps, write_merged
from spuproj.training.inference.summary import (
    LEARNED,
    CaseSummary,
    CohortEntry,
    read_summary,
    report_name,
    summary_name,
    write_summary,
)
from spuproj.training.models.run import Run, load_runs
from spuproj.training.models.trained_models import PACKAGED, trained_models
from spuproj.training.models.training_record import roles_of
from spuproj.training.report.figures import case_figure
from spuproj.training.report.pages import entry_of, write_case_report
from spuproj.training.report.warnings import case_warnings
from spuproj.training.runtime.errors import InputError, reason_of
from spuproj.training.runtime.files import UNFINISHED, atomic_write_group, inside, require_folder, require_replaceable
from spuproj.training.runtime.locks import held
from spuproj.training.runtime.progress import MakeProgressBar, print_status
from spuproj.training.workflows.prediction_files import (
    file_names,
    older_maps,
    possible_maps,
    recipe_of,
    scheme_of,
    segmentation_hash,
)


@dataclass(frozen=True)
class Task:
    """What is the same for every case of a prediction.

    Attributes:
        runs: configuration and network of each target's model.
        models: the SHA-256 of each model, by target.
        learned: by target, the cases that the model was trained or validated on, see ``roles_of``.
        origin: where the models are from, for people.
        aggregation: see ``spuproj.training.inference.case_prediction.segment``.
        kinds: of the files to write, see ``spuproj.training.inference.outputs``.
        out: folder of the outputs.
    """

    runs: Sequence[Run]
    models: Mapping[str, str]
    learned: Mapping[str, Mapping[str, str]]
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

    def roles(self, files: CaseFiles) -> dict[str, str]:
        """The role of a case, or of a visit of its patient, in the training of each target's model that had it."""
        found = {}
        for target, roles in self.learned.items():
            patients = {patient_named(name): role for name, role in roles.items()}
            role = roles.get(files.name) or patients.get(patient_of(files))
            if role is not None:
                found[target] = role
        return found

    def recipe(self, files: CaseFiles) -> dict[str, Any]:
        """What a case's maps depend on. Raises as ``recipe_of`` does."""
        return recipe_of(files, self.runs[0][0].modalities, self.models, self.aggregation)

    def names(self, files: CaseFiles) -> list[str]:
        """Names of a case's files, the figure last. Raises as ``file_names`` does."""
        return file_names(files, self.targets, self.kinds)


def make_task(models: Sequence[Path] | None, out: Path, aggregation: str, maps: Sequence[str]) -> Task:
    """Loads the models. Raises as ``predict`` does."""
    choice(aggregation, AGGREGATIONS, "aggregation")
    kinds = kinds_named(maps)
    require_folder(out)
    folders = trained_models() if models is None else models
    runs, digests = load_runs(folders)
    if models is None:
        print_status(f"models: {PACKAGED}; see {folders[0].parent} (card.md of each)")
    origin = PACKAGED if models is None else ", ".join(map(str, folders))
    learned = {config.target: roles_of(folder) for (config, _), folder in zip(runs, folders, strict=True)}
    return Task(runs, digests, learned, origin, aggregation, kinds, out)


def write_prediction(task: Task, files: CaseFiles, show: MakeProgressBar) -> None:
    """Predicts a case and writes its files, all or none; ``show`` makes a bar over slices for each target."""
    written = task.names(files)
    require_replaceable(task.out, written)
    with held(task.out, files.name):
        # Before anything is read: what changes from now on is noticed by the next prediction.
        recipe, segmentation = task.recipe(files), segmentation_hash(files)
        roles = task.roles(files)
        case = _loaded(task, files, roles)
        older, kept = _older(task, files, recipe)
        outdated = [name for name in older if name not in written and name not in kept]
        last = summary_name(files.name)
        with atomic_write_group(task.out, files.name, last, outdated) as folder:
            entry = _write_case(task, files, case, folder, show)
            hashes = dict(sorted({**kept, **{path.name: content_hash(path) for path in folder.iterdir()}}.items()))
            summary = CaseSummary(recipe, entry, hashes, segmentation, patient_of(files), roles)
            write_summary(inside(folder, last), summary)
            # Older files that are not yet replaced must not be read as data either.
            every = dict.fromkeys(older, "") | hashes
            write_summary(folder / UNFINISHED, replace(summary, files=every, finished=False))


def _older(task: Task, files: CaseFiles, recipe: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Names of a case's older maps, and of those that are of this recipe, which stay, with their SHA-256."""
    try:
        summary = read_summary(task.out, files.name)
    except InputError:
        # It is broken: all that the maps can be.
        return possible_maps(files, task.targets), {}
    if summary is None:
        return [], {}
    older = older_maps(summary, files, task.out, task.targets)
    alike = summary.finished and summary.recipe == recipe
    return older, {name: summary.files[name] for name in older} if alike else {}


def _write_case(task: Task, files: CaseFiles, case: Case, folder: Path, show: MakeProgressBar) -> CohortEntry:
    """Predicts a case and writes its files to a folder, all but the summary."""
    predictions: dict[str, CasePrediction] = {}
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


def _loaded(task: Task, files: CaseFiles, roles: Mapping[str, str]) -> Case:
    """The case, with its segmentation where that can be used; where it cannot, a finding says so."""
    case, notes = case_for(task.runs, files), _notes(task, files, roles)
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


def _notes(task: Task, files: CaseFiles, roles: Mapping[str, str]) -> list[Finding]:
    """Notes on a scheme that was taken for granted, a segmentation that is not shown, and a case that models know."""
    notes, scheme, unknown = [], scheme_of(files), _unknown_targets(task, files)
    if files.scheme is None and mergeable(task.targets, scheme) and not set(MERGED).isdisjoint(task.kinds):
        notes.append(f"the label map has the values of {scheme.name}, since nothing tells those of the data")
    if files.label is not None and files.scheme is None:
        notes.append("the segmentation is not shown, since nothing tells what its labels mean; name them with --labels")
    elif files.label is not None and unknown:
        notes.append(f"the segmentation is not shown, since its labels do not have {', '.join(unknown)}")
    for role, words in LEARNED.items():
        if targets := [target for target, each in roles.items() if each == role]:
            notes.append(f"the model of {', '.join(targets)} was {words} a case or patient of this name")
    return [Finding(Level.NOTE, note) for note in notes]


def _write_pages(folder: Path, task: Task, case: Case, predictions: dict[str, CasePrediction]) -> CohortEntry:
    """Writes figure and report, and says serious warnings on standard error."""
    truth = None if case.labels is None else {target: case.target(target) for target in predictions}
    case_figure(case, predictions, task.runs[0][0], inside(folder, f"{case.name}.png"), truth)
    warnings = case_warnings(case, predictions)
    for warning in warnings:
        if warning.level <= Level.WARNING:
            print_status(f"{case.name}: {warning.message}")
    report = write_case_report(inside(folder, report_name(case.name)), case, predictions, warnings, task.described)
    return entry_of(case, predictions, report.name, warnings)
