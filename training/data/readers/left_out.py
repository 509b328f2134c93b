"""Sentences about what a data set holds and is not used, grouped, with an example of each kind."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from spuproj.training.data.readers.conventions import DRAFT, LABEL
from spuproj.training.data.readers.grouping import Group
from spuproj.training.data.readers.listing import ARCHIVES, Listing, with_parents
from spuproj.training.runtime.names import name_fault
from spuproj.training.runtime.wording import counted, some_of

_KINDS = 8


def unused_files(paths: Sequence[str]) -> list[str]:
    """A sentence on files that no convention names, if there are any."""
    if not paths:
        return []
    return [
        f"{_files(len(paths))} not used, as no convention names {_them(paths)} so: "
        f"{examples(paths)}; to use them, list them in a manifest ('spuproj manifest')"
    ]


def without_images(groups: Iterable[Group]) -> list[str]:
    """A sentence on segmentations and masks of those of the cases that have no image, if there are any."""
    paths = [match.path for group in groups if not group.modalities for match in group.matches]
    if not paths:
        return []
    return [f"{_files(len(paths))} not used, as there is no image of the same case: {examples(paths)}"]


def badly_named(groups: Iterable[Group]) -> list[str]:
    """A sentence on cases whose names cannot begin the names of outputs, if there are any."""
    found = [f"{_shown(group.place + group.name)!r}, as {name_fault(group.name)}" for group in groups]
    if not found:
        return []
    return [f"not used: {counted(len(found), 'case')} whose name is no plain file name: {some_of(found)}; rename them"]


def drafts(groups: Iterable[Group]) -> list[str]:
    """A sentence on automatic segmentations of cases that have a corrected one, if there are any."""
    paths = [path for group in groups if group.of(LABEL) for path in group.of(DRAFT)]
    if not paths:
        return []
    return [f"{_files(len(paths))} not used, as there is a corrected segmentation of the case: {examples(paths)}"]


def without_case(listing: Listing, groups: Iterable[Group]) -> list[str]:
    """Sentences on folders that are empty, or lie beside case folders and hold no image; and on what is not read."""
    used = with_parents([*listing.images, *listing.outputs, *listing.foreign])
    places = {group.place for group in groups if group.matches[0].convention.own_folder}
    beside = [
        path
        for path in listing.folders
        if path not in used
        and f"{path}/" not in listing.closed
        and (_place(path) in places or os.path.basename(path).startswith("sub-"))
    ]
    hollow = sorted({*listing.empty, *beside})
    hollow = [path for path in hollow if not any(path.startswith(f"{other}/") for other in hollow)]
    found = not_read(listing)
    if hollow:
        folders = (
            "1 folder holds no image, and is" if len(hollow) == 1 else f"{len(hollow)} folders hold no image, and are"
        )
        found.append(f"{folders} no case: {some_of(hollow)}")
    return found


def not_read(listing: Listing) -> list[str]:
    """Sentences on folders that cannot be listed, images of kinds that are not read, and outputs of predictions."""
    return [*_closed_folders(listing), *_foreign_files(listing), *_outputs(listing)]


def _closed_folders(listing: Listing) -> list[str]:
    """A sentence on each reason why folders cannot be listed."""
    groups: dict[str, list[str]] = {}
    for path, reason in listing.closed.items():
        groups.setdefault(reason, []).append(path)
    return [f"{some_of(paths)} cannot be listed: {reason}" for reason, paths in groups.items()]


def _foreign_files(listing: Listing) -> list[str]:
    """Sentences on images of kinds that are not read and on archives, if there are any."""
    archives = [path for path in listing.foreign if path.lower().endswith(ARCHIVES)]
    images = [path for path in listing.foreign if path not in archives]
    found = []
    if images:
        found.append(
            f"{_files(len(images))} not used, as images of this kind are not read: {examples(images)}; "
            "convert them to NIfTI (.nii.gz) first, DICOM for example with dcm2niix"
        )
    if archives:
        found.append(f"not used: {counted(len(archives), 'archive')}, {examples(archives)}; unpack {_them(archives)}")
    return found


def other_files(listing: Listing) -> list[str]:
    """A sentence on files that are not known as images, for a folder in which there are no others."""
    if not listing.others:
        return []
    return [
        f"{counted(len(listing.others), 'file')} of other kinds there: {examples(listing.others)}; if they are images, "
        "convert them to NIfTI (.nii.gz) first, DICOM for example with dcm2niix"
    ]


def _outputs(listing: Listing) -> list[str]:
    """A sentence on images that ``spuproj predict`` wrote, if there are any."""
    paths = listing.outputs
    if not paths:
        return []
    return [f"{_files(len(paths))} not used, as 'spuproj predict' wrote {_them(paths)}: {some_of(paths)}"]


def _place(path: str) -> str:
    parent = os.path.dirname(path)
    return f"{parent}/" if parent else ""


def examples(paths: Sequence[str]) -> str:
    """One path of each kind, with the number of others like it; numbers and the case's name make no kind."""
    kinds: dict[str, list[str]] = {}
    for path in paths:
        kinds.setdefault(_kind(path), []).append(path)
    shown = [
        _shown(each[0]) + (f" (and {len(each) - 1} like it)" if len(each) > 1 else "")
        for each in list(kinds.values())[:_KINDS]
    ]
    return ", ".join(shown) + (f", and {len(kinds) - _KINDS} kinds more" if len(kinds) > _KINDS else "")


def _kind(path: str) -> str:
    folder, name = os.path.split(path)
    parent = os.path.basename(folder)
    return re.sub(r"\d+", "*", f"{os.path.dirname(folder)}/{name.replace(parent, '') if parent else name}")


def _shown(path: str) -> str:
    """A path as text that can be printed: bytes that are no text are written as their numbers."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _files(count: int) -> str:
    return "1 image is" if count == 1 else f"{count} images are"


def _them(paths: Sequence[str]) -> str:
    return "it" if len(paths) == 1 else "them"
