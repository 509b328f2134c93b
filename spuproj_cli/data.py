"""Commands that make and check data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from spuproj_cli.options import DATA, Force, Labels, Seed


def phantom(
    out: Annotated[Path, typer.Option(help="Folder to write the cases to.")],
    cases: Annotated[int, typer.Option(help="Number of patients, at least 1.")] = 10,
    seed: Seed = 0,
    spacing: Annotated[float, typer.Option(help="Voxel size in mm, 1 to 8; 1 gives 240 x 240 x 155 voxels.")] = 1.0,
    force: Force = False,
) -> None:
    """Make artificial patients in BraTS format.

    Simulated tumours grow in real anatomy, the MNI152 atlas.
    """
    from spuproj.training.phantom.cohort import check_cohort, write_cohort
    from spuproj.training.runtime.progress import progress_bar

    check_cohort(out, cases, spacing, force=force)
    with progress_bar("Growing phantoms", cases) as advance:
        write_cohort(out, cases, seed, spacing, force=force, on_case=advance)


def manifest(
    folder: Annotated[Path, typer.Argument(help="Folder of patients, in any convention or none.")],
    out: Annotated[Path, typer.Option(help="JSON file to write, which every command takes as a data set.")],
    image: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the files of a modality are, if they are not found by themselves: NAME=PATTERN, such as "
            "t1ce='{case}/{case}_post.nii.gz', with {case} for the name of the case and * for anything. Repeatable."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Pattern of the segmentations, with --image.")] = None,
    mask: Annotated[str | None, typer.Option(help="Pattern of the brain masks, with --image.")] = None,
    labels: Labels = None,
    force: Force = False,
) -> None:
    """List the cases of a folder in a file that people can read and correct.

    Without --image the folder must be in a known convention; an error shows patterns for the files that are there.
    """
    from spuproj.training.workflows.manifest import make_manifest, patterns_named, summary

    images = patterns_named(image or [])
    found = make_manifest(folder, out, images=images, label=label, mask=mask, labels=labels, force=force)
    print(summary(found))


def check(
    data: Annotated[Path, typer.Argument(help=DATA)],
    labels: Labels = None,
) -> None:
    """List the problems of a data set before training.

    Reads every file. Exits with 1 if a case cannot be used. Nothing is written.
    """
    from spuproj.training.data.check import check_data, text
    from spuproj.training.data.findings import Level
    from spuproj.training.data.patients import shared_stems
    from spuproj.training.data.readers.registry import read_data
    from spuproj.training.runtime.progress import progress_bar

    found = read_data(data, labels)
    with progress_bar(f"Reading {data.name}", len(found.cases)) as advance:
        findings = check_data(found.cases, advance)
    for sentence in shared_stems(found.cases):
        print(f"warning  {sentence}")
    print(text(len(found.cases), found.left_out, findings))
    if any(each.finding.level == Level.ERROR for each in findings):
        sys.exit(1)


def split(
    data: Annotated[Path, typer.Argument(help=DATA)],
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    folds: Annotated[
        int | None, typer.Option(help="Write a cross-validation of this many folds, each testing other patients.")
    ] = None,
    validation: Annotated[int | None, typer.Option(help="Write one split: number of patients to validate on.")] = None,
    test: Annotated[int | None, typer.Option(help="Number of patients to test on, with --validation.")] = None,
    labels: Labels = None,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Divide a data set into training, validation and test.

    No patient is in two of them. Give either --folds, stratified by the targets that patients have, or both
    --validation and --test.
    """
    from spuproj.training.data import splits
    from spuproj.training.data.patients import shared_stems
    from spuproj.training.data.readers.registry import cases_in
    from spuproj.training.runtime.files import refuse_overwrite
    from spuproj.training.runtime.progress import print_status, progress_bar

    in_folds = folds is not None and validation is None and test is None
    if not in_folds and (folds is not None or validation is None or test is None):
        raise typer.BadParameter("split needs either --folds, or both --validation and --test")
    refuse_overwrite([out], force)
    cases = cases_in(data, labels)
    targets: dict[str, frozenset[str]] = {}
    if folds is not None:
        splits.require_folds(cases, folds)
        with progress_bar(f"Reading the labels of {data.name}", len(cases)) as advance:
            targets = splits.targets_of_each(cases, advance)
        made = splits.folds(cases, folds, seed, targets)
    else:
        made = [splits.fixed_split(cases, validation or 0, test or 0, seed)]
    splits.write_splits(out, made, seed, force=force)
    for number, one in enumerate(made):
        missing = splits.missing_targets(one.validation, targets) if targets else []
        note = f"; none who validates has {', '.join(missing)}" if missing else ""
        print(f"fold {number}: {len(one.train)} train, {len(one.validation)} validate, {len(one.test)} test{note}")
    for sentence in shared_stems(cases):
        print_status(f"warning: {sentence}")
