"""Commands that bring predictions and models to other programs: DICOM, BIDS, the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spuproj_cli.options import Force

Predictions = Annotated[Path, typer.Option(help="Folder that 'spuproj predict' wrote.")]


def dicom(
    predictions: Predictions,
    series: Annotated[
        Path,
        typer.Option(
            help="Folder of the DICOM series of one of the patient's modalities, on whose voxels the prediction lies. "
            "It gives patient, study and frame of reference."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the DICOM files to.")],
    case: Annotated[
        str | None,
        typer.Option(help="Name of the case. [default: the only one of the folder]", show_default=False),
    ] = None,
    force: Force = False,
) -> None:
    """Write a prediction as DICOM, for viewers and archives.

    Probabilities become a fractional segmentation, each target's variance a parametric map. Needs the maps prob and
    var, on the voxels of the series: nothing is resampled. Prints the paths of the files. Needs the dicom extra.
    """
    from spuproj.training.export.dicom import write_dicom

    for path in write_dicom(predictions, series, out, case=case, force=force):
        print(path)


def push(
    run: Annotated[Path, typer.Argument(help="Folder of a finished 'spuproj train'.")],
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="Repository of the Hub, which is made.")],
    private: Annotated[bool, typer.Option("--private", help="Only its owner sees the repository.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the files and the card that would be uploaded; nothing is sent.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write into a repository that exists.")] = False,
) -> None:
    """Upload a model to the Hugging Face Hub.

    Uploads its configuration, its weights and its card (card.md of the run, or one made from its record). Names and
    paths of the training data stay here. Prints the address. Needs the hub extra and a token ('hf auth login').
    """
    from tempfile import TemporaryDirectory

    from spuproj.training.export import hub

    if not dry_run:
        print(hub.push(run, repository, private=private, force=force))
        return
    with TemporaryDirectory() as folder:
        hub.prepare(run, Path(folder))
        for path in sorted(Path(folder).iterdir()):
            print(f"{path.name}, {path.stat().st_size} bytes")
        print(f"\n{(Path(folder) / hub.README).read_text(encoding='utf-8')}")


def bids(
    predictions: Predictions,
    out: Annotated[Path, typer.Option(help="Folder of the data set, such as derivatives/spuproj.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace an older data set of spuproj. Without it the command refuses.")
    ] = False,
) -> None:
    """Copy predictions to a BIDS derivative data set.

    Prints the folder of each case. Names keep only letters and digits; two maps that would have one name are refused.
    """
    from spuproj.training.export.bids import write_bids

    for case, folder in write_bids(predictions, out, force=force).items():
        print(f"{case}: {folder}")
