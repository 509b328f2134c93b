"""Where a data set's files are: BraTS folders, nnU-Net's raw format, and manifests of any modalities and targets."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spuproj.training.files import InputError
from spuproj.training.schemes import SCHEMES, Scheme, own_scheme, scheme_named, scheme_of_names

MODALITIES = ("t1", "t1ce", "t2", "flair")
SUFFIXES = (".nii.gz", ".nii")

_ALIASES = {
    "t1": ("t1", "t1n", "t1w"),
    "t1ce": ("t1ce", "t1c", "t1gd", "t1-gd"),
    "t2": ("t2", "t2w"),
    "flair": ("flair", "t2f", "t2-flair"),
}
# BraTS 2020's and 2021's folders, and those from 2023 on.
_CONVENTIONS = {
    "brats2020": ("_", {"t1": "t1", "t1ce": "t1ce", "t2": "t2", "flair": "flair"}),
    "brats2023": ("-", {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}),
}
# Of a manifest in CSV, beside the modalities.
_COLUMNS = ("name", "label", "mask", "labels", "patient")


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
    scheme: Scheme | None = None
    notes: tuple[str, ...] = ()
    patient: str = ""

    @property
    def labelled(self) -> bool:
        """Whether there is a segmentation."""
        return self.label is not None and self.label.is_file()


def case_in(folder: Path, labels: str | None = None) -> CaseFiles:
    """The files of a BraTS case folder ``<id>``: ``<id>_t1.nii.gz`` and so on, or ``<id>-t1n.nii.gz``.

    Args:
        folder: of the case.
        labels: name of the label scheme, where the file names' own is not the right one.

    Raises:
        InputError: where there is no such folder, or for an unknown scheme.
    """
    folder = Path(os.path.abspath(folder))
    if not folder.is_dir():
        raise InputError(f"{folder} must be a case folder, but there is no such folder")
    convention = _convention(folder)
    separator, endings = _CONVENTIONS[convention]
    images = {name: _file(folder / f"{folder.name}{separator}{ending}") for name, ending in endings.items()}
    label, notes = _segmentation(folder, _file(folder / f"{folder.name}{separator}seg"))
    scheme = scheme_named(labels) if labels is not None else SCHEMES[convention]
    return CaseFiles(folder.name, images, label, None, scheme, notes)


def cases_in(source: Path, labels: str | None = None) -> list[CaseFiles]:
    """All cases of a data set, sorted by name.

    Args:
        source: a folder of BraTS case folders; a folder in nnU-Net's raw format, with ``dataset.json``; or a manifest,
            ``.csv`` or ``.json`` (see ``docs/data.md``).
        labels: name of the label scheme, where it is not to be the one that the files tell.

    Raises:
        InputError: where there are no cases, a name occurs twice, or a file cannot be read.
    """
    if source.suffix in (".csv", ".json"):
        found = list(_manifest(source))
    elif (source / "dataset.json").is_file():
        found = list(_nnunet(source))
    else:
        found = [case_in(folder, labels) for folder in _case_folders(source)]
    if not found:
        raise InputError(f"{source} must hold at least one case, but holds none")
    names = [case.name for case in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{source} must name each case once, but {twice[0]} occurs more than once")
    chosen = found if labels is None else [replace(case, scheme=scheme_named(labels)) for case in found]
    return sorted(chosen, key=lambda case: case.name)


def _case_folders(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InputError(f"{source} must be a folder of case folders, but there is no such folder")
    folders = sorted(folder for folder in source.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    cases = [folder for folder in folders if any(folder.glob("*.nii*"))]
    if not cases:
        raise InputError(f"{source} must hold case folders with NIfTI files in them, but holds none")
    return cases


def _file(stem: Path) -> Path:
    """The file of a stem, with the ending that is there, or the usual one where none is."""
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def _convention(folder: Path) -> str:
    """Whose file names most of the folder's files have; the older ones' where none has any."""

    def present(convention: str) -> int:
        separator, endings = _CONVENTIONS[convention]
        return sum(_file(folder / f"{folder.name}{separator}{ending}").is_file() for ending in endings.values())

    return max(_CONVENTIONS, key=present)


def _segmentation(folder: Path, usual: Path) -> tuple[Path, tuple[str, ...]]:
    """The segmentation, also under another name: BraTS 2020's case 355 has ``W39_1998.09.19_Segm.nii``."""
    if usual.is_file():
        return usual, ()
    others = [path for path in sorted(folder.glob("*.nii*")) if re.search(r"segm?\.nii", path.name, re.IGNORECASE)]
    if len(others) == 1:
        return others[0], (f"the segmentation is {others[0].name}, where {usual.name} is expected",)
    return usual, ()


