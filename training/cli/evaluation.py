"""Commands that measure predictions and compare methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spuproj.training.cli.options import Force, Labels


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
    from spuproj.training.workflows.evaluate import evaluate as run_evaluation
    from spuproj.training.workflows.evaluate import methods_named

    written = run_evaluation(
        methods_named(predictions), data, out, labels=labels, scaling=scaling, empty=empty, force=force
    )
    for path in written:
        print(path)


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
    from spuproj.training.models.method import load_method
    from spuproj.training.workflows.study import study as run_study
    from spuproj.training.workflows.study_settings import variations_named

    written = run_study(
        data,
        target,
        split,
        out,
        method=load_method(method, epochs=epochs, batch_size=batch_size),
        variations=variations_named(vary) if vary else None,
        fold=fold,
        seeds=seed or [0],
        labels=labels,
    )
    for path in written:
        print(path)
