"""The files of a case, and the names of its modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spuproj.training.data.labels import LabelScheme

MODALITIES = ("t1", "t1ce", "t2", "flair")
SUFFIXES = (".nii.gz", ".nii")

_ALIASES = {
    "t1": ("t1", "t1n", "t1w"),
    "t1ce": ("t1ce", "t1c", "t1gd", "t1-gd"),
    "t2": ("t2", "t2w"),
    "flair": ("flair", "t2f", "t2-flair"),
}


@dataclass(frozen=True)
class CaseFiles:
    """The files of one patient.

    Attributes:
        name: of the case and its outputs.
        images: the file of each modality, whether it exists or not.
        label: the segmentation's file, whether it exists or not; None where the format names none.
        mask: the brain mask's file; None where the brain is what is not zero.
        scheme: the meaning of the labels; None where it is unknown.
        notes: what is unusual about the files, for the data check.
        patient: the patient's name; empty where it follows from the case's name.
    """

    name: str
    images: Mapping[str, Path]
    label: Path | None = None
    mask: Path | None = None
    scheme: LabelScheme | None = None
    notes: tuple[str, ...] = ()
    patient: str = ""

    @property
    def labelled(self) -> bool:
        """Whether the segmentation's file exists."""
        return self.label is not None and self.label.is_file()


def modality_named(name: str) -> str:
    """The name in ``MODALITIES`` for any spelling of it; other names in lower case."""
    word = name.strip().lower()
    return next((usual for usual, others in _ALIASES.items() if word in others), word)


def modalities_of(cases: Sequence[CaseFiles]) -> tuple[str, ...]:
    """The modalities that all cases have, in the first case's order."""
    return tuple(name for name in cases[0].images if all(name in case.images for case in cases))
