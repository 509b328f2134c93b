"""Commands that train models and predict with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from spuproj_cli.options import DATA, LABELLED_DATA, METHOD, SPLIT_FOLD, BatchSize, Epochs, Force, Labels, Seed


def train(
    data: Annotated[Path, typer.Option(help=LABELLED_DATA)],
    target: Annotated[str, typer.Option(help="Target to segment: ET, TC or WT, or one of the data's own.")],
    out: Annotated[Path, typer.Option(help="Folder to write the run to: configuration, weights, record and logs.")],
    method: Annotated[str, typer.Option(help=METHOD)] = "spu",
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    validation: Annotated[
        int | None,
        typer.Option(
            help="Number of cases to validate on, drawn by the seed. [default: one in five]", show_default=False
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            help="File of 'spuproj split' that names the cases, instead of --validation. Test cases are not read."
        ),
    ] = None,
    fold: Annotated[int | None, typer.Option(help=SPLIT_FOLD, show_default=False)] = None,
    labels: Labels = None,
    seed: Seed = 0,
    devices: Annotated[
        str, typer.Option(help="Number of GPUs per node (without GPUs: of processes), or 'auto' for all GPUs.")
    ] = "1",
    nodes: Annotated[int, typer.Option(help="Number of nodes (machines).")] = 1,
    precision: Annotated[
        Literal["32", "bf16", "16"],
        typer.Option(help="Bits of the convolutions; weights and loss stay in 32. 16 needs a GPU."),
    ] = "32",
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Use the channels-last memory format, which suits tensor cores.")
    ] = False,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network (torch.compile). Needs a C++ compiler.")
    ] = False,
    workers: Annotated[
        int, typer.Option(help="Processes that load batches; with 0 the training process loads them.")
    ] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps the preprocessed slices for other trainings on the same data. "
            "[default: in the run's folder, removed at the end]",
            show_default=False,
        ),
    ] = None,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment/--no-augment",
            help="Flip, deform, blur and change training slices, and leave out modalities, alike for every method.",
        ),
    ] = True,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="After the training, fit a temperature on the validation cases, which corrects probabilities that are "
            "too sure or too unsure. It is kept with the model. With --resume, a finished model is calibrated.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a stopped training after its last complete epoch.")
    ] = False,
    force: Force = False,
) -> None:
    """Train a U-Net that segments one target.

    It is trained on 2D slices, each seen through one view of the method. Prints the folder of the model.
    """
    if force and resume:
        raise typer.BadParameter("train takes --force, which starts over, or --resume, but not both")
    if split is not None and validation is not None:
        raise typer.BadParameter("train takes --split, which names the validation cases, or --validation, but not both")
    _require_split(split, fold)
    from spuproj.training.fit.train import train as run_training
    from spuproj.training.models.method import load_method
    from spuproj.training.runtime.execution import Hardware, rank

    run_training(
        data,
        target,
        out,
        method=load_method(method, epochs=epochs, batch_size=batch_size),
        validation=validation,
        split=split,
        fold=fold or 0,
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
        augment=augment,
        calibrate=calibrate,
    )
    if rank() == 0:
        print(f"model {out}")


def predict(
    out: Annotated[Path, typer.Option(help="Folder to write the maps, figures and reports to.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of a finished 'spuproj train'. Repeat for each target. [default: the three models of the "
            "package, ET, TC and WT, trained only on phantoms]",
            show_default=False,
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help=DATA)] = None,
    case: Annotated[Path | None, typer.Option(help="One case instead of --data: the folder with its files.")] = None,
    split: Annotated[
        Path | None, typer.Option(help="File of 'spuproj split': predict only the test cases of --data.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help=SPLIT_FOLD, show_default=False)] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Predict only cases I, I+N, I+2N, ... of --data, with I from 0. [default: this process's share under "
            "torchrun or Slurm, otherwise all]",
            show_default=False,
        ),
    ] = None,
    aggregation: Annotated[
        Literal["mean", "otsu"],
        typer.Option(
            help="Segment where the mean probability over the views exceeds 1/2 (mean) or its Otsu threshold (otsu)."
        ),
    ] = "mean",
    maps: Annotated[
        str,
        typer.Option(
            metavar="KIND,...",
            help="What is written of each patient: prob (probability), seg (segmentation), var (variance), entropy, mi "
            "(mutual information), members (the probability of every view), labels (label map of all targets), qubrats "
            "(files of a QU-BraTS submission).",
        ),
    ] = "prob,seg,var,entropy,mi,labels,qubrats",
    labels: Labels = None,
    force: Force = False,
) -> None:
    """Segment patients and map the uncertainty.

    Writes maps of probability and uncertainty, a figure and a report for each patient.

    Give either --case, or --data for a data set: there, finished cases are skipped (--force predicts them again), and
    a case that fails does not stop the others, but the command then exits with 1.
    """
    if (data is None) == (case is None):
        got = "neither" if data is None else "both"
        raise typer.BadParameter(f"predict needs either --data or --case, got {got}")
    for name, value in (("--shard", shard), ("--split", split), ("--fold", fold)):
        if data is None and value is not None:
            raise typer.BadParameter(f"{name} needs --data, got --case")
    _require_split(split, fold)
    from spuproj.training.runtime.execution import shard_of
    from spuproj.training.workflows.predict import predict as run_predict
    from spuproj.training.workflows.predict import predict_cohort

    if case is not None:
        for path in run_predict(
            model or None, case, out, labels=labels, aggregation=aggregation, maps=maps.split(","), force=force
        ):
            print(path)
        return
    assert data is not None
    outcome = predict_cohort(
        model or None,
        data,
        out,
        labels=labels,
        split=split,
        fold=fold or 0,
        shard=shard_of(shard),
        aggregation=aggregation,
        maps=maps.split(","),
        force=force,
    )
    predicted, skipped, failed = map(len, (outcome.predicted, outcome.skipped, outcome.failed))
    print(f"{predicted} predicted, {skipped} skipped (finished before), {failed} failed: {out}")
    if failed:
        sys.exit(f"error: {failed} of {predicted + skipped + failed} cases failed: {', '.join(outcome.failed)}")


def _require_split(split: Path | None, fold: int | None) -> None:
    if split is None and fold is not None:
        raise typer.BadParameter("--fold needs --split, the file of which it is a fold")
