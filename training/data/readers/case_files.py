"""The files of a case, and the names of its modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from spuproj.training.data.findings import Finding
from spuproj.training.data.labels import LabelScheme
from spuproj.training.runtime.names import plain_name

MODALITIES = ("t1", "t1ce", "t2", "flair")
SUFFIXES = (".nii.gz", ".nii")

_ALIASES = {
    "t1": ("t1", "t1n", "t1w"),
    "t1ce": ("t1ce", "t1c", "t1gd", "t1-gd"),
    "t2": ("t2", "t2w"),
    "flair": ("flair", "t2f", "t2-flair"),
}


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


def modality_named(name: str) -> str:
    """The name in ``MODALITIES`` for any spelling of it; other names in lower case."""
    word = name.strip().lower()
    return next((usual for usual, others in _ALIASES.items() if word in others), word)


def modalities_of(cases: Sequence[CaseFiles]) -> tuple[str, ...]:
    """The modalities that all cases have, in the first case's order."""
    return tuple(name for name in cases[0].images if all(name in case.images for case in cases))
