"""Where a data set's files are, in any of the known conventions."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.labels import scheme_named
from spuproj.training.data.readers import guidance
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.conventions import CONVENTIONS, VISIT, Convention
from spuproj.training.data.readers.dataset_json import described_cases
from spuproj.training.data.readers.grouping import case_of, grouped
from spuproj.training.data.readers.left_out import (
    badly_named,
    drafts,
    not_read,
    unused_files,
    without_case,
    without_images,
)
from spuproj.training.data.readers.listing import Listing, list_folder, whole_path
from spuproj.training.data.readers.manifest import check_names, json_manifest
from spuproj.training.data.readers.manifest_table import csv_manifest
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.names import name_fault
from spuproj.training.runtime.progress import print_status


@dataclass(frozen=True)
class DataSet:
    """The cases of a data set, and what was found in it that is not used.

    Attributes:
        source: the folder or manifest.
        cases: sorted by name.
        left_out: a sentence for each file, folder or case that is not used, which says why.
    """

    source: Path
    cases: tuple[CaseFiles, ...]
    left_out: tuple[str, ...] = ()


Found = tuple[list[CaseFiles], list[str]]
"""Cases, and sentences on what is left out."""


def read_data(source: Path, labels: str | None = None) -> DataSet:
    """The cases of a data set.

    Args:
        source: a folder in one of the conventions of ``docs/data.md``, or a manifest, ``.csv`` or ``.json``.
        labels: name of the label scheme, in place of the one that the files imply.

    Raises:
        InputError: where there are no cases, a name occurs twice, or a file cannot be read.
    """
    scheme = None if labels is None else scheme_named(labels)
    cases, left_out = _read(source)
    if scheme is not None:
        cases = [replace(case, scheme=scheme) for case in cases]
    return data_set(source, cases, left_out)


def data_set(source: Path, cases: Sequence[CaseFiles], left_out: Sequence[str]) -> DataSet:
    """A data set of these cases. Raises InputError where there are none or a name occurs twice."""
    if not cases:
        raise InputError(f"{source} must hold at least one case, but holds none" + "".join(f"; {s}" for s in left_out))
    ordered = sorted(cases, key=lambda case: case.name)
    for one, other in pairwise(ordered):
        if one.name == other.name:
            files = [str(path) for case in (one, other) for path in [*(file.path for file in case.images.values())][:1]]
            remedy = (
                "give one of their folders, or name the cases by patterns of their files with 'spuproj manifest'"
                if source.is_dir()
                else "rename one of them there"
            )
            raise InputError(
                f"{source} must name each case once, but {one.name} occurs more than once: "
                f"{' and '.join(dict.fromkeys(files))}; {remedy}"
            )
    return DataSet(source, tuple(ordered), tuple(left_out))


def cases_in(source: Path, labels: str | None = None) -> tuple[CaseFiles, ...]:
    """The cases of a data set, as ``read_data`` finds them; what is left out is said on standard error."""
    found = read_data(source, labels)
    for sentence in found.left_out:
        print_status(sentence)
    return found.cases


def case_in(folder: Path, labels: str | None = None) -> CaseFiles:
    """The files of a case folder, in one of the conventions of ``docs/data.md``; the rest is said on standard error.

    Args:
        folder: of the case.
        labels: name of the label scheme, in place of the one that the file names imply.

    Raises:
        InputError: where there is no such folder, it holds no case or several, or for an unknown scheme.
    """
    if folder.is_file():
        raise guidance.not_a_case(folder)
    if not folder.is_dir():
        raise guidance.missing(folder, "a case folder", "folder")
    root = whole_path(folder)
    described = described_cases(root)
    if described is not None:
        raise guidance.several_cases(folder, [case.name for case in described[0]])
    listing = list_folder(root)
    # The folder of a visit lies in that of the patient.
    data = root.parent.parent if re.fullmatch(f"(?i){VISIT}", root.name) else root.parent
    groups, others = grouped((str((root / path).relative_to(data)) for path in listing.images), CONVENTIONS)
    found = [group for group in groups if group.modalities]
    if len(found) != 1:
        names = [group.name for group in found]
        raise guidance.several_cases(folder, names) if found else guidance.no_case(folder, listing)
    for sentence in [*drafts(found), *without_images(groups), *unused_files(others), *not_read(listing)]:
        print_status(sentence)
    case = case_of(data, found[0])
    return case if labels is None else replace(case, scheme=scheme_named(labels))


def recognised_cases(root: Path, listing: Listing, conventions: Sequence[Convention]) -> Found:
    """The cases of a folder whose files the conventions name, and what is left out.

    Raises:
        InputError: where no case has a name that outputs can have.
    """
    groups, others = grouped(listing.images, conventions)
    found = [group for group in groups if group.modalities and not name_fault(group.name)]
    if not found:
        check_names(root, [group.name for group in groups if group.modalities])
    left_out = [
        *badly_named(group for group in groups if group.modalities and name_fault(group.name)),
        *drafts(found),
        *without_images(groups),
        *unused_files(others),
        *without_case(listing, found),
    ]
    return [*(case_of(root, group) for group in found), *_closed_cases(listing)], left_out


def _closed_cases(listing: Listing) -> list[CaseFiles]:
    """A case without files for each folder that cannot be listed and may be that of a case: no image lies beside it."""
    places = {os.path.dirname(path) for path in listing.images}
    found = []
    for path, reason in listing.closed.items():
        folder = path.rstrip("/")
        name = folder.replace("/", "_")
        if path.endswith("/") and os.path.dirname(folder) not in places and not name_fault(name):
            error = Finding(Level.ERROR, f"its folder {folder} cannot be listed: {reason}")
            found.append(CaseFiles(name, {}, findings=(error,)))
    return found


def _read(source: Path) -> Found:
    is_manifest = source.suffix.lower() in (".csv", ".json")
    if source.is_dir():
        return _folder(whole_path(source), source)
    if not os.path.exists(source):
        what = ("a manifest", "file") if is_manifest else ("a folder of case folders", "folder")
        raise guidance.missing(source, *what)
    if not is_manifest or source.name == "dataset.json":
        raise guidance.not_a_data_set(source)
    return (csv_manifest(source) if source.suffix.lower() == ".csv" else json_manifest(source)), []


def _folder(root: Path, source: Path) -> Found:
    described = described_cases(root)
    if described is not None:
        return described
    listing = list_folder(root)
    cases, left_out = recognised_cases(root, listing, CONVENTIONS)
    if not cases:
        raise guidance.no_cases(source, listing)
    return cases, left_out
