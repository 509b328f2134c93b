"""Commands that show what the package does: its installation, a demo, its speed, the views of a slice."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from spuproj_cli.options import Force, Seed

Profile = Literal["gnomonic", "stereographic", "equidistant", "equal_area", "orthographic"]


def show_info() -> None:
    """Print versions, backends, SIMD level and threads.

    Says which backend runs on each device and why. Needs no extra.
    """
    from spuproj import info

    print(info.text())


def demo(
    out: Annotated[Path, typer.Option(help="Folder to write everything to.")] = Path("demo"),
    seed: Seed = 0,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an earlier demo. Without it the command refuses a folder in use."),
    ] = False,
) -> None:
    """Train on artificial patients and predict an unseen one.

    Makes the patients, trains a model for each of three targets, and predicts a patient that they have not seen. Takes
    about five minutes on two cores.

    Prints how well the unseen patient is segmented, and where the files are.
    """
    from spuproj.training.workflows.demo import run_demo

    run_demo(out, seed=seed, force=force)


def bench(
    out: Annotated[Path, typer.Option(help="Folder to write the JSON file and two figures to.")] = Path("bench"),
    short: Annotated[
        bool, typer.Option("--short", help="Small shapes, to check results only: the times mean nothing.")
    ] = False,
    force: Force = False,
) -> None:
    """Time every op against other libraries.

    Compares each also with copying as many bytes. Prints the table and the paths of the files. Needs the bench extra.
    """
    from spuproj.benchmarks.__main__ import run_bench

    for path in run_bench(out, short=short, force=force):
        print(path)


def project(
    input: Annotated[Path, typer.Option("--input", help="NIfTI volume (.nii or .nii.gz) of three axes.")],
    slice: Annotated[int, typer.Option("--slice", help="Number of the axial slice, from 0 at the feet.")],
    out: Annotated[Path, typer.Option(help="PNG file to write.")],
    grid: Annotated[
        tuple[int, int], typer.Option(metavar="ROWS COLUMNS", help="Grid of tangent points over the foreground.")
    ] = (3, 3),
    radius: Annotated[
        float | None,
        typer.Option(help="Radius of the sphere in mm. [default: half the slice's larger side]", show_default=False),
    ] = None,
    lift: Annotated[Profile, typer.Option(help="Profile of the projection from the slice to the sphere.")] = "gnomonic",
    chart: Annotated[
        Profile, typer.Option(help="Profile of the projection from the sphere to the view.")
    ] = "equidistant",
    force: Force = False,
) -> None:
    """Draw a slice of a NIfTI volume with its spherical views.

    Prints the path of the figure.
    """
    from spuproj.training.workflows.project import project_slice

    print(project_slice(input, slice, out, grid=grid, radius=radius, lift=lift, chart=chart, force=force))


def explore(
    input: Annotated[Path, typer.Option("--input", help="NIfTI volume (.nii or .nii.gz) of three axes.")],
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    slice: Annotated[
        int | None,
        typer.Option(
            "--slice",
            help="Number of the axial slice, from 0 at the feet. [default: the one with the largest foreground]",
            show_default=False,
        ),
    ] = None,
    force: Force = False,
) -> None:
    """Make a page on which the views of a slice can be tried out.

    The page shows a view and its magnification while you drag its centre and change radius, lift and chart. It is one
    file that needs a browser and no network, and contains the slice.

    Prints the path of the page.
    """
    from spuproj.training.workflows.project import explore_slice

    print(explore_slice(input, slice, out, force=force))
