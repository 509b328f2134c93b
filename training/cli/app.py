"""The command line. Commands import what they run when they run: MONAI alone takes seconds to import."""

from __future__ import annotations

import sys

import typer

from spuproj.training.cli import data, evaluation, model, tools

app = typer.Typer(
    help="Spherical image projection for uncertainty in medical segmentation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("info")(tools.show_info)
for command in (
    tools.demo,
    data.phantom,
    data.check,
    data.split,
    model.train,
    model.predict,
    evaluation.evaluate,
    evaluation.study,
    tools.bench,
    tools.project,
):
    app.command()(command)


def run() -> None:
    """Runs the command line; exits with 1, and the reason on standard error, where the input cannot be used."""
    try:
        app()
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")
