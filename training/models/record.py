"""The record of a training, ``training.json`` of a run, as far as it is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from spuproj.training.models.config import LENIENT
from spuproj.training.models.run import RECORD
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.json_file import read_json
from spuproj.training.runtime.settings import made

# Both stand in the card of a model, and in the header of its weights.
Hash = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]*$")]
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+_-]+$")]


@dataclass(config=LENIENT)
class Role:
    """The cases of a role, and the hash of their slices."""

    cases: list[str]
    sha256: Hash


@dataclass(config=LENIENT)
class Data:
    """The cases by role."""

    train: Role | None = None
    validation: Role | None = None


@dataclass(config=LENIENT)
class Calibration:
    """The cases that the temperature was fitted on."""

    cases: list[str]


@dataclass(config=LENIENT)
class Quality:
    """Of the validation cases; None where there was none to measure."""

    dice: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None


@dataclass(config=LENIENT)
class Versions:
    """Of packages."""

    spuproj: Version
    torch: Version


@dataclass(config=LENIENT)
class Record:
    """What other programs read of a record; all else in it is for people."""

    data: Data | None = None
    calibration: Calibration | None = None
    metrics: Quality | None = None
    versions: Versions | None = None


def roles_of(run: Path) -> dict[str, str]:
    """The cases that a run was trained or validated on, and which of both ("train", "validation").

    Empty where there is no record, as in the package's own models, or one that cannot be read.
    """
    try:
        data = made(Record, read_json(run / RECORD), "").data
    except InputError:
        return {}
    roles = {} if data is None else {"validation": data.validation, "train": data.train}
    return {name: role for role, found in roles.items() if found is not None for name in found.cases}


def read_record(run: Path) -> dict[str, Any]:
    """The content of a run's record, in which the fields of ``Record`` are what they should be.

    Raises:
        InputError: where there is no record, or it is none.
    """
    content = read_json(run / RECORD)
    made(Record, content, f"{run / RECORD} must be the record of a training, but is not: ")
    return content
