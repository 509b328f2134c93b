"""The slices of a cohort as a dataset."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from spuproj.training.data.cache import CachedCase, cached_case, in_turn
from spuproj.training.data.patients import patient_of
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.splits import Split
from spuproj.training.runtime.execution import Hardware
from spuproj.training.runtime.files import InputError

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class SliceEntry:
    """One slice: its case, its index among the case's cached slices, and whether it shows the target."""

    case: CachedCase
    position: int
    positive: bool


class SliceDataset(Dataset[Batch]):
    """Slices of all cases. An item is a whole batch, indexed by a list of (slice, view) pairs."""

    def __init__(self, entries: Sequence[SliceEntry], target: str) -> None:
        self.entries = entries
        cases = {entry.case.name: entry.case for entry in entries}
        self._lookups = {name: _target_lookup(case, target) for name, case in cases.items()}

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, chosen: Sequence[tuple[int, int]]) -> Batch:
        """Images ``[B, C, H, W]`` float16, labels ``[B, 1, H, W]`` uint8 (1 inside the target), views ``[B]``."""
        entries = [self.entries[index] for index, _ in chosen]
        images = np.stack([entry.case.image[entry.position] for entry in entries])
        labels = np.stack([self._mask(entry) for entry in entries])
        views = torch.tensor([view for _, view in chosen])
        return torch.from_numpy(images), torch.from_numpy(labels[:, None]), views

    def _mask(self, entry: SliceEntry) -> NDArray[np.uint8]:
        mask: NDArray[np.uint8] = np.take(self._lookups[entry.case.name], entry.case.labels[entry.position])
        return mask


def _target_lookup(case: CachedCase, target: str) -> NDArray[np.uint8]:
    """Lookup table ``[256]``: whether a label value belongs to the target. Ten times faster than comparing."""
    return case.scheme.mask(np.arange(256, dtype=np.uint8), target).astype(np.uint8)


@dataclass(frozen=True)
class Cohort:
    """The slices with brain of every case, and the size that all slices share.

    Attributes:
        cases: by case name.
        entries: slices by case name.
        size: (H, W) of every slice.
        field: height and width of every slice, in mm.
        patients: the patient of each case, by its name.
    """

    cases: dict[str, CachedCase]
    entries: dict[str, list[SliceEntry]]
    size: tuple[int, int]
    field: tuple[float, float]
    patients: dict[str, str]

    def split(self, held_out: int, seed: int) -> tuple[list[str], list[str]]:
        """Names of training and of validation cases, drawn at random by patient; both groups have the target.

        At least ``held_out`` cases validate; they are more where the last patient who was drawn has several.

        Raises:
            InputError: where fewer than two patients have the target, or too few are left to train on.
        """
        patients = sorted(set(self.patients.values()))
        random.Random(seed).shuffle(patients)
        positive = [patient for patient in patients if any(entry.positive for entry in self._entries_of(patient))]
        if len(positive) < 2:
            raise InputError(
                f"at least two cases must hold some of the target, one to train and one to validate on, of different "
                f"patients, got {len(positive)} of {len(patients)}"
            )
        validation: list[str] = []
        for patient in [positive[0], *(patient for patient in patients if patient not in positive[:2])]:
            if len(validation) < held_out:
                validation += [name for name in self.entries if self.patients[name] == patient]
        return sorted(set(self.entries) - set(validation)), validation

    def _entries_of(self, patient: str) -> list[SliceEntry]:
        return [entry for name, each in self.entries.items() if self.patients[name] == patient for entry in each]

    def roles(self, split: Split) -> tuple[list[str], list[str]]:
        """The same, from a split. Raises InputError where the cases of a role do not have the target."""
        for role, names in (("train", split.train), ("validation", split.validation)):
            if not any(entry.positive for name in names for entry in self.entries[name]):
                raise InputError(f"the {role} cases of the split must hold some of the target, but hold none")
        return list(split.train), list(split.validation)

    def digest(self, names: Sequence[str]) -> str:
        """SHA-256 of the arrays of the named cases, in hexadecimal; their order does not matter."""
        lines = [f"{name} {self.cases[name].digest}\n" for name in sorted(names)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def cache_cohort(
    cases: Sequence[CaseFiles], modalities: Sequence[str], target: str, cache: Path, on_case: Callable[[str], None]
) -> Cohort:
    """The slices of every case, through the cache. ``on_case`` is called with each case's name.

    Raises:
        InputError: for a case that does not load, one whose slices differ from another's in size or field, or an
            unknown target.
    """
    found: dict[str, CachedCase] = {}
    for files in in_turn(cases):
        case = cached_case(files, modalities, cache)
        first = next(iter(found.values()), case)
        if case.size != first.size or not np.allclose(case.field, first.field, rtol=0.01):
            raise InputError(
                f"{case.name} must have slices like {first.name}, {first.size} pixels over {first.field} mm, "
                f"got {case.size} over {case.field}"
            )
        _target_lookup(case, target)
        found[case.name] = case
        on_case(case.name)
    ordered = {files.name: found[files.name] for files in cases}
    entries = {name: _entries(case, target) for name, case in ordered.items()}
    first = found[cases[0].name]
    patients = {files.name: patient_of(files) for files in cases}
    return Cohort(ordered, entries, first.size, first.field, patients)


def _entries(case: CachedCase, target: str) -> list[SliceEntry]:
    lookup = _target_lookup(case, target)
    return [SliceEntry(case, position, bool(lookup[values].any())) for position, values in enumerate(case.values)]


def make_loader(
    entries: list[SliceEntry], target: str, sampler: Sampler[list[tuple[int, int]]], hardware: Hardware
) -> DataLoader[Batch]:
    """Batches of slices, in the sampler's order."""
    workers = hardware.workers
    return DataLoader(
        SliceDataset(entries, target),
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        # Forked workers share the memory-mapped arrays; spawned ones would get copies.
        multiprocessing_context="fork" if workers > 0 else None,
        pin_memory=torch.cuda.is_available(),
    )
