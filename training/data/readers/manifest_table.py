"""Manifests in CSV, as Excel and other programs write it in any country."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from spuproj.training.data.findings import Finding, Level
from spuproj.training.data.readers.case_files import BRAIN_MASK, SEGMENTATION, CaseFiles, ImageFile, modality_named
from spuproj.training.data.readers.manifest import by_modality, check_names, file_in, scheme_in
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import why_no_file
from spuproj.training.runtime.names import repeated
from spuproj.training.runtime.wording import some_of

_COLUMNS = {
    "name": "name",
    "labels": "labels",
    "patient": "patient",
    "label": SEGMENTATION,
    "mask": BRAIN_MASK,
}
"""Regular expressions of the headings of columns that are no modalities; the first that matches counts."""

Row = tuple[int, Mapping[str, str]]
"""The number of its line, and the cells by column."""


def csv_manifest(path: Path) -> list[CaseFiles]:
    """The cases of a table with the column ``name``, optionally ``label``, ``mask``, ``labels`` (the name of a scheme)
    and ``patient``; every other column is a modality, which a case with an empty cell lacks.

    Text may be in UTF-8, UTF-16 or Windows' Western encoding; cells are separated by commas, semicolons, tabs or
    vertical bars.

    Raises:
        InputError: for a file that is no such table, with the line.
    """
    text, guessed = _text(path)
    rows = list(_rows(path, text))
    check_names(path, [cells["name"] for _, cells in rows])
    return [_case(path, line, cells, guessed) for line, cells in rows]


def _rows(path: Path, text: str) -> Iterator[Row]:
    first, _, rest = text.partition("\n")
    # Excel's own way to say what separates cells.
    if first.strip().strip('"').lower().startswith("sep="):
        yield from _table(path, rest, first.strip().strip('"')[4:] or ",", 1)
    else:
        heading = next((line for line in text.split("\n") if line.strip()), "")
        yield from _table(path, text, max(",;\t|", key=lambda mark: _columns_with(heading, mark)), 0)


def _columns_with(heading: str, mark: str) -> int:
    try:
        return len(next(csv.reader([heading], delimiter=mark), []))
    # A cell longer than the csv module takes, which reading the table then tells.
    except csv.Error:
        return 0


def _table(path: Path, text: str, mark: str, before: int) -> Iterator[Row]:
    """The rows with cells; ``before`` is the number of lines above the headings."""
    reader = csv.reader(io.StringIO(text), delimiter=mark[:1])
    columns: list[str] = []
    try:
        for cells in reader:
            line, stripped = reader.line_num + before, [cell.strip() for cell in cells]
            if not any(stripped):
                continue
            if columns:
                yield line, _by_column(path, line, columns, stripped)
            else:
                columns = _headings(path, stripped)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num + before}: must be a row of a table, but {error}") from None
    if not columns:
        raise InputError(f"{path} must have a heading with the column name, but is empty")


def _text(path: Path) -> tuple[str, bool]:
    """The text, and whether its encoding was taken for granted."""
    # A pipe would be waited for.
    if not path.is_file():
        raise InputError(f"{path} must be a manifest, but {why_no_file(path)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} must be a manifest, but cannot be read: {error}") from None
    # A byte-order mark or zeros tell UTF-8, -16 and -32. Windows' encoding has a character for almost every byte.
    for encoding in (json.detect_encoding(content), "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n"), encoding == "cp1252"
    raise InputError(f"{path} must be a table in text (CSV), but is not; save it as 'CSV UTF-8'")


def _headings(path: Path, cells: Sequence[str]) -> list[str]:
    """The columns; those without a heading are empty."""
    columns = [_column(cell) for cell in cells]
    if twice := repeated(filter(None, columns)):
        alike = [repr(cell) for cell, column in zip(cells, columns, strict=True) if column == twice[0]]
        raise InputError(
            f"{path}: each column must be there once, but {' and '.join(alike)} are both {twice[0]!r}; "
            "name one of them otherwise or remove it"
        )
    if "name" not in columns:
        raise InputError(
            f"{path} must have a column 'name', but has {some_of([f'{cell:.60}' for cell in cells if cell])}"
        )
    return columns


def _column(heading: str) -> str:
    word = heading.lower()
    return next((column for column, spelling in _COLUMNS.items() if re.fullmatch(spelling, word)), modality_named(word))


def _by_column(path: Path, line: int, columns: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    extra = [cell for number, cell in enumerate(cells) if cell and (number >= len(columns) or not columns[number])]
    if extra:
        raise InputError(f"{path}, line {line}: cells must be of a column with a heading, but {extra[0]!r} is not")
    if len(cells) < len(columns):
        raise InputError(
            f"{path}, line {line}: must have a cell for each of {len(columns)} columns, be it an empty one, but has "
            f"{len(cells)}; a part of the row may be missing"
        )
    found = {column: cell for column, cell in zip(columns, cells, strict=False) if column}
    if not found["name"]:
        raise InputError(f"{path}, line {line}: name must not be empty")
    return found


def _case(path: Path, line: int, cells: Mapping[str, str], guessed: bool) -> CaseFiles:
    where = f"{path}, case {cells['name']}: "
    files = {column: cell for column, cell in cells.items() if column not in _COLUMNS}
    if not any(files.values()):
        raise InputError(f"{where}{' or '.join(files) or 'a modality'} must have a file, but has none (line {line})")
    return CaseFiles(
        cells["name"],
        by_modality(where, {column: ImageFile(file_in(path, where, cell)) for column, cell in files.items() if cell}),
        file_in(path, where, cells["label"]) if cells.get("label") else None,
        file_in(path, where, cells["mask"]) if cells.get("mask") else None,
        scheme_in(cells.get("labels") or None, where),
        findings=tuple(_read_as_western(cell) for cell in cells.values() if guessed and not cell.isascii())[:1],
        patient=cells.get("patient", ""),
    )


def _read_as_western(cell: str) -> Finding:
    return Finding(
        Level.NOTE,
        f"the table's letters are read in Windows' Western encoding, such as {cell!r:.80}; if that is wrong, "
        "save it as 'CSV UTF-8'",
    )
