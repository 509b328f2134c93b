"""How good predictions of labelled patients are, beside the goals: ``python -m spuproj.benchmarks.real --data DIR``."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer
from rich.markup import escape
from rich.table import Table

from spuproj.benchmarks.goals import Goal
from spuproj.benchmarks.record import Record, prepare_outputs
from spuproj.benchmarks.text import goals_table
from spuproj.training.data.case import Case
from spuproj.training.data.findings import Level
from spuproj.training.data.patients import patient_of
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.evaluation.metrics import measure
from spuproj.training.evaluation.seams import edge_distance, seam, smallest_share
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.training.inference.nesting import predict_targets
from spuproj.training.models.config import ModelConfig, canvas_of, make_views
from spuproj.training.models.run import Run, load_runs
from spuproj.training.models.trained_models import trained_models
from spuproj.training.report.numbers import maps_of
from spuproj.training.runtime.errors import InputError, reason_of
from spuproj.training.runtime.json_file import write_json
from spuproj.training.runtime.progress import nested_progress_bar, print_status, show
from spuproj.training.workflows.prediction_files import scheme_of
from spuproj.training.workflows.write_prediction import case_for

# Of medians over patients: the goal, and the floor below which it is not done.
_MEDIANS = {("WT", "dice"): (0.80, 0.70), ("TC", "dice"): (0.70, 0.55), ("WT", "auroc"): (0.95, 0.90)}
_LARGEST_SEAM, _SMALLEST_VIEW = 1.3, 0.99


@dataclass(frozen=True)
class Row:
    """One target of one case.

    Attributes:
        case, patient, target: names.
        dice, sensitivity, auroc: see ``spuproj.training.evaluation.metrics.measure``; the uncertainty is the variance,
            and the entropy where there is none.
        mean_variance: over the brain.
        seam: mean variance beside the edges of views over that of their neighbourhood; 1 where no edge crosses the
            brain. See ``spuproj.training.evaluation.seams``.
        beside_edges: the part of the brain that lies beside an edge.
        smallest_view: the smallest part of any slice's brain that any view shows.
    """

    case: str
    patient: str
    target: str
    dice: float
    sensitivity: float
    auroc: float
    mean_variance: float
    seam: float
    beside_edges: float
    smallest_view: float


@dataclass(frozen=True)
class Measured:
    """What was measured of a data set.

    Attributes:
        rows: of all cases.
        seconds: of each case's prediction, by name, from reading its files.
        failed: the reasons why cases could not be measured, by name.
    """

    rows: Sequence[Row]
    seconds: Mapping[str, float]
    failed: Mapping[str, str]


def measure_cases(runs: Sequence[Run], cases: Sequence[CaseFiles]) -> Measured:
    """Predicts and measures labelled cases, and says the results of each as they come. One that fails stops no other.

    Args:
        runs: a model for each target.
        cases: with segmentations.
    """
    rows: list[Row] = []
    seconds, failed = dict[str, float](), dict[str, str]()
    with nested_progress_bar("Predicting", len(cases)) as (advance, inner_steps):
        for files in cases:
            start = time.perf_counter()
            try:
                case = case_for(runs, files, with_labels=True)
                predicted = dict(predict_targets(runs, case, scheme_of(files), inner_steps))
                seconds[files.name] = time.perf_counter() - start
                found = [_row(config, case, patient_of(files), predicted[config.target]) for config, _ in runs]
            # No error of one case may stop the others.
            except Exception as error:
                failed[files.name] = reason_of(error)
                print_status(f"{files.name} failed: {failed[files.name]}")
            else:
                rows += found
                _say(case, found, seconds[files.name])
            advance(files.name)
    return Measured(rows, seconds, failed)


def _row(config: ModelConfig, case: Case, patient: str, prediction: CasePrediction) -> Row:
    metrics, _ = measure(maps_of(case, config.target, prediction))
    canvas = canvas_of(config, case)
    shown = ~torch.isnan(make_views(config, canvas.size).view_coordinates()[0]).numpy()
    found = seam(prediction.variance, case.brain, canvas.cut(edge_distance(shown), case.size, np.inf))
    return Row(
        case=case.name,
        patient=patient,
        target=config.target,
        dice=metrics.dice,
        sensitivity=metrics.sensitivity,
        auroc=metrics.auroc,
        mean_variance=float(np.nanmean(prediction.variance[case.brain])),
        seam=found.ratio,
        beside_edges=found.share,
        smallest_view=smallest_share(canvas.cut(shown, case.size), case.brain),
    )


def _say(case: Case, rows: Sequence[Row], seconds: float) -> None:
    """Says a case's warnings and results on standard error."""
    for finding in case.findings:
        if finding.level <= Level.WARNING:
            print_status(f"{case.name}: {finding.message}")
    for row in rows:
        cells = ", ".join(f"{name} {text}" for name, text in _cells(row).items())
        print_status(f"{case.name} {row.target}: {cells}")
    print_status(f"{case.name}: predicted in {seconds:.0f} s")


