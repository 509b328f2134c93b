"""Manifests: CSV or JSON files that list cases of any modalities and targets."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spuproj.training.data.labels import LabelScheme, own_scheme, scheme_named
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile, modality_named
from spuproj.training.runtime.files import InputError, read_json

# Columns of a CSV manifest that are no modalities.
_COLUMNS = ("name", "label", "mask", "labels", "patient")


def recognises(source: Path) -> bool:
    """Whether the name ends in ``.csv`` or ``.json``."""
    return source.suffix in (".csv", ".json")


def read(source: Path) -> Iterator[CaseFiles]:
    """The cases of a manifest."""
    if not source.is_file():
        raise InputError(f"{source} must be a manifest, but there is no such file")
    return _csv_manifest(source) if source.suffix == ".csv" else _json_manifest(source)


def _csv_manifest(path: Path) -> Iterator[CaseFiles]:
    """Column ``name``, optionally others of ``_COLUMNS``; every other column is a modality."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows, start=2):
        if not row.get("name"):
            raise InputError(f"{path}, line {number}: name must not be empty")
        images = {column: value for column, value in row.items() if column not in _COLUMNS}
        scheme = scheme_named(row["labels"]) if row.get("labels") else None
        yield _listed(path, row, images, scheme)


def _json_manifest(path: Path) -> Iterator[CaseFiles]:
    """``labels``: a scheme, or label values by target. ``cases``: objects with ``name``, ``images`` by modality and
    optionally ``label``, ``mask`` and ``patient``.
    """
    content = read_json(path)
    scheme = _scheme_in(path, content.get("labels"))
    cases = content.get("cases")
    if not isinstance(cases, list):
        raise InputError(f"{path} must have a list 'cases', but has none")
    for number, case in enumerate(cases):
        if not (isinstance(case, dict) and case.get("name") and isinstance(case.get("images"), dict)):
            raise InputError(f"{path}, case {number}: must have a name and images, got {case}")
        yield _listed(path, case, case["images"], scheme)


def _scheme_in(path: Path, labels: Any) -> LabelScheme | None:
    if labels is None:
        return None
    if isinstance(labels, str):
        return scheme_named(labels)
    try:
        return own_scheme({str(target): tuple(int(value) for value in values) for target, values in labels.items()})
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"{path}: labels must name a scheme or list each target's values, got {labels}") from None


def _listed(path: Path, entry: Mapping[str, Any], images: Mapping[str, Any], scheme: LabelScheme | None) -> CaseFiles:
    """A case of a manifest; paths are relative to the manifest."""
    name, label, mask = str(entry["name"]), entry.get("label"), entry.get("mask")
    missing = [column for column, value in images.items() if not value]
    if not images or missing:
        raise InputError(f"{path}, case {name}: {', '.join(missing) or 'a modality'} must have a file, but has none")
    base = path.absolute().parent
    files = {modality_named(str(column)): ImageFile(base / str(value)) for column, value in images.items()}
    return CaseFiles(
        name,
        files,
        base / str(label) if label else None,
        base / str(mask) if mask else None,
        scheme,
        patient=str(entry.get("patient") or ""),
    )
