"""Manifests in JSON: files that list cases of any modalities and targets. They are read and written here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.labels import SCHEMES, LabelScheme, own_scheme, scheme_named
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, modality_named, require_modality
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.json_file import read_json, write_json
from spuproj.training.runtime.names import plain_name
from spuproj.training.runtime.settings import SETTINGS, made
from spuproj.training.runtime.wording import some_of

_LISTED = 12
_LEVELS = {"error": Level.ERROR, "warning": Level.WARNING, "note": Level.NOTE}


@dataclass(config=SETTINGS)
class ImageEntry:
    """A modality's file, and its channel in a file of several."""

    file: str
    channel: Annotated[int, Field(strict=True, ge=0)] | None = None


def _as_image(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


@dataclass(config=SETTINGS)
class Entry:
    """A case of a manifest."""

    name: str
    images: dict[str, Annotated[ImageEntry, BeforeValidator(_as_image)]]
    label: str | None = None
    mask: str | None = None
    labels: Any = None
    patient: str | None = None
    findings: list[str] | None = None


def json_manifest(path: Path) -> list[CaseFiles]:
    """The cases of a manifest.

    Raises:
        InputError: for a file that is no manifest, with the case and the field; for names of cases that are no plain
            file names, the first of them.
    """
    content = read_json(path)
    cases, unknown = content.get("cases"), sorted(set(content) - {"cases", "labels"})
    if not isinstance(cases, list):
        raise InputError(f"{path} must have a list 'cases', but has none")
    if unknown:
        raise InputError(f"{path} must have no fields besides 'cases' and 'labels', got {unknown[0]!r:.60}")
    scheme = scheme_in(content.get("labels"), f"{path}: ")
    entries = [_entry(path, number, case) for number, case in enumerate(cases)]
    check_names(path, [entry.name for entry in entries])
    return [_case(path, entry, scheme) for entry in entries]


def check_names(path: Path, names: Iterable[str]) -> None:
    """Raises InputError, which tells of the first of them, where names of cases are no plain file names."""
    wrong = []
    for name in names:
        try:
            plain_name(name, "the name of a case")
        except InputError as error:
            wrong.append(str(error))
    if wrong:
        raise InputError(f"{path}: {some_of(list(dict.fromkeys(wrong)), _LISTED, '; ')}")


def scheme_in(labels: object, beginning: str) -> LabelScheme | None:
    """The scheme that a manifest names, or whose targets' label values it lists; ``beginning`` begins its errors."""
    try:
        if labels is None:
            return None
        if isinstance(labels, str):
            return scheme_named(labels)
        if isinstance(labels, Mapping) and labels:
            return own_scheme(labels)
    except InputError as error:
        raise InputError(f"{beginning}{error}") from None
    raise InputError(f"{beginning}labels must name a scheme or list each target's values, got {labels!r:.80}")


def _entry(path: Path, number: int, case: object) -> Entry:
    if not (isinstance(case, dict) and case.get("name") and isinstance(case.get("images"), dict)):
        raise InputError(f"{path}, case {number}: must have a name and images, got {case!r:.200}")
    return made(Entry, case, f"{path}, case {number}: ")


def _case(path: Path, entry: Entry, scheme: LabelScheme | None) -> CaseFiles:
    where = f"{path}, case {entry.name}: "
    # A case whose files contradict each other is kept without images, with the error that says so.
    if not (entry.images or entry.findings):
        raise InputError(f"{where}a modality must have a file, but has none")
    files = {name: ImageFile(*_image(path, where, name, image)) for name, image in entry.images.items()}
    return CaseFiles(
        entry.name,
        by_modality(where, files),
        file_in(path, where, entry.label) if entry.label else None,
        file_in(path, where, entry.mask) if entry.mask else None,
        scheme if entry.labels is None else scheme_in(entry.labels, where),
        tuple(_finding(where, sentence) for sentence in entry.findings or []),
        patient=entry.patient or "",
    )


def _image(path: Path, where: str, name: str, image: ImageEntry) -> tuple[Path, int | None]:
    if not image.file:
        raise InputError(f"{where}{name} must have a file, but has none")
    return file_in(path, where, image.file), image.channel


def file_in(path: Path, where: str, text: str) -> Path:
    """A file that a manifest names, relative to it; as Windows writes it too. Raises InputError for no path."""
    # Of the surrogates, these stand for bytes of a file's name that are no text.
    odd = any(0xD800 <= ord(character) < 0xE000 and not 0xDC80 <= ord(character) < 0xDD00 for character in text)
    if odd or any(ord(character) < 32 for character in text):
        raise InputError(f"{where}a file must have a name without control characters, got {text!r:.80}")
    file = path.absolute().parent / text
    return file if os.path.lexists(file) else file.parent / file.name.replace("\\", "/")


def by_modality(where: str, files: Mapping[str, ImageFile]) -> dict[str, ImageFile]:
    """The files by modality, whatever spelling the manifest has.

    Raises:
        InputError: where two names are of one, or a name is that of a segmentation or a mask.
    """
    found: dict[str, ImageFile] = {}
    for name, file in files.items():
        modality = require_modality(name, where)
        if not modality:
            raise InputError(f"{where}each modality must have a name, but that of {file.path.name} is empty")
        if modality in found:
            others = [repr(other) for other in files if modality_named(other) == modality]
            raise InputError(
                f"{where}each modality must be named once, but {' and '.join(others)} are both {modality!r}; "
                "name one of them otherwise or remove it"
            )
        found[modality] = file
    return found


def _finding(where: str, sentence: str) -> Finding:
    level, separator, message = sentence.partition(": ")
    if level not in _LEVELS or not separator:
        raise InputError(f"{where}findings must begin with {', '.join(_LEVELS)} and a colon, got {sentence!r:.80}")
    return Finding(_LEVELS[level], message)


def write_manifest(path: Path, cases: Sequence[CaseFiles]) -> None:
    """Writes cases as a manifest that ``json_manifest`` reads to the same.

    Paths are relative to the manifest where the files lie in its folder or below, and absolute elsewhere; links stay
    links. What all cases have in common of the labels' meaning stands once.
    """
    schemes = [_labels_of(case.scheme) for case in cases if case.scheme is not None]
    common = schemes[0] if schemes and all(case.scheme == cases[0].scheme for case in cases) else None
    content = {} if common is None else {"labels": common}
    write_json(path, {**content, "cases": [_written(path, case, common is None) for case in cases]})


def _written(path: Path, case: CaseFiles, with_labels: bool) -> dict[str, Any]:
    base = path.absolute().parent

    def relative(file: Path) -> str:
        return os.fspath(file.relative_to(base) if file.is_relative_to(base) else file.absolute())

    names = {level: name for name, level in _LEVELS.items()}
    fields: dict[str, Any] = {
        "name": case.name,
        "patient": case.patient,
        "images": {
            name: relative(file) if channel is None else {"file": relative(file), "channel": channel}
            for name, (file, channel) in case.images.items()
        },
        "label": case.label and relative(case.label),
        "mask": case.mask and relative(case.mask),
        "labels": _labels_of(case.scheme) if with_labels and case.scheme is not None else None,
        "findings": [f"{names[finding.level]}: {finding.message}" for finding in case.findings],
    }
    return {name: value for name, value in fields.items() if value or name == "images"}


def _labels_of(scheme: LabelScheme) -> object:
    return scheme.name if scheme.name in SCHEMES else scheme.listed
