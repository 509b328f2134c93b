"""The command that predicts with models of nnU-Net. Its options are named as those of ``nnUNetv2_predict``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Literal

import typer


def nnunet_predict(
    source: Annotated[
        Path, typer.Option("-i", help="Folder of images, named as nnU-Net names them (CASE_0000.nii.gz, ...).")
    ],
    out: Annotated[Path, typer.Option("-o", help="Folder to write to.")],
    dataset: Annotated[str, typer.Option("-d", help="Name or number of the data set that the model was trained on.")],
    configuration: Annotated[str, typer.Option("-c", help="Configuration of the model, a 2-D one.")] = "2d",
    folds: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            metavar="FOLD",
            help="Folds whose models are used, such as -f 0 1 2. [default: all that are trained]",
            show_default=False,
        ),
    ] = None,
    further: Annotated[
        list[str] | None, typer.Argument(metavar="FOLD", help="Further folds after -f.", show_default=False)
    ] = None,
    trainer: Annotated[str, typer.Option("-tr", help="Trainer of the model.")] = "nnUNetTrainer",
    plans: Annotated[str, typer.Option("-p", help="Plans of the model.")] = "nnUNetPlans",
    checkpoint: Annotated[str, typer.Option("-chk", help="File of the model's weights.")] = "checkpoint_final.pth",
    save_probabilities: Annotated[
        bool, typer.Option("--save_probabilities", help="Also write the mean probability of each class (.npz).")
    ] = False,
    disable_tta: Annotated[
        bool, typer.Option("--disable_tta", help="Do not mirror the views: four times as fast.")
    ] = False,
    device: Annotated[
        Literal["cuda", "cpu"] | None,
        typer.Option("-device", help="[default: cuda if there is a GPU, else cpu]", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Predict finished cases again. Without it they are left as they are.")
    ] = False,
) -> None:
    """Predict with a 2-D model of nnU-Net through views, and map their variance.

    Its options are among those of nnUNetv2_predict. Takes a model of any trainer. Writes the same files, and for each
    image OUT/variance/CASE_var.nii.gz, whose path it prints: the variance of the probability over nine views of each
    slice, on the grid of the image. Needs the nnunet extra, and the environment variable nnUNet_results.
    """
    if further and not folds:
        raise typer.BadParameter(f"nnunet-predict takes only options, got {' '.join(further)}")
    results = sys.stdout
    # nnU-Net prints what it does.
    with redirect_stdout(sys.stderr):
        from spuproj import nnunet

        predictor = nnunet.load_predictor(
            dataset,
            configuration,
            trainer=trainer,
            plans=plans,
            folds=[*(folds or ()), *(further or ())],
            checkpoint=checkpoint,
            device=device,
            mirroring=not disable_tta,
        )
        for path in nnunet.predict_folder(predictor, source, out, save_probabilities=save_probabilities, force=force):
            print(path, file=results)
