"""The command line. Commands import what they run when they run: MONAI alone takes seconds to import."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from spuproj import PROFILES, Views, info

if TYPE_CHECKING:
    from spuproj.training.methods import Method

app = typer.Typer(
    help="Spherical image projection for uncertainty in medical segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Profile = Enum("Profile", {name: name for name in PROFILES}, type=str)  # type: ignore[misc]
Force = Annotated[bool, typer.Option("--force", help="Write over existing outputs.")]
Labels = Annotated[
    str | None,
    typer.Option(help="Label scheme: brats2020, brats2023, brats2024, nnunet or msd; default what the files tell."),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]


def run() -> None:
    """Runs the command line; exits with 1, and the reason on standard error, where the input cannot be used."""
    try:
        app()
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")


@app.command("info")
def show_info() -> None:
    """Print versions, backends, which one runs and why, SIMD level and threads."""
    print(info.text())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("demo"),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Do the whole job on made-up patients: cohort, three models, one unseen patient, its maps and picture."""
    from spuproj.training.demo import run_demo

    run_demo(out, seed=seed, force=force)


@app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="Folder of the cohort.")],
    cases: Annotated[int, typer.Option(help="Number of patients.")] = 10,
    seed: Seed = 0,
    spacing: Annotated[float, typer.Option(help="Voxel size in mm, 1 to 8; 1 gives 240 x 240 x 155.")] = 1.0,
    force: Force = False,
) -> None:
    """Make BraTS-style patients on real anatomy (MNI152) with grown tumours."""
    from spuproj.training.phantom import write_cohort
    from spuproj.training.progress import steps

    with steps("Growing phantoms", cases) as advance:
        write_cohort(out, cases, seed, spacing, force=force, on_case=advance)


@app.command()
def check(
    data: Annotated[Path, typer.Argument(help="Folder of BraTS cases, folder in nnU-Net's raw format, or manifest.")],
    labels: Labels = None,
) -> None:
    """Read a whole data set and list everything that training would trip over; exits with 1 if there is any of it."""
    from spuproj.training.check import check_data, text
    from spuproj.training.progress import steps
    from spuproj.training.readers import cases_in

    cases = cases_in(data, labels)
    with steps(f"Reading {data.name}", len(cases)) as advance:
        problems = check_data(cases, advance)
    print(text(len(cases), problems))
    if any(problem.fatal for problem in problems):
        sys.exit(1)


