"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Force = Annotated[bool, typer.Option("--force", help="Write over existing outputs.")]
Labels = Annotated[
    str | None,
    typer.Option(help="Label scheme: brats2020, brats2023, brats2024, nnunet or msd; default what the files tell."),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
