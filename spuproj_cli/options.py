"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DATA = (
    "Data set: folder in a known convention (BraTS, UCSF-PDGM, UPENN-GBM, BIDS, nnU-Net, decathlon, case folders), "
    "or a manifest (.json, .csv)."
)
LABELLED_DATA = f"{DATA} Its cases need segmentations."
METHOD = "Method: spu, unet_tta or lsu, or a .json file in the format of theirs."
SPLIT_FOLD = "Number of the split in that file, from 0. [default: 0]"

Epochs = Annotated[
    int | None,
    typer.Option(
        help="Epochs, at least 1; each draws twice as many slices as show the target. [default: the method's]",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Slices per training step, over all devices. [default: the method's]", show_default=False),
]
Force = Annotated[
    bool, typer.Option("--force", help="Overwrite existing outputs. Without it the command refuses and does nothing.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="Label scheme, which says what the numbers in segmentations mean, such as brats2020, brats2023 or nnunet. "
        "[default: what the file names or the data set's description say]",
        show_default=False,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        max=2**32 - 1,
        help="Seed of all random numbers; the same seed, machine and number of threads give the same result.",
    ),
]
