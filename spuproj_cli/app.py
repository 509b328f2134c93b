"""The commands and the global options. Commands import their libraries when they run, since imports take seconds."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from spuproj_cli import data, evaluation, export, model, nnunet, tools

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Importing rich would take longer than everything else that the help needs.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("info")(tools.show_info)
for command in (
    tools.demo,
    data.phantom,
    data.manifest,
    data.check,
    data.split,
    model.train,
    model.predict,
    nnunet.nnunet_predict,
    evaluation.evaluate,
    evaluation.study,
    export.dicom,
    export.bids,
    export.push,
    tools.bench,
    tools.project,
    tools.explore,
):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"spuproj {version('spuproj')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Spherical image projection for uncertainty in medical segmentation.

    'spuproj COMMAND --help' lists a command's options. Results go to standard output, progress and errors to standard
    error. The exit status is 0 on success, 1 for an input that cannot be used, 2 for a wrong command or option, 130
    after Ctrl-C and 143 after SIGTERM.
    """


def run() -> None:
    """Runs the command line; if an input cannot be used, exits with 1 and one line on standard error."""
    # A letter that the terminal cannot show does not make an error of a finished command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="spuproj")
    except (ValueError, TypeError, RuntimeError, OSError, MemoryError) as error:
        from spuproj.training.runtime.errors import reason_of
        from spuproj.training.runtime.wording import printable

        said = reason_of(error) if isinstance(error, MemoryError) else str(error)
        sys.exit("error: " + printable(" ".join(line.strip() for line in said.splitlines())))
