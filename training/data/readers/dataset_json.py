"""Data sets that a ``dataset.json`` describes: nnU-Net's raw format, and that of the Medical Segmentation Decathlon."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from spuproj.training.data.labels import (
    IGNORED,
    LabelScheme,
    label_values,
    own_scheme,
    scheme_of_names,
    scheme_of_regions,
)
from spuproj.training.data.readers.case_files import (
    SUFFIXES,
    CaseFiles,
    ImageFile,
    modality_named,
    require_modality,
    without_suffix,
)
from spuproj.training.data.readers.conventions import LABEL, Convention, Role
from spuproj.training.data.readers.grouping import Group, case_of, expected, grouped
from spuproj.training.data.readers.left_out import not_read, unused_files, without_images
from spuproj.training.data.readers.listing import Listing, list_folder
from spuproj.training.data.readers.manifest import check_names, file_in
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.json_file import read_json
from spuproj.training.runtime.names import repeated
from spuproj.training.runtime.settings import LENIENT, made
from spuproj.training.runtime.wording import counted, some_of

FILE = "dataset.json"

NNUNET = Convention(
    "nnU-Net",
    (r"images../(?P<case>[^/]+)_(?P<kind>\d{4})", r"(?P<kind>labels)../(?P<case>[^/]+)"),
    {},
)
MSD = Convention(
    "Medical Segmentation Decathlon",
    (r"(?P<kind>images|labels)../(?P<case>[^/]+)",),
    {},
)
"""Both conventions lack their kinds, which ``dataset.json`` tells."""

Whole = Annotated[int, Field(strict=True)]
Channels = dict[str, str]


@dataclass(config=LENIENT, frozen=True)
class Pair:
    """A case in the list of the decathlon, which version 1 of nnU-Net has too."""

    image: str
    label: str | None = None


@dataclass(config=LENIENT)
class Placed:
    """A case of version 2 of nnU-Net whose files lie anywhere: an image for each channel, and the segmentation."""

    images: list[str]
    label: str | None = None


@dataclass(config=LENIENT)
class Description:
    """The fields of ``dataset.json`` that are used; of both versions of nnU-Net, and of the decathlon."""

    channel_names: Channels | None = None
    """Of version 2 of nnU-Net: the modality of each channel."""

    modality: Channels | None = None
    """The same, of version 1 and of the decathlon."""

    labels: dict[str, Any] = Field(default_factory=dict)
    """By name the label's value, or the values of a region; or, of version 1 and the decathlon, names by value."""

    file_ending: str = ".nii.gz"
    """Of images and segmentations."""

    numTraining: Whole | None = None  # noqa: N815
    """The number of cases in ``imagesTr``."""

    training: list[Pair] | None = None
    """Of version 1 and the decathlon: the cases of ``imagesTr``, whose segmentations may have other names."""

    dataset: dict[str, Placed] | None = None
    """Of version 2: the cases by name, in place of those in ``imagesTr``."""


def described_cases(source: Path) -> tuple[list[CaseFiles], list[str]] | None:
    """The cases of a folder with a ``dataset.json``, or of ``imagesTr`` or ``imagesTs`` in such a folder.

    Returns:
        The cases, and sentences on what is left out; None where there is no ``dataset.json``.

    Raises:
        InputError: for a ``dataset.json`` that cannot be used.
    """
    part = {"imagesTr": "Tr", "imagesTs": "Ts"}.get(source.name)
    root = source.parent if part else source
    if not os.path.lexists(root / FILE):
        return None
    description = _description(root / FILE)
    listing = list_folder(root)
    convention = _convention(root / FILE, description, listing)
    scheme = _scheme(root / FILE, description, "msd" if convention.name == MSD.name else "nnunet")
    to_predict = [] if part else _not_read(source, listing, convention, description)
    if description.dataset is not None and part != "Ts":
        placed = [_placed(root / FILE, name, case, convention) for name, case in description.dataset.items()]
        return [replace(case, scheme=scheme) for case in placed], [*to_predict, *not_read(listing)]
    groups, others = _groups(listing, convention, description.file_ending, part or "Tr")
    found = [replace(_complete(root, group, convention), scheme=scheme) for group in groups if group.modalities]
    cases, unlisted = _as_listed(root / FILE, found, _listed(description) if part != "Ts" else {})
    labels = {case.label for case in cases}
    left_out = [
        *to_predict,
        *([] if part or description.numTraining in (None, len(found)) else [_other_number(description, len(found))]),
        *unlisted,
        *without_images(group for group in groups if labels.isdisjoint(root / path for path in group.of(LABEL))),
        *unused_files([path for path in others if not part or path.startswith(f"{source.name}/")]),
        *not_read(listing),
    ]
    return cases, left_out


