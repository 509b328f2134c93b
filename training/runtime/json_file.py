"""JSON files that hold one object."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import atomic_write, why_no_file


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically. NaN, which JSON does not have, becomes null."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(_without_nan(value), indent=2) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    Raises:
        InputError: where the file is missing or damaged, names something twice, or holds anything but an object.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path} must be a JSON file, but {why_no_file(path)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} must be a JSON file, but cannot be read: {error}") from None
    return json_object(content, path)


def json_object(content: bytes, path: Path) -> dict[str, Any]:
    """The object that the content of a JSON file is. Raises InputError as ``read_json`` does; it names the file."""
    try:
        # Deep nesting is a RecursionError.
        found = json.loads(content, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} must be a JSON file, but cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(found).__name__}")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields. Of two with one name JSON's readers would keep the last."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r:.80} is there twice in one object")
        found[name] = value
    return found
