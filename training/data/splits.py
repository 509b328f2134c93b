"""Splits of a data set into training, validation and test cases, by patient, in a JSON file."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.runtime.files import InputError, refuse_overwrite, write_json

# BraTS-GLI-00008-103 is a follow-up scan of patient 00008.
_VISIT = re.compile(r"^(BraTS-[A-Za-z]+-\d+)-\d{3}$")


@dataclass(frozen=True)
class Split:
    """Names of cases by role; a patient has one role."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def patient_of(case: CaseFiles) -> str:
    """The patient of a case: as the data set says, or else the case's name without the number of the visit (BraTS)."""
    found = _VISIT.match(case.name)
    return case.patient or (found[1] if found else case.name)


def fixed_split(cases: Sequence[CaseFiles], validation: int, test: int, seed: int) -> Split:
    """One random split with given numbers of validation and test patients.

    Raises:
        InputError: where a number is below 1 or no patient is left for training.
    """
    patients = _shuffled(cases, seed)
    if validation < 1 or test < 1 or validation + test >= len(patients):
        raise InputError(
            f"validation and test must each have a patient and leave some of the {len(patients)} to train on, "
            f"got {validation} and {test}"
        )
    return _split(cases, patients[test : test + validation], patients[:test])


def folds(cases: Sequence[CaseFiles], count: int, seed: int) -> list[Split]:
    """Cross-validation: every patient is in one fold's test set; an eighth of the others, at least one, validates.

    Raises:
        InputError: for fewer than two folds, or too few patients.
    """
    patients = _shuffled(cases, seed)
    if not 2 <= count <= len(patients) or len(patients) < 3:
        raise InputError(f"folds must be at least 2 and at most the number of patients, {len(patients)}, got {count}")
    splits = []
    for fold in range(count):
        test = patients[fold::count]
        others = [patient for patient in patients if patient not in test]
        validating = max(1, len(others) // 8)
        if validating >= len(others):
            raise InputError(f"folds must leave patients to train and to validate on, got {count} of {len(patients)}")
        splits.append(_split(cases, others[:validating], test))
    return splits


def _shuffled(cases: Sequence[CaseFiles], seed: int) -> list[str]:
    patients = sorted({patient_of(case) for case in cases})
    random.Random(seed).shuffle(patients)
    return patients


def _split(cases: Sequence[CaseFiles], validation: Sequence[str], test: Sequence[str]) -> Split:
    def names(role: str) -> tuple[str, ...]:
        return tuple(sorted(case.name for case in cases if _role(patient_of(case), validation, test) == role))

    return Split(names("train"), names("validation"), names("test"))


def _role(patient: str, validation: Sequence[str], test: Sequence[str]) -> str:
    if patient in test:
        return "test"
    return "validation" if patient in validation else "train"


def write_splits(path: Path, splits: Sequence[Split], seed: int, *, force: bool = False) -> None:
    """Writes splits as JSON. Raises InputError where the file exists and ``force`` is not set."""
    refuse_overwrite([path], force)
    write_json(path, {"seed": seed, "splits": [asdict(split) for split in splits]})


def read_split(path: Path, fold: int = 0) -> Split:
    """One split of a file.

    Raises:
        InputError: where the file is not one of splits, does not have this fold, or a case has two roles.
    """
    try:
        entries = json.loads(path.read_text())["splits"]
        splits = [
            Split(*(tuple(map(str, entry[role])) for role in ("train", "validation", "test"))) for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} must be a file of 'spuproj split', but cannot be read: {error!r}") from None
    if not 0 <= fold < len(splits):
        raise InputError(f"fold must be one of 0 to {len(splits) - 1} in {path}, got {fold}")
    split = splits[fold]
    names = [*split.train, *split.validation, *split.test]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{path} must have each case in one role, but {twice[0]} has more than one in fold {fold}")
    return split


def chosen(cases: Sequence[CaseFiles], names: Sequence[str]) -> list[CaseFiles]:
    """The cases of these names. Raises InputError where the data set lacks one."""
    known = {case.name: case for case in cases}
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"the data must hold all cases of the split, but lacks {', '.join(missing)}")
    return [known[name] for name in names]
