"""Data sets that a ``dataset.json`` describes: nnU-Net's raw format, and that of the Medical Segmentation Decathlon."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from spuproj.training.data.labels import (
    IGNORED,
    LabelScheme,
    label_values,
    own_scheme,
    scheme_of_names,
    scheme_of_regions,
)
from spuproj.training.data.readers.case_files import SUFFIXES, CaseFiles, ImageFile, modality_named, require_modality
from spuproj.training.data.readers.conventions import LABEL, Convention, Role
from spuproj.training.data.readers.grouping import Group, case_of, expected, grouped
from spuproj.training.data.readers.left_out import not_read, unused_files, without_images
from spuproj.training.data.readers.listing import Listing, list_folder
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.json_file import read_json
from spuproj.training.runtime.names import repeated
from spuproj.training.runtime.settings import SETTINGS, made
from spuproj.training.runtime.wording import counted

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


@dataclass(config=ConfigDict(**{**SETTINGS, "extra": "ignore"}))
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
    groups, others = _groups(listing, convention, description.file_ending, part or "Tr")
    cases = [replace(_complete(root, group, convention), scheme=scheme) for group in groups if group.modalities]
    left_out = [
        *([] if part else _not_read(source, listing, convention, description)),
        *([] if part or description.numTraining in (None, len(cases)) else [_other_number(description, len(cases))]),
        *without_images(groups),
        *unused_files([path for path in others if not part or path.startswith(f"{source.name}/")]),
        *not_read(listing),
    ]
    return cases, left_out


def _description(path: Path) -> Description:
    found = made(Description, read_json(path), f"{path}: ")
    if not (found.channel_names or found.modality):
        raise InputError(f"{path} must name the channels (channel_names), but does not")
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
    numbered = any(re.search(r"^images(Tr|Ts)/[^/]+_\d{4}\.[^/]+$", image) for image in listing.images)
    kinds: dict[str, Role]
    if description.channel_names or numbered:
        kinds = {f"{number:04d}": modality for number, modality in zip(channels, modalities, strict=True)}
        return replace(NNUNET, kinds={**kinds, "labels": LABEL})
    return replace(MSD, kinds={"images": tuple(modalities), "labels": LABEL})


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
