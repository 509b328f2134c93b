"""Splits of a data set into training, validation and test cases, by patient, in a JSON file."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spuproj.training.data.labels import unclear
from spuproj.training.data.patients import patient_of
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile
from spuproj.training.data.volumes.image_file import open_volume
from spuproj.training.data.volumes.segmentation import label_values
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import refuse_overwrite
from spuproj.training.runtime.json_file import read_json, write_json
from spuproj.training.runtime.names import repeated
from spuproj.training.runtime.wording import some_of

# How often the patients who validate are drawn anew, until both they and those who train have every target.
_DRAWS = 20
_LISTED = 3

Targets = Mapping[str, frozenset[str]]
"""The targets that each case has, by its name."""


@dataclass(frozen=True)
class Split:
    """Names of cases by role; a patient has one role."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


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


def folds(cases: Sequence[CaseFiles], count: int, seed: int, targets: Targets) -> list[Split]:
    """Cross-validation: each patient is tested once; an eighth of the others, at least one, validates.

    Folds are stratified by the targets that a patient has (scikit-learn's ``StratifiedGroupKFold``). Who validates is
    drawn up to 20 times, until both they and those who train have every target that two of the patients have.

    Args:
        cases: of all patients; a patient may have several.
        count: number of folds.
        seed: of the drawing; the order of the cases does not matter.
        targets: see ``targets_of``.

    Raises:
        InputError: for fewer than two folds, or too few patients.
    """
    require_folds(cases, count)
    splits = []
    for test in _stratified(cases, count, seed, targets):
        others = [case for case in cases if patient_of(case) not in test]
        if len(_patients(others)) < 2:
            total = len(_patients(cases))
            raise InputError(f"folds must leave patients to train and to validate on, got {count} of {total}")
        splits.append(_split(cases, _validating(others, seed, targets), sorted(test)))
    return splits


def _patients(cases: Sequence[CaseFiles]) -> set[str]:
    return {patient_of(case) for case in cases}


def require_folds(cases: Sequence[CaseFiles], count: int) -> None:
    """Raises InputError for fewer than two folds, or too few patients."""
    patients = _patients(cases)
    if not 2 <= count <= len(patients) or len(patients) < 3:
        raise InputError(
            f"folds must be at least 2 and at most the number of patients, {len(patients)}, got {count}; 3 patients "
            "are the least, to train, validate and test on"
        )


def targets_of(case: CaseFiles) -> frozenset[str]:
    """The targets that a case's segmentation shows any of; none where there is no segmentation.

    Raises:
        InputError: where the segmentation cannot be read, or nothing tells what its labels mean.
    """
    if case.label is None:
        return frozenset()
    if case.scheme is None:
        raise unclear(case.label)
    values = label_values(open_volume(ImageFile(case.label)))
    return frozenset(name for name, members in case.scheme.targets.items() if not values.isdisjoint(members))


def targets_of_each(cases: Sequence[CaseFiles], on_case: Callable[[str], None]) -> dict[str, frozenset[str]]:
    """The targets of each case, by its name. ``on_case`` is called with the name of each.

    Raises:
        InputError: where segmentations cannot be read, with the first of them and how many there are.
    """
    targets: dict[str, frozenset[str]] = {}
    faults: list[str] = []
    for case in cases:
        try:
            targets[case.name] = targets_of(case)
        except InputError as error:
            faults.append(str(error))
        on_case(case.name)
    if faults:
        listed = "; ".join(faults[:_LISTED]) + ("; ..." if len(faults) > _LISTED else "")
        raise InputError(
            f"{len(faults)} of {len(cases)} segmentations cannot be used ('spuproj check' lists all): {listed}"
        )
    return targets


def missing_targets(names: Sequence[str], targets: Targets) -> list[str]:
    """The targets of the data that none of the named cases has."""
    return sorted(frozenset().union(*targets.values()) - frozenset().union(*(targets[name] for name in names)))


def _by_patient(cases: Sequence[CaseFiles], targets: Targets) -> dict[str, frozenset[str]]:
    """The targets that each patient has in any case."""
    found: dict[str, frozenset[str]] = {}
    for case in cases:
        found[patient_of(case)] = found.get(patient_of(case), frozenset()) | targets[case.name]
    return found


def _stratified(cases: Sequence[CaseFiles], count: int, seed: int, targets: Targets) -> Iterator[set[str]]:
    """The patients, dealt to folds of about as many cases of each kind."""
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    has = _by_patient(cases, targets)
    patients = sorted(patient_of(case) for case in cases)
    kinds = ["+".join(sorted(has[patient])) for patient in patients]
    # scikit-learn refuses folds that outnumber the cases of every kind.
    if max(Counter(kinds).values()) < count:
        kinds = [""] * len(kinds)
    # NumPy's seeds have 32 bits.
    folding = StratifiedGroupKFold(count, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class in y", UserWarning)
        dealt = list(folding.split(kinds, kinds, patients))
    for _, held_out in dealt:
        yield {patients[index] for index in held_out}


def _validating(cases: Sequence[CaseFiles], seed: int, targets: Targets) -> list[str]:
    """An eighth of the patients, at least one; both they and the others have every target that two patients have."""
    has = _by_patient(cases, targets)
    patients_with = Counter(target for each in has.values() for target in each)
    wanted = {target for target, number in patients_with.items() if number > 1}
    best, most = set[str](), -1
    for draw in range(_DRAWS):
        for patients in _stratified(cases, min(8, len(has)), seed + draw, targets):
            others = has.keys() - patients
            both = wanted.intersection(*(frozenset().union(*map(has.__getitem__, side)) for side in (patients, others)))
            if len(both) > most:
                best, most = patients, len(both)
            if most == len(wanted):
                return sorted(best)
    return sorted(best)


def _shuffled(cases: Sequence[CaseFiles], seed: int) -> list[str]:
    patients = sorted(_patients(cases))
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
        entries = read_json(path)["splits"]
        splits = [Split(*(_names(entry[role]) for role in ("train", "validation", "test"))) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} must be a file of 'spuproj split', but cannot be read: {reason}") from None
    if not splits:
        raise InputError(f"{path} must be a file of 'spuproj split', but has no splits")
    if not 0 <= fold < len(splits):
        raise InputError(f"fold must be one of 0 to {len(splits) - 1} in {path}, got {fold}")
    split = splits[fold]
    if twice := repeated((*split.train, *split.validation, *split.test)):
        raise InputError(f"{path} must have each case in one role, but {twice[0]} has more than one in fold {fold}")
    return split


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"a role must be a list of names of cases, got {value!r:.60}")
    return tuple(value)


def chosen(cases: Sequence[CaseFiles], names: Sequence[str], source: Path) -> list[CaseFiles]:
    """The cases of these names, which a file names. Raises InputError where the data set lacks one."""
    known = {case.name: case for case in cases}
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(
            f"the data must hold all cases that {source} names, but hold no {some_of(missing)}; give the data that it "
            "was made of, or make another one"
        )
    return [known[name] for name in names]