def _cells(row: Row) -> dict[str, str]:
    """The measures as text, by heading."""
    return {
        "Dice": _number(row.dice),
        "sensitivity": _number(row.sensitivity),
        "AUROC": _number(row.auroc),
        "mean variance": f"{row.mean_variance:.2g}",
        "seam": _number(row.seam) if row.beside_edges else "no edge",
        "smallest view": f"{100 * row.smallest_view:.1f} %",
    }


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def medians_of(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """By target and measure the median over patients, of a patient with several cases their mean; NaN is left out."""
    frame = pd.DataFrame([asdict(row) for row in rows])
    patients = frame.groupby(["target", "patient"]).mean(numeric_only=True)
    found = patients.groupby("target", sort=False).median().to_dict("index")
    return {str(target): {str(name): float(value) for name, value in each.items()} for target, each in found.items()}


def goals_of(rows: Sequence[Row]) -> list[Goal]:
    """The goals for real patients with what was measured. A measure that is undefined for all patients was not."""
    medians = medians_of(rows) if rows else {}
    names = {"dice": "Dice", "auroc": "AUROC of wrong voxels"}
    found = []
    for (target, measure_name), (goal, floor) in _MEDIANS.items():
        value = medians.get(target, {}).get(measure_name, math.nan)
        measured = None if math.isnan(value) else value
        found.append(Goal(f"{names[measure_name]} of {target}, median over patients", measured, goal, floor, ""))
    seams = [row.seam for row in rows if not math.isnan(row.seam)]
    return [
        *found,
        Goal("largest seam of any patient", max(seams, default=None), _LARGEST_SEAM, _LARGEST_SEAM, "", True),
        Goal(
            "smallest part of a slice's brain in any view (of views that are to show it whole)",
            min((row.smallest_view for row in rows), default=None),
            _SMALLEST_VIEW,
            _SMALLEST_VIEW,
            "",
        ),
    ]


def table_of(measured: Measured) -> Table:
    """A line for each target of each case, and the medians over patients below."""
    rows, patients = measured.rows, len({row.patient for row in measured.rows})
    table = Table("case", "target", *_cells(rows[0]), title=f"{patients} patients, {len(measured.seconds)} cases")
    for row in rows:
        table.add_row(escape(row.case), escape(row.target), *_cells(row).values())
    table.add_section()
    for target, medians in medians_of(rows).items():
        row = Row("", "", target, **medians)
        table.add_row("median over patients", escape(target), *_cells(row).values())
    table.caption = f"seconds per case: {np.median(list(measured.seconds.values())):.0f} (median)"
    return table


def contents(measured: Measured, models: Mapping[str, str]) -> dict[str, Any]:
    """What the JSON file holds; ``models`` are the SHA-256 of each model by target."""
    return {
        **{name: vars(Record(()))[name] for name in ("date", "machine", "software")},
        "models": dict(models),
        "patients": len({row.patient for row in measured.rows}),
        "seconds": dict(measured.seconds),
        "medians": medians_of(measured.rows) if measured.rows else {},
        "goals": [{**asdict(goal), "outcome": goal.outcome} for goal in goals_of(measured.rows)],
        "failed": dict(measured.failed),
        "rows": [asdict(row) for row in measured.rows],
    }


def labelled(data: Path, names: Sequence[str], labels: str | None) -> list[CaseFiles]:
    """The cases of a data set that have a segmentation; of these the named ones, if any are.

    Raises:
        InputError: for data without such cases, or names of none.
    """
    every = cases_in(data, labels)
    cases = [files for files in every if files.label is not None]
    if len(cases) < len(every):
        print_status(f"{len(every) - len(cases)} of {len(every)} cases have no segmentation, and are not measured")
    if not cases:
        raise InputError(f"{data} must hold cases with segmentations, but holds none")
    lacking = [name for name in names if name not in {files.name for files in cases}]
    if lacking:
        raise InputError(f"{data} must hold the cases with segmentations {', '.join(lacking)}, but holds none so named")
    return [files for files in cases if files.name in names or not names]


def run(
    data: Annotated[Path, typer.Option(help="Data set of labelled cases, in any convention that spuproj reads.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(help="Run of 'spuproj train'. Repeat for each target. [default: the models of the package]"),
    ] = None,
    case: Annotated[list[str] | None, typer.Option(help="Name of a case to measure. Repeat. [default: all]")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file to write. [default: none]")] = None,
    labels: Annotated[str | None, typer.Option(help="Label scheme, where the names of files tell none.")] = None,
) -> None:
    """Predict labelled patients, and print how good the predictions are, beside the goals."""
    try:
        if out is not None:
            prepare_outputs([out], force=False)
        folders = model or trained_models()
        (runs, models), cases = load_runs(folders), labelled(data, case or [], labels)
    except (InputError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    measured = measure_cases(runs, cases)
    if measured.rows:
        show(table_of(measured))
        print(goals_table(goals_of(measured.rows)))
    if out is not None:
        write_json(out, contents(measured, models))
        print(out)
    if measured.failed:
        sys.exit(f"error: {len(measured.failed)} of {len(cases)} cases failed: {', '.join(measured.failed)}")


if __name__ == "__main__":
    typer.run(run)
