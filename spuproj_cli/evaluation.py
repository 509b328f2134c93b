"""Commands that measure predictions and compare methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from spuproj_cli.options import LABELLED_DATA, METHOD, SPLIT_FOLD, BatchSize, Epochs, Force, Labels


def evaluate(
    data: Annotated[Path, typer.Option(help=LABELLED_DATA)],
    predictions: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FOLDER",
            help="A method's name for the tables, and the folder that 'spuproj predict' wrote. Repeat for each method.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the tables and figures to.")],
    scaling: Annotated[
        Literal["variance-1", "std-1", "entropy-1", "mutual-1", "maximum-1"],
        typer.Option(
            help="How maps become uncertainties from 0 to 100: entropy-1 scales the maps of entropy, mutual-1 those of "
            "mutual information, the others those of variance."
        ),
    ] = "variance-1",
    empty: Annotated[
        Literal["brats", "nan"],
        typer.Option(
            help="Measures of empty masks: brats counts Dice as 1 where both are empty and 0 where one is; nan leaves "
            "them out."
        ),
    ] = "brats",
    labels: Labels = None,
    force: Force = False,
) -> None:
    """Measure predictions and compare methods.

    Dice, also after the most uncertain voxels are corrected; surface distances, QU-BraTS score, detection of errors,
    calibration, and uncertainty against Dice over patients, with bootstrap intervals and paired tests.

    Cases that every method has predicted are measured, one by one. Prints the table and the paths of the files.
    """
    from spuproj.training.workflows.evaluate import evaluate as run_evaluation
    from spuproj.training.workflows.evaluate import methods_named

    written = run_evaluation(
        methods_named(predictions), data, out, labels=labels, scaling=scaling, empty=empty, force=force
    )
    for path in written:
        print(path)


def study(
    data: Annotated[Path, typer.Option(help=LABELLED_DATA)],
    split: Annotated[Path, typer.Option(help="File of 'spuproj split'. The test cases are not read.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the runs and tables. Finished runs in it are not trained again.")
    ],
    target: Annotated[
        list[str],
        typer.Option(
            metavar="NAME", help="Target to segment: ET, TC or WT, or one of the data's own. Repeat for several."
        ),
    ],
    method: Annotated[str, typer.Option(help=METHOD)] = "spu",
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,...",
            help="A property of the method's views, or oversampling, and its values, such as radius=0.3,0.7 or "
            "grid=2x2. Repeat for several. [default: all properties of spherical views]",
            show_default=False,
        ),
    ] = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    fold: Annotated[int, typer.Option(help=SPLIT_FOLD)] = 0,
    labels: Labels = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            metavar="NUMBER", help="Seed of a training. Repeat to train several times. [default: 0]", show_default=False
        ),
    ] = None,
) -> None:
    """Train variations of a method and compare them.

    One property of the views is varied at a time, and each variation is measured on the validation cases. An
    interrupted study continues where it stopped.
    """
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