def _description(path: Path) -> Description:
    content = read_json(path)
    if "channel_names" in content:
        # Version 2 of nnU-Net does not read the list of version 1.
        content.pop("training", None)
    found = made(Description, content, f"{path}: ")
    if not (found.channel_names or found.modality):
        raise InputError(f"{path} must name the channels (channel_names), but does not")
    if twice := repeated(pair.image for pair in set(found.training or [])):
        raise InputError(f"{path}: each image must have one segmentation (training), but {twice[0]} has several")
    if found.file_ending.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: file_ending must be one of {', '.join(SUFFIXES)}, the kinds of image that are read, "
            f"got {found.file_ending!r:.40}"
        )
    return found


def _convention(path: Path, description: Description, listing: Listing) -> Convention:
    """The convention of the images, with their kinds."""
    names = description.channel_names or description.modality or {}
    wrong = [number for number in names if not re.fullmatch(r"\d{1,4}", number, re.ASCII)]
    if wrong:
        raise InputError(f"{path}: channels must be numbered 0, 1, 2 and so on, got {wrong[0]!r:.40}")
    channels = {int(number): name for number, name in sorted(names.items(), key=lambda item: int(item[0]))}
    modalities = [require_modality(name, f"{path}: ") for name in channels.values()]
    if len(channels) < len(names):
        raise InputError(f"{path}: each channel must have its own number, but one is there twice, such as 1 and 01")
    if twice := repeated(modalities):
        alike = [name for name in names.values() if modality_named(name) == twice[0]]
        raise InputError(f"{path}: each channel must have its own name, but {' and '.join(alike)} are the same")
    kinds: dict[str, Role]
    if description.channel_names or _numbered(description, listing):
        kinds = {f"{number:04d}": modality for number, modality in zip(channels, modalities, strict=True)}
        return replace(NNUNET, kinds={**kinds, "labels": LABEL})
    return replace(MSD, kinds={"images": tuple(modalities), "labels": LABEL})


def _numbered(description: Description, listing: Listing) -> bool:
    """Whether names end in the number of a channel; those of the decathlon may end in the number of a patient."""
    images = [path for path in listing.images if re.match("images(Tr|Ts)/[^/]+$", path)]
    if _listed(description).keys() & {without_suffix(PurePath(path).name) for path in images}:
        return False
    return any(re.search(r"_\d{4}\.[^/]+$", path) for path in images)


def _listed(description: Description) -> dict[str, str | None]:
    """The segmentation that ``training`` gives each case."""
    names = [(PurePath(pair.image).name, pair.label) for pair in description.training or []]
    return {without_suffix(name) or name: label for name, label in names}


def _groups(listing: Listing, convention: Convention, ending: str, part: str) -> tuple[list[Group], list[str]]:
    """The cases of a part of the data set, and the files that are of none of its parts."""
    every = ("imagesTr/", "labelsTr/", "imagesTs/", "labelsTs/")
    chosen = [path for path in listing.images if path.startswith(every) and path.lower().endswith(ending.lower())]
    mine = [path for path in chosen if path[6:8] == part]
    groups, others = grouped(mine, [convention])
    return groups, sorted({*others, *(set(listing.images) - set(chosen))})


