"""Commands that show what the package does: its installation, a demo, the views of a slice, its speed."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from spuproj import PROFILES, Views, info
from spuproj.training.cli.options import Force, Seed

Profile = Enum("Profile", {name: name for name in PROFILES}, type=str)  # type: ignore[misc]


def show_info() -> None:
    """Print versions, backends, which one runs and why, SIMD level and threads."""
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
    from spuproj.benchmarks.__main__ import run_bench

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
    lift: Annotated[Profile, typer.Option(help="Profile from the slice to the sphere.")] = Profile.gnomonic,
    chart: Annotated[Profile, typer.Option(help="Profile from the sphere to the view.")] = Profile.equidistant,
    force: Force = False,
) -> None:
    """Show the spherical views of one slice of any NIfTI volume."""
    from spuproj.training.data.nifti import load_nifti, read_volume, to_lps
    from spuproj.training.report.figures import views_figure
    from spuproj.training.runtime.files import InputError, refuse_overwrite

    refuse_overwrite([out], force)
    image = load_nifti(input)
    volume = to_lps(read_volume(image, input), image)
    if not 0 <= slice < volume.shape[2]:
        raise InputError(f"slice must lie in [0, {volume.shape[2] - 1}], got {slice}")
    plane = np.ascontiguousarray(volume[:, :, slice].T)
    views = Views.spherical(
        plane.shape, grid=grid, box=_foreground(plane), radius=radius, lift=lift.value, chart=chart.value
    )
    title = f"{input.name}, slice {slice}: {lift.value} to {chart.value}"
    print(views_figure(plane, views, grid[1], title, out))


def _foreground(plane: np.ndarray) -> tuple[float, float, float, float]:
    """Bounding box (y0, x0, y1, x1) of what differs from the corner's value, or the whole slice."""
    shown = np.isfinite(plane) & (plane != plane[0, 0])
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if rows.size == 0:
        return 0, 0, plane.shape[0] - 1, plane.shape[1] - 1
    return float(rows[0]), float(columns[0]), float(rows[-1]), float(columns[-1])
