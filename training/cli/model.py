"""Commands that train models and predict with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spuproj.training.cli.options import Force, Labels, Seed


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
    from spuproj.training.runtime.execution import shard_of
    from spuproj.training.runtime.files import InputError
    from spuproj.training.workflows.predict import predict as run_predict
    from spuproj.training.workflows.predict import predict_cohort

    if case is not None and data is None:
        for name, value in (("shard", shard), ("split", split)):
            if value is not None:
                raise InputError(f"{name} must come with --data, got {value} with --case")
        for path in run_predict(model, case, out, labels=labels, aggregation=aggregation, members=members, force=force):
            print(path)
        return
    if data is None or case is not None:
        raise InputError(f"predict must be given either --data or --case, got {'neither' if data is None else 'both'}")
    outcome = predict_cohort(
        model,
        data,
        out,
        labels=labels,
        split=split,
        fold=fold,
        shard=shard_of(shard),
        aggregation=aggregation,
        members=members,
        force=force,
    )
    predicted, skipped, failed = map(len, (outcome.predicted, outcome.skipped, outcome.failed))
    print(f"{predicted} predicted, {skipped} skipped (finished before), {failed} failed: {out}")
    if failed:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in outcome.failed.items())
        sys.exit(f"error: {failed} of {predicted + skipped + failed} cases failed{reasons}")