def _complete(root: Path, group: Group, convention: Convention) -> CaseFiles:
    """The case with all channels: where a file is not there, reading it tells which one should be."""
    case = case_of(root, group)
    like = next(match for match in group.matches if match.role != LABEL)
    files = {
        role: ImageFile(root / expected(like, kind))
        for kind, role in convention.kinds.items()
        if isinstance(role, str) and role != LABEL
    }
    return replace(case, images={**files, **case.images})


def _placed(path: Path, name: str, placed: Placed, convention: Convention) -> CaseFiles:
    """A case of ``dataset``: paths are relative to its file, after environment variables are replaced."""
    where = f"{path}, case {name}: "
    check_names(path, [name])
    files = [file_in(path, where, os.path.expandvars(text)) for text in placed.images]
    if len(files) != len(convention.modalities):
        raise InputError(
            f"{where}each of the {len(convention.modalities)} channels must have one image, got {len(files)}"
        )
    images = dict(zip(convention.modalities, map(ImageFile, files), strict=True))
    return CaseFiles(name, images, file_in(path, where, os.path.expandvars(placed.label)) if placed.label else None)


def _as_listed(
    path: Path, cases: list[CaseFiles], labels: Mapping[str, str | None]
) -> tuple[list[CaseFiles], list[str]]:
    """The cases that ``training`` lists, with the segmentations it gives them, and sentences on the others.

    Without a list all cases stay as they are.
    """
    if not labels:
        return cases, []
    names = {case.name for case in cases}
    listed = [_labelled(path, case, labels[case.name]) for case in cases if case.name in labels]
    unlisted, lost = sorted(names - labels.keys()), [name for name in labels if name not in names]
    told = [f"not used: {counted(len(unlisted), 'case')} that {FILE} does not list (training): {some_of(unlisted)}"]
    missed = [f"{FILE} lists {counted(len(lost), 'case')} of which imagesTr has no image: {some_of(lost)}"]
    return listed, [*(told if unlisted else []), *(missed if lost else [])]


def _labelled(path: Path, case: CaseFiles, listed: str | None) -> CaseFiles:
    """The case with the segmentation that is listed, in whichever format it is there."""
    label = file_in(path, f"{path}, case {case.name}: ", listed) if listed else case.label
    same = case.label and without_suffix(os.fspath(case.label)) == without_suffix(os.fspath(label or ""))
    return case if same else replace(case, label=label)


def _scheme(path: Path, description: Description, prefer: str) -> LabelScheme | None:
    """The published scheme with the names that the labels have, or else targets of these names."""
    try:
        values = {name: label_values(name, given) for name, given in _named(description.labels).items()}
        if not values.keys() - {IGNORED}:
            return None
        single = {given[0]: name for name, given in values.items() if len(given) == 1}
        plain = scheme_of_names(single, prefer) if len(single) == len(values) else None
        return plain or scheme_of_regions(values, prefer) or own_scheme(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _named(labels: Mapping[str, Any]) -> dict[str, Any]:
    """The values of each name, without the background; as lists, whichever way round the file has them."""
    if labels and all(isinstance(name, str) for name in labels.values()):
        found: dict[str, list[int]] = {}
        for value, name in labels.items():
            if not re.fullmatch(r"\d{1,18}", value, re.ASCII):
                raise InputError(f"labels must be whole numbers with names, got {value!r:.40}")
            found.setdefault(name, []).append(int(value))
        given: Mapping[str, Any] = found
    else:
        given = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    return {name: values for name, values in given.items() if values != [0]}


def _not_read(source: Path, listing: Listing, convention: Convention, description: Description) -> list[str]:
    """A sentence on the cases to predict, if there are any."""
    groups, _ = _groups(listing, convention, description.file_ending, "Ts")
    count = sum(bool(group.modalities) for group in groups)
    if not count:
        return []
    return [f"not used: {counted(count, 'case')} of imagesTs; to predict, give {source / 'imagesTs'} as the data set"]


def _other_number(description: Description, cases: int) -> str:
    told = counted(description.numTraining or 0, "case")
    return f"{FILE} tells of {told} (numTraining), but imagesTr has files of {cases}"
