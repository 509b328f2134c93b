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
        name: what outputs are named after.
        images: the file of each modality; files that should be there are named whether they are or not.
        label: the segmentation, named whether it is there or not, or None where nothing names it.
        mask: the brain, or None where it is what is not zero.
        scheme: of the segmentation, or None where nothing tells it.
        notes: what is unusual, in words.
        patient: who it is, where the data says so; empty where the name tells.
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
        """Whether there is a segmentation."""
        return self.label is not None and self.label.is_file()


def modality_named(name: str) -> str:
    """The usual name of a modality; names that are not known stay as they are, in small letters."""
    word = name.strip().lower()
    return next((usual for usual, others in _ALIASES.items() if word in others), word)


def modalities_of(cases: Sequence[CaseFiles]) -> tuple[str, ...]:
    """The modalities that all cases have in common, in the first one's order."""
    return tuple(name for name in cases[0].images if all(name in case.images for case in cases))
