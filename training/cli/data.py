"""Commands that make and look at data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spuproj.training.cli.options import Force, Labels, Seed


def phantom(
    out: Annotated[Path, typer.Option(help="Folder of the cohort.")],
    cases: Annotated[int, typer.Option(help="Number of patients.")] = 10,
    seed: Seed = 0,
    spacing: Annotated[float, typer.Option(help="Voxel size in mm, 1 to 8; 1 gives 240 x 240 x 155.")] = 1.0,
    force: Force = False,
) -> None:
    """Make BraTS-style patients on real anatomy (MNI152) with grown tumours."""
    from spuproj.training.phantom.cohort import write_cohort
    from spuproj.training.runtime.progress import progress_bar

    with progress_bar("Growing phantoms", cases) as advance:
        write_cohort(out, cases, seed, spacing, force=force, on_case=advance)


def check(
    data: Annotated[Path, typer.Argument(help="Folder of BraTS cases, folder in nnU-Net's raw format, or manifest.")],
    labels: Labels = None,
) -> None:
    """Read a whole data set and list everything that training would trip over; exits with 1 if there is any of it."""
    from spuproj.training.data.check import check_data, text
    from spuproj.training.data.readers.registry import cases_in
    from spuproj.training.runtime.progress import progress_bar

    cases = cases_in(data, labels)
    with progress_bar(f"Reading {data.name}", len(cases)) as advance:
        problems = check_data(cases, advance)
    print(text(len(cases), problems))
    if any(problem.fatal for problem in problems):
        sys.exit(1)


def split(
    data: Annotated[Path, typer.Argument(help="Folder of BraTS cases, folder in nnU-Net's raw format, or manifest.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    folds: Annotated[int | None, typer.Option(help="Cross-validation with so many folds.")] = None,
    validation: Annotated[int | None, typer.Option(help="Patients that validate, in one split.")] = None,
    test: Annotated[int | None, typer.Option(help="Patients that test, in one split.")] = None,
    labels: Labels = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Write who trains, validates and tests, by patient: either folds, stratified by targets, or one split."""
    from spuproj.training.data import splits
    from spuproj.training.data.readers.registry import cases_in
    from spuproj.training.runtime.files import InputError, refuse_overwrite
    from spuproj.training.runtime.progress import progress_bar

    refuse_overwrite([out], force)
    cases = cases_in(data, labels)
    targets: dict[str, frozenset[str]] = {}
    if folds is not None and validation is None and test is None:
        with progress_bar(f"Reading the labels of {data.name}", len(cases)) as advance:
            for case in cases:
                targets[case.name] = splits.targets_of(case)
                advance(case.name)
        made = splits.folds(cases, folds, seed, targets)
    elif folds is None and validation is not None and test is not None:
        made = [splits.fixed_split(cases, validation, test, seed)]
    else:
        raise InputError("split must be given either --folds, or --validation and --test")
    splits.write_splits(out, made, seed, force=force)
    for number, one in enumerate(made):
        missing = splits.missing_targets(one.validation, targets) if targets else []
        note = f"; none who validates has {', '.join(missing)}" if missing else ""
        print(f"fold {number}: {len(one.train)} train, {len(one.validation)} validate, {len(one.test)} test{note}")
