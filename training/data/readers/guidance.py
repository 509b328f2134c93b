"""What to say where a path is not what it should be: what it is instead, and what to type."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from spuproj.training.data.readers.case_files import without_suffix
from spuproj.training.data.readers.conventions import CONVENTIONS
from spuproj.training.data.readers.grouping import grouped
from spuproj.training.data.readers.left_out import examples, not_read, other_files
from spuproj.training.data.readers.listing import Listing, whole_path
from spuproj.training.data.readers.patterns import asked_for
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.wording import counted


def missing(path: Path, what: str, kind: str) -> InputError:
    """The error for a path that does not exist: what it must be, and names like it in the same folder.

    Args:
        path: that was given.
        what: it must be, such as "a case folder".
        kind: "folder" or "file".
    """
    if path.is_symlink():
        return InputError(f"{path} must be {what}, but is a link to {os.readlink(path)}, which does not exist")
    parent = path.absolute().parent
    try:
        names = [name for name in os.listdir(parent) if not name.startswith(".")]
    except OSError:
        return InputError(f"{path} must be {what}, but there is no folder {parent}")
    near = difflib.get_close_matches(path.name, names, 3, 0.6)
    hint = f"; did you mean {' or '.join(str(path.with_name(name)) for name in near)}?" if near else ""
    return InputError(f"{path} must be {what}, but there is no such {kind}{hint}")


def not_a_data_set(path: Path) -> InputError:
    """The error for a file that is no manifest."""
    must = f"{path} must be a folder of case folders or a manifest (.json or .csv), but"
    if path.name == "dataset.json":
        return InputError(f"{must} it describes one; give its folder, {path.parent}")
    if without_suffix(path.name) is None:
        return InputError(f"{must} it is a file of another kind")
    folder = path.absolute().parent
    return InputError(
        f"{must} it is a single image; give the folder of its case folders, which may be {folder.parent}; only "
        f"'spuproj predict' takes one case, as --case {folder}"
    )


def not_a_case(path: Path) -> InputError:
    """The error for a file in place of a case folder."""
    if path.suffix.lower() in (".json", ".csv"):
        return InputError(f"{path} must be a case folder, but it is a file; give a manifest with --data")
    return InputError(f"{path} must be a case folder, but it is a file; give its folder, {path.absolute().parent}")


def several_cases(folder: Path, names: Sequence[str]) -> InputError:
    """The error for a data set in place of a case folder."""
    return InputError(
        f"{folder} must be a case folder, but it is a data set of {counted(len(names), 'case')} ({', '.join(names[:3])}"
        f"{' and more' if len(names) > 3 else ''}); give the folder of one case, or all of them with --data {folder}"
    )


def no_cases(source: Path, listing: Listing) -> InputError:
    """The error for a folder without a case: a case folder itself, a folder of data sets, or something else."""
    must = f"{source} must hold case folders with images in them, but"
    described = sorted(path for path in listing.folders if (source / path / "dataset.json").is_file())
    if described:
        example = source / described[0]
        return InputError(f"{must} it holds data sets with a dataset.json; give one of them, such as {example}")
    # As the one case of its parent folder.
    name = whole_path(source).name
    groups, _ = grouped((f"{name}/{path}" for path in listing.images), CONVENTIONS)
    if any(group.modalities for group in groups):
        return InputError(
            f"{must} it is a case folder itself; give the folder of all cases, {whole_path(source).parent}; only "
            f"'spuproj predict' takes one case, as --case {source}"
        )
    if listing.images:
        return InputError(
            f"{must} none of its images is named as in a known convention: {examples(listing.images)}. To name them, "
            f"write a manifest: {asked_for(listing.images).replace('FOLDER', str(source))}"
        )
    return InputError(f"{must} holds none" + _instead(listing))


def no_case(folder: Path, listing: Listing) -> InputError:
    """The error for a folder in which no case is recognised, in place of a case folder."""
    must = f"{folder} must be a case folder with images, but"
    if not listing.images:
        return InputError(f"{must} holds none" + _instead(listing))
    return InputError(
        f"{must} none of its images is named as in a known convention: {examples(listing.images)}; rename "
        "them, such as t1.nii.gz and t1ce.nii.gz, or list the case in a manifest and predict it with --data"
    )


def _instead(listing: Listing) -> str:
    """What a folder without an image holds, to end a message."""
    return "".join(f"; {reason}" for reason in not_read(listing) or other_files(listing))