def _nnunet(source: Path) -> Iterator[CaseFiles]:
    """nnU-Net's raw format: ``imagesTr/<id>_0000.nii.gz`` by channel, ``labelsTr/<id>.nii.gz``, ``dataset.json``."""
    description = _json(source / "dataset.json")
    channels, ending = description.get("channel_names"), description.get("file_ending", ".nii.gz")
    if not isinstance(channels, dict) or not channels:
        raise InputError(f"{source / 'dataset.json'} must name the channels (channel_names), but does not")
    modalities = {int(number): modality_named(str(name)) for number, name in channels.items()}
    named = description.get("labels", {})
    plain = isinstance(named, dict) and all(isinstance(value, int) for value in named.values())
    scheme = scheme_of_names({value: name for name, value in named.items()}) if plain else None
    for path in sorted((source / "imagesTr").glob(f"*_0000{ending}")):
        name = path.name.removesuffix(f"_0000{ending}")
        images = {
            modality: path.with_name(f"{name}_{number:04d}{ending}") for number, modality in sorted(modalities.items())
        }
        yield CaseFiles(name, images, source / "labelsTr" / f"{name}{ending}", None, scheme)


def modality_named(name: str) -> str:
    """The usual name of a modality; names that are not known stay as they are, in small letters."""
    word = name.strip().lower()
    return next((usual for usual, others in _ALIASES.items() if word in others), word)


def _manifest(path: Path) -> Iterator[CaseFiles]:
    if not path.is_file():
        raise InputError(f"{path} must be a manifest, but there is no such file")
    return _csv_manifest(path) if path.suffix == ".csv" else _json_manifest(path)


def _csv_manifest(path: Path) -> Iterator[CaseFiles]:
    """Columns ``name``, and where wanted those of ``_COLUMNS``; every other one is a modality."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=2):
        if not row.get("name"):
            raise InputError(f"{path}, line {number}: name must not be empty")
        images = {column: value for column, value in row.items() if column not in _COLUMNS}
        scheme = scheme_named(row["labels"]) if row.get("labels") else None
        yield _listed(path, row, images, scheme)


def _json_manifest(path: Path) -> Iterator[CaseFiles]:
    """``labels``: a scheme, or values by target; ``cases``: ``name``, ``images`` by modality, ``label``, ``mask``,
    ``patient``.
    """
    content = _json(path)
    scheme = _scheme_in(path, content.get("labels"))
    cases = content.get("cases")
    if not isinstance(cases, list):
        raise InputError(f"{path} must have a list 'cases', but has none")
    for number, case in enumerate(cases):
        if not (isinstance(case, dict) and case.get("name") and isinstance(case.get("images"), dict)):
            raise InputError(f"{path}, case {number}: must have a name and images, got {case}")
        yield _listed(path, case, case["images"], scheme)


def _scheme_in(path: Path, labels: Any) -> Scheme | None:
    if labels is None:
        return None
    if isinstance(labels, str):
        return scheme_named(labels)
    try:
        return own_scheme({str(target): tuple(int(value) for value in values) for target, values in labels.items()})
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"{path}: labels must name a scheme or list each target's values, got {labels}") from None


def _listed(path: Path, entry: Mapping[str, Any], images: Mapping[str, Any], scheme: Scheme | None) -> CaseFiles:
    """A case of a manifest, whose paths are relative to it."""
    name, label, mask = str(entry["name"]), entry.get("label"), entry.get("mask")
    missing = [column for column, value in images.items() if not value]
    if not images or missing:
        raise InputError(f"{path}, case {name}: {', '.join(missing) or 'a modality'} must have a file, but has none")
    base = path.absolute().parent
    files = {modality_named(str(column)): base / str(value) for column, value in images.items()}
    return CaseFiles(
        name,
        files,
        base / str(label) if label else None,
        base / str(mask) if mask else None,
        scheme,
        patient=str(entry.get("patient") or ""),
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be a JSON file, but cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def modalities_of(cases: Sequence[CaseFiles]) -> tuple[str, ...]:
    """The modalities that all cases have in common, in the first one's order."""
    return tuple(name for name in cases[0].images if all(name in case.images for case in cases))
