"""A manifest of the cases in a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from spuproj.training.data.labels import scheme_named
from spuproj.training.data.patients import shared_stems
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.readers.grouping import grouped
from spuproj.training.data.readers.guidance import missing
from spuproj.training.data.readers.left_out import examples
from spuproj.training.data.readers.listing import list_folder, whole_path
from spuproj.training.data.readers.manifest import write_manifest
from spuproj.training.data.readers.patterns import suggested, typed_conventions
from spuproj.training.data.readers.registry import DataSet, data_set, read_data, recognised_cases
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import refuse_overwrite
from spuproj.training.runtime.names import named_values
from spuproj.training.runtime.wording import counted


def make_manifest(
    folder: Path,
    out: Path,
    *,
    images: Mapping[str, str] | None = None,
    label: str | None = None,
    mask: str | None = None,
    labels: str | None = None,
    force: bool = False,
) -> DataSet:
    """Writes a manifest of the cases in a folder, which is read to the same cases.

    Args:
        folder: a data set, as ``read_data`` takes it; with ``images`` any folder.
        out: JSON file.
        images: for each modality a pattern of its files: their path in the folder, with ``{case}`` for the name of the
            case and ``*`` for anything; the folder's files are recognised by their names where there are none.
        label: pattern of the segmentations, with ``images``.
        mask: pattern of the brain masks, with ``images``.
        labels: name of the label scheme, in place of the one that the files imply.
        force: write over an existing file.

    Returns:
        The cases, and what is left out.

    Raises:
        InputError: where nothing is recognised, with patterns for the files that are there; for a pattern that fits no
            file; or where ``out`` exists.
    """
    if out.suffix.lower() != ".json":
        raise InputError(f"out must be a .json file, got {out}")
    refuse_overwrite([out], force)
    if (label or mask) and not images:
        raise InputError("label and mask must be given with the patterns of images, but there are none")
    found = _typed(folder, images, label, mask, labels) if images else read_data(folder, labels)
    write_manifest(out, found.cases)
    return found


def _typed(folder: Path, images: Mapping[str, str], label: str | None, mask: str | None, labels: str | None) -> DataSet:
    """The cases whose files have these patterns."""
    if not folder.is_dir():
        raise missing(folder, "a folder of patients", "folder")
    root = whole_path(folder)
    listing = list_folder(root)
    conventions = typed_conventions(images, label, mask)
    for convention in conventions:
        if not grouped(listing.images, [convention])[0]:
            there = f", such as {' or '.join(suggested(listing.images))}" if listing.images else ""
            raise InputError(
                f"{convention.name} must fit files in {folder}, but fits none of "
                f"{examples(listing.images) or 'its images, since there are none'}; type another one{there}"
            )
    cases, left_out = recognised_cases(root, listing, conventions)
    if labels is not None:
        cases = [replace(case, scheme=scheme_named(labels)) for case in cases]
    return data_set(folder, cases, left_out)


def patterns_named(entries: Sequence[str]) -> dict[str, str]:
    """Parses entries ``NAME=PATTERN``. Raises InputError for other text or a repeated name."""
    found: dict[str, str] = {}
    for entry in named_values(entries, "image", "NAME=PATTERN"):
        name, pattern = (part.strip() for part in entry)
        if name in found:
            raise InputError(f"image must be given once for each modality, got {name!r} twice")
        found[name] = pattern
    return found


def summary(found: DataSet) -> str:
    """Lines for people: the cases with their modalities, segmentations and schemes; what is unusual or left out."""
    cases = found.cases
    kinds = Counter(", ".join(case.images) for case in cases)
    schemes = Counter(_meaning(case) for case in cases)
    unusual = Counter(finding for case in cases for finding in case.findings)
    return "\n".join(
        [
            counted(len(cases), "case"),
            *(f"{count} with the modalities {names}" for names, count in kinds.most_common()),
            *(f"{count} with {meaning}" for meaning, count in schemes.most_common()),
            f"{sum(case.mask is not None for case in cases)} with a brain mask",
            *(
                f"{finding.level.name.lower()} in {count} cases: {finding.message}"
                for finding, count in sorted(unusual.items(), key=lambda item: item[0].level)
            ),
            *(f"warning: {sentence}" for sentence in shared_stems(cases)),
            *(f"left out: {sentence}" for sentence in found.left_out),
        ]
    )


def _meaning(case: CaseFiles) -> str:
    if case.label is None:
        return "no segmentation"
    scheme = case.scheme
    if scheme is None:
        return "a segmentation whose labels are not named: name them with --labels, or in the manifest"
    return f"a segmentation in {scheme.name}" if scheme.paint else f"a segmentation of {', '.join(scheme.targets)}"
