"""Case folders with the file names of BraTS."""

from __future__ import annotations

import os
import re
from pathlib import Path

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.labels import SCHEMES, scheme_named
from spuproj.training.data.readers.case_files import SUFFIXES, CaseFiles, ImageFile
from spuproj.training.runtime.files import InputError

# File names of BraTS 2020 and 2021, and of BraTS 2023 and later.
_CONVENTIONS = {
    "brats2020": ("_", {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair"}),
    "brats2023": ("-", {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}),
}


def case_in(folder: Path, labels: str | None = None) -> CaseFiles:
    """The files of a BraTS case folder ``<id>``: ``<id>_t1.nii.gz`` and so on, or ``<id>-t1n.nii.gz``.

    Args:
        folder: of the case.
        labels: name of the label scheme, in place of the one that the file names imply.

    Raises:
        InputError: where there is no such folder, or for an unknown scheme.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise InputError(f"{folder} must be a case folder, but there is no such folder")
    convention = _convention(folder)
    separator, endings = _CONVENTIONS[convention]
    images = {name: ImageFile(_file(folder / f"{folder.name}{separator}{ending}")) for name, ending in endings.items()}
    label, notes = _segmentation(folder, _file(folder / f"{folder.name}{separator}seg"))
    scheme = scheme_named(labels) if labels is not None else SCHEMES[convention]
    findings = tuple(Finding(Level.NOTE, note) for note in notes)
    return CaseFiles(folder.name, images, label if os.path.lexists(label) else None, None, scheme, findings)


def recognises(source: Path) -> bool:
    """Always: case folders have no file that identifies them, and so this reader comes last."""
    return True


def read(source: Path) -> list[CaseFiles]:
    """The cases of a folder of case folders."""
    return [case_in(folder) for folder in _case_folders(source)]


def _case_folders(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InputError(f"{source} must be a folder of case folders, but there is no such folder")
    folders = sorted(folder for folder in source.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    cases = [folder for folder in folders if any(folder.glob("*.nii*"))]
    if not cases:
        raise InputError(f"{source} must hold case folders with NIfTI files in them, but holds none")
    return cases


def _file(stem: Path) -> Path:
    """The stem with ``.nii.gz`` or ``.nii``, whichever exists; ``.nii.gz`` where neither does."""
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def _convention(folder: Path) -> str:
    """The naming convention that fits most files; the older one where none fits."""

    def present(convention: str) -> int:
        separator, endings = _CONVENTIONS[convention]
        return sum(_file(folder / f"{folder.name}{separator}{ending}").is_file() for ending in endings.values())

    return max(_CONVENTIONS, key=present)


def _segmentation(folder: Path, usual: Path) -> tuple[Path, tuple[str, ...]]:
    """The segmentation, and a note on an unusual name: case 355 of BraTS 2020 has ``W39_1998.09.19_Segm.nii``."""
    if usual.is_file():
        return usual, ()
    others = [path for path in sorted(folder.glob("*.nii*")) if re.search(r"segm?\.nii", path.name, re.IGNORECASE)]
    if len(others) == 1:
        return others[0], (f"the segmentation is {others[0].name}, where {usual.name} is expected",)
    return usual, ()
