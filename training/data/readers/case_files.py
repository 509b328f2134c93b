"""The files of a case, and the names of its modalities."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.labels import LabelScheme
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.names import plain_name
from spuproj.training.runtime.wording import some_of

MODALITIES = ("t1", "t1ce", "t2", "flair")
SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Endings of the files that are read, in lower or upper case."""

SPELLINGS = {
    "t1": r"t1[ _-]?(n|w|pre|weighted)?",
    "t1ce": r"t1w?[ _+-]?(c|ce|gd|post)|(c|ce)[ _-]?t1w?",
    "t2": r"t2[ _-]?(w|weighted)?",
    "flair": r"t2f|(t2[ _-]?)?flair",
}
"""Regular expressions of the ways to write a modality, in lower or upper case."""

SEGMENTATION = (
    r"(ground[ _-]?)?truth|gt|annotations?|seg(m|mentation)?s?([ _-]?(mask|label|map))?|label(s|map)?"
    r"|gtv|(tumou?r|lesion)s?([ _-]?(seg(m|mentation)?|mask|label))?"
)
BRAIN_MASK = r"(brain[ _-]?)?mask"
"""Regular expressions of the ways to write that a file is a segmentation or a brain mask."""


class ImageFile(NamedTuple):
    """The file of a modality, and for a file of several volumes the number of this one; None where it holds one."""

    path: Path
    channel: int | None = None


@dataclass(frozen=True)
class CaseFiles:
    """The files of one patient. They need not be readable, nor be files: reading them tells.

    Attributes:
        name: of the case and its outputs, a plain file name.
        images: the file of each modality.
        label: the segmentation's file; None where there is none.
        mask: the brain mask's file; None where there is none.
        scheme: the meaning of the labels; None where it is unknown.
        findings: what is unusual about the files.
        patient: the patient's name; empty where it follows from the case's name.

    Raises:
        InputError: for a name that no file can have, see ``plain_name``.
    """

    name: str
    images: Mapping[str, ImageFile]
    label: Path | None = None
    mask: Path | None = None
    scheme: LabelScheme | None = None
    findings: tuple[Finding, ...] = ()
    patient: str = ""

    def __post_init__(self) -> None:
        plain_name(self.name, "the name of a case")


def errors_of(files: CaseFiles) -> str:
    """The errors among a case's findings, to end a message; empty where there are none."""
    return "".join(f"; {finding.message}" for finding in files.findings if finding.level == Level.ERROR)


def lacking(files: CaseFiles, modalities: Sequence[str]) -> tuple[str, ...]:
    """Those of the modalities that a case lacks: no file is named for them, or the file that is named is not there.

    A file that is there and cannot be read, or a link to nothing, is a fault of the data, and does not count.
    """
    named = files.images
    return tuple(name for name in modalities if name not in named or not os.path.lexists(named[name].path))


def without_suffix(name: str) -> str | None:
    """A file's name or path without its ending of ``SUFFIXES``; None where it has none of them, or nothing else."""
    lower = name.lower()
    ending = next((suffix for suffix in SUFFIXES if lower.endswith(suffix)), "")
    return (name[: -len(ending)] or None) if ending else None


def modality_named(name: str) -> str:
    """The name in ``MODALITIES`` for any spelling of it; other names in lower case."""
    word = name.strip().lower()
    return next((usual for usual, spelling in SPELLINGS.items() if re.fullmatch(spelling, word)), word)


def require_modality(name: str, where: str) -> str:
    """The same, for names of images. A segmentation among them would be learnt from.

    Args:
        name: as it is written.
        where: at the beginning of the error.

    Raises:
        InputError: for the name of a segmentation or a brain mask.
    """
    for spelling, what, field in ((SEGMENTATION, "a segmentation", "label"), (BRAIN_MASK, "a brain mask", "mask")):
        if re.fullmatch(spelling, name.strip().lower()):
            raise InputError(
                f"{where}images must be modalities, but {name!r:.60} is {what} by its name; give it as {field!r}, or "
                "rename it"
            )
    return modality_named(name)


def modalities_of(cases: Sequence[CaseFiles]) -> tuple[str, ...]:
    """The modalities of the cases, in the first case's order.

    Raises:
        InputError: where a case lacks a modality that another one has.
    """
    names = list(dict.fromkeys(name for case in cases for name in case.images))
    lacking: dict[tuple[str, ...], list[str]] = {}
    for case in cases:
        missing = tuple(name for name in names if name not in case.images)
        if missing:
            lacking.setdefault(missing, []).append(case.name)
    if lacking:
        groups = "; ".join(
            f"{len(each)} of {len(cases)} {'lacks' if len(each) == 1 else 'lack'} {', '.join(missing)}: {some_of(each)}"
            for missing, each in sorted(lacking.items(), key=lambda item: len(item[1]))
        )
        raise InputError(
            f"the cases must have the same modalities, but {groups}; cases that lack some can only be predicted, by "
            "models that were trained with augmentation; add the missing files, or write a manifest of the cases and "
            "modalities to use ('spuproj manifest') and correct it" + "".join(map(errors_of, cases))
        )
    return tuple(names)
