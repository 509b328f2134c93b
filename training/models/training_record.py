"""The record of a training, ``training.json`` of a run, as far as it is read."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from spuproj.training.models.run import RECORD
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.json_file import read_json
from spuproj.training.runtime.settings import LENIENT, made

# Both stand in the card of a model, and in the header of its weights.
Hash = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]*$")]
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+_-]+$")]


@dataclass(config=LENIENT)
class Role:
    """The cases of a role, and the hash of their slices."""

    cases: list[str] = field(default_factory=list)
    sha256: Hash = ""


@dataclass(config=LENIENT)
class Data:
    """The cases by role."""

    train: Role = field(default_factory=Role)
    validation: Role = field(default_factory=Role)

    @property
    def cases(self) -> set[str]:
        """The cases of both roles."""
        return {*self.train.cases, *self.validation.cases}


@dataclass(config=LENIENT)
class Calibration:
    """The cases that the temperature was fitted on."""

    cases: list[str] = field(default_factory=list)


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
    """What is read of a record; all else in it is for people."""

    data: Data = field(default_factory=Data)
    metrics: Quality = field(default_factory=Quality)
    calibration: Calibration | None = None
    versions: Versions | None = None


def roles_of(run: Path) -> dict[str, str]:
    """The cases that a run was trained or validated on, and which of both ("train", "validation").

    Empty where there is no record, as in the package's own models, or one that cannot be read.
    """
    try:
        data = read_record(run).data
    except InputError:
        return {}
    return dict.fromkeys(data.validation.cases, "validation") | dict.fromkeys(data.train.cases, "train")


def read_record(run: Path) -> Record:
    """The record of a run.

    Raises:
        InputError: where there is no record, or it is none.
    """
    return made(Record, read_json(run / RECORD), f"{run / RECORD} must be the record of a training, but is not: ")