@app.command()
def split(
    data: Annotated[Path, typer.Argument(help="Folder of BraTS cases, folder in nnU-Net's raw format, or manifest.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    folds: Annotated[int | None, typer.Option(help="Cross-validation with so many folds.")] = None,
    validation: Annotated[int | None, typer.Option(help="Patients that validate, in one split.")] = None,
    test: Annotated[int | None, typer.Option(help="Patients that test, in one split.")] = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Write who trains, validates and tests, by patient: either folds, or one split."""
    from spuproj.training import splits
    from spuproj.training.files import InputError
    from spuproj.training.readers import cases_in

    cases = cases_in(data)
    if folds is not None and validation is None and test is None:
        made = splits.folds(cases, folds, seed)
    elif folds is None and validation is not None and test is not None:
        made = [splits.fixed_split(cases, validation, test, seed)]
    else:
        raise InputError("split must be given either --folds, or --validation and --test")
    splits.write_splits(out, made, seed, force=force)
    for number, one in enumerate(made):
        print(f"fold {number}: {len(one.train)} train, {len(one.validation)} validate, {len(one.test)} test")


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of BraTS cases, folder in nnU-Net's raw format, or manifest.")],
    target: Annotated[str, typer.Option(help="What to segment: ET, TC, WT, or a target of the manifest's own.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    method: Annotated[str, typer.Option(help="spu, unet_tta, lsu, or a file .json like theirs.")] = "spu",
    epochs: Annotated[int | None, typer.Option(help="Passes over the data; default the method's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Slices per step; default the method's.")] = None,
    validation: Annotated[int | None, typer.Option(help="Cases held out to watch the Dice; default 1 in 5.")] = None,
    split: Annotated[Path | None, typer.Option(help="File of 'spuproj split', in place of --validation.")] = None,
    fold: Annotated[int, typer.Option(help="Which of the file's splits.")] = 0,
    labels: Labels = None,
    seed: Seed = 0,
    devices: Annotated[str, typer.Option(help="GPUs of a node to train on, or 'auto' for all.")] = "1",
    nodes: Annotated[int, typer.Option(help="Machines to train on.")] = 1,
    precision: Annotated[str, typer.Option(help="32, bf16 or 16: bits of the convolutions.")] = "32",
    channels_last: Annotated[bool, typer.Option("--channels-last", help="As tensor cores want images.")] = False,
    compile: Annotated[bool, typer.Option("--compile", help="Make kernels for the network (torch.compile).")] = False,
    workers: Annotated[int, typer.Option(help="Processes that load batches.")] = 0,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps the slices for other trainings.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    force: Force = False,
) -> None:
    """Train one target's U-Net on slices, each seen through one of the method's views at every step."""
    from spuproj.training.hardware import Hardware
    from spuproj.training.processes import rank
    from spuproj.training.trainer import train as run_training

    run_training(
        data,
        target,
        out,
        method=_method(method, epochs, batch_size),
        validation=validation,
        split=split,
        fold=fold,
        seed=seed,
        labels=labels,
        force=force,
        resume=resume,
        cache=cache,
        hardware=Hardware(
            devices=int(devices) if devices.isdecimal() else devices,
            nodes=nodes,
            precision=precision,
            channels_last=channels_last,
            compile=compile,
            workers=workers,
        ),
    )
    if rank() == 0:
        print(f"model {out}")


@app.command()
def predict(
    model: Annotated[list[Path], typer.Option(help="Run of 'spuproj train'; once per target.")],
    out: Annotated[Path, typer.Option(help="Folder of the maps, pictures and reports.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of BraTS cases, folder in nnU-Net's raw format, or manifest.")
    ] = None,
    case: Annotated[Path | None, typer.Option(help="One case: folder <id> with <id>_t1.nii.gz and so on.")] = None,
    split: Annotated[
        Path | None, typer.Option(help="File of 'spuproj split': of --data, its test cases alone.")
    ] = None,
    fold: Annotated[int, typer.Option(help="Which of the file's splits.")] = 0,
    shard: Annotated[
        str | None,
        typer.Option(help="I/N: of --data's cases I, I+N, I+2N, ...; default what torchrun or Slurm say, else 0/1."),
    ] = None,
    aggregation: Annotated[
        str, typer.Option(help="mean: where the mean probability is above 1/2; otsu: above Otsu's threshold of it.")
    ] = "mean",
    members: Annotated[bool, typer.Option("--members", help="Write each view's probability too.")] = False,
    labels: Labels = None,
    force: Force = False,
) -> None:
    """Segment patients from all views; write maps of probability and uncertainty, a picture and a report of each.

    Give either --case, or --data for a whole data set: finished cases are skipped,
    one that fails is reported, the others are done, and the command exits with 1.
    """
    from spuproj.training import prediction
    from spuproj.training.files import InputError
    from spuproj.training.shards import shard_of

    asked = {"labels": labels, "aggregation": aggregation, "members": members, "force": force}
    if (data is None) == (case is None):
        raise InputError(f"predict must be given either --data or --case, got {'neither' if data is None else 'both'}")
    if case is not None:
        for name, value in (("shard", shard), ("split", split)):
            if value is not None:
                raise InputError(f"{name} must come with --data, got {value} with --case")
        for path in prediction.predict(model, case, out, **asked):
            print(path)
        return
    outcome = prediction.predict_cohort(model, data, out, split=split, fold=fold, shard=shard_of(shard), **asked)
    predicted, skipped, failed = map(len, (outcome.predicted, outcome.skipped, outcome.failed))
    print(f"{predicted} predicted, {skipped} skipped (finished before), {failed} failed: {out}")
    if failed:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in outcome.failed.items())
        sys.exit(f"error: {failed} of {predicted + skipped + failed} cases failed{reasons}")


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Cases with labels: a folder of BraTS cases, or any other data set.")],
    predictions: Annotated[list[str], typer.Option(help="NAME=FOLDER of what predict wrote; once per method.")],
    out: Annotated[Path, typer.Option(help="Folder of the tables and pictures.")],
    scaling: Annotated[
        str, typer.Option(help="From maps to [0, 100]: variance-1, std-1, entropy-1, mutual-1, maximum-1.")
    ] = "variance-1",
    empty: Annotated[str, typer.Option(help="Convention for empty masks: brats (both empty is 1) or nan.")] = "brats",
    labels: Labels = None,
    force: Force = False,
) -> None:
    """Measure predictions: Dice, distances, the QU-BraTS score and more, patient by patient, and compare methods."""
    from spuproj.training.evaluation import evaluate as run_evaluation
    from spuproj.training.evaluation import methods_named

    written = run_evaluation(
        methods_named(predictions), data, out, labels=labels, scaling=scaling, empty=empty, force=force
    )
    for path in written:
        print(path)


@app.command()
def study(
    data: Annotated[Path, typer.Option(help="Cases with labels: a folder of BraTS cases, or any other data set.")],
    split: Annotated[Path, typer.Option(help="File of 'spuproj split'; its validation cases are measured.")],
    out: Annotated[Path, typer.Option(help="Folder of the runs and the table; what is in it is not trained again.")],
    target: Annotated[list[str], typer.Option(help="What to segment; once per target.")],
    method: Annotated[str, typer.Option(help="The method to vary: spu, unet_tta, lsu, or a file .json.")] = "spu",
    vary: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE,VALUE of its views, such as radius=0.3,0.7 or grid=2x2; once per property."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data; default the method's.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Slices per step; default the method's.")] = None,
    fold: Annotated[int, typer.Option(help="Which of the file's splits.")] = 0,
    labels: Labels = None,
    seed: Annotated[list[int] | None, typer.Option(help="Of the trainings; once per seed. Default 0.")] = None,
) -> None:
    """Find which views are best: train a method and its variations, and measure them on the validation cases."""
    from spuproj.training.study import study as run_study
    from spuproj.training.variations import variations_named

    written = run_study(
        data,
        target,
        split,
        out,
        method=_method(method, epochs, batch_size),
        variations=variations_named(vary) if vary else None,
        fold=fold,
        seeds=seed or [0],
        labels=labels,
    )
    for path in written:
        print(path)


@app.command()
def bench(
    out: Annotated[Path, typer.Option(help="Folder of the JSON file and the two pictures.")] = Path("bench"),
    short: Annotated[bool, typer.Option("--short", help="Small shapes, to check results; times mean nothing.")] = False,
    force: Force = False,
) -> None:
    """Time every op against its peers and against copying as many bytes; print a table, write JSON and pictures."""
    from spuproj.benchmarks.__main__ import run_bench

    for path in run_bench(out, short=short, force=force):
        print(path)


@app.command()
def project(
    input: Annotated[Path, typer.Option("--input", help="Any NIfTI volume.")],
    slice: Annotated[int, typer.Option("--slice", help="Axial slice, counted from the feet.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    grid: Annotated[tuple[int, int], typer.Option(help="Rows and columns of centres over the head.")] = (3, 3),
    radius: Annotated[
        float | None, typer.Option(help="Sphere's radius in pixels; default half the larger side.")
    ] = None,
    lift: Annotated[Profile, typer.Option(help="Profile from the slice to the sphere.")] = Profile.gnomonic,
    chart: Annotated[Profile, typer.Option(help="Profile from the sphere to the view.")] = Profile.equidistant,
    force: Force = False,
) -> None:
    """Show the spherical views of one slice of any NIfTI volume."""
    from spuproj.training.files import InputError, load_nifti, read_volume, refuse_overwrite, to_lps
    from spuproj.training.pictures import views_sheet

    refuse_overwrite([out], force)
    image = load_nifti(input)
    volume = to_lps(read_volume(image, input), image)
    if not 0 <= slice < volume.shape[2]:
        raise InputError(f"slice must lie in [0, {volume.shape[2] - 1}], got {slice}")
    plane = np.ascontiguousarray(volume[:, :, slice].T)
    views = Views.spherical(
        plane.shape, grid=grid, box=_foreground(plane), radius=radius, lift=lift.value, chart=chart.value
    )
    title = f"{input.name}, slice {slice}: {lift.value} to {chart.value}"
    print(views_sheet(plane, views, grid[1], title, out))


def _method(name: str, epochs: int | None, batch_size: int | None) -> Method:
    """A method by name, with epochs and batch size of one's own where they are given."""
    from spuproj.training.methods import method_named

    given = {"epochs": epochs, "batch_size": batch_size}
    return replace(method_named(name), **{name: value for name, value in given.items() if value is not None})


def _foreground(plane: np.ndarray) -> tuple[float, float, float, float]:
    """Bounding box (y0, x0, y1, x1) of what differs from the corner's value, or the whole slice."""
    shown = np.isfinite(plane) & (plane != plane[0, 0])
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if rows.size == 0:
        return 0, 0, plane.shape[0] - 1, plane.shape[1] - 1
    return float(rows[0]), float(columns[0]), float(rows[-1]), float(columns[-1])
