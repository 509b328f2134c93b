"""Commands that show what the package does: its installation, a demo, the views of a slice, its speed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spuproj.training.cli.options import Force, Seed

PROFILES = "gnomonic, stereographic, equidistant, equal_area or orthographic"


def show_info() -> None:
    """Print versions, backends, which one runs and why, SIMD level and threads."""
    from spuproj import info

    print(info.text())


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("demo"),
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Do the whole job on made-up patients: cohort, three models, one unseen patient, its maps and picture."""
    from spuproj.training.workflows.demo import run_demo

    run_demo(out, seed=seed, force=force)


def bench(
    out: Annotated[Path, typer.Option(help="Folder of the JSON file and the two pictures.")] = Path("bench"),
    short: Annotated[bool, typer.Option("--short", help="Small shapes, to check results; times mean nothing.")] = False,
    force: Force = False,
) -> None:
    """Time every op against its peers and against copying as many bytes; print a table, write JSON and pictures."""
    from spuproj.benchmarks.bench import run_bench

    for path in run_bench(out, short=short, force=force):
        print(path)


def project(
    input: Annotated[Path, typer.Option("--input", help="Any NIfTI volume.")],
    slice: Annotated[int, typer.Option("--slice", help="Axial slice, counted from the feet.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    grid: Annotated[tuple[int, int], typer.Option(help="Rows and columns of centres over the head.")] = (3, 3),
    radius: Annotated[
        float | None, typer.Option(help="Sphere's radius in pixels; default half the larger side.")
    ] = None,
    lift: Annotated[str, typer.Option(help=f"Profile from the slice to the sphere: {PROFILES}.")] = "gnomonic",
    chart: Annotated[str, typer.Option(help=f"Profile from the sphere to the view: {PROFILES}.")] = "equidistant",
    force: Force = False,
) -> None:
    """Show the spherical views of one slice of any NIfTI volume."""
    from spuproj.training.workflows.project import project_slice

    print(project_slice(input, slice, out, grid=grid, radius=radius, lift=lift, chart=chart, force=force))
