"""Options that several commands share."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from spuproj.training.models.method import Method, load_method

Force = Annotated[bool, typer.Option("--force", help="Write over existing outputs.")]
Labels = Annotated[
    str | None,
    typer.Option(help="Label scheme: brats2020, brats2023, brats2024, nnunet or msd; default what the files tell."),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]


def chosen_method(name: str, epochs: int | None, batch_size: int | None) -> Method:
    """A method by name, with epochs and batch size of one's own where they are given."""
    given = {"epochs": epochs, "batch_size": batch_size}
    return replace(load_method(name), **{name: value for name, value in given.items() if value is not None})
