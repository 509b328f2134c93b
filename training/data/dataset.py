"""The slices of a cohort as a dataset."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from spuproj.training.data.cache import CachedCase, cached_case, in_turn
from spuproj.training.data.canvas import Canvas, canvas_around, fits_canvas, size_around, usual_pixel
from spuproj.training.data.patients import patient_of
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.sampler import Draw
from spuproj.training.data.splits import Split
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.execution import Hardware

Batch = tuple[Tensor, Tensor, Tensor]
Augment = Callable[[NDArray[Any], NDArray[np.uint8], int], tuple[NDArray[Any], NDArray[np.uint8]]]


@dataclass(frozen=True)
class SliceEntry:
    """One slice.

    Attributes:
        case: that it is of.
        canvas: where it lies among the slices of all cases.
        position: among the case's cached slices.
        positive: whether it shows the target.
    """

    case: CachedCase
    canvas: Canvas
    position: int
    positive: bool


class SliceDataset(Dataset[Batch]):
    """Slices of all cases. An item is a whole batch, indexed by a list of draws.

    Args:
        entries: the slices.
        target: that the labels show.
        augment: takes a slice's image ``[C, H, W]`` and label ``[H, W]`` and a seed, and changes both.
    """

    def __init__(self, entries: Sequence[SliceEntry], target: str, augment: Augment | None = None) -> None:
        self.entries, self.target, self.augment = entries, target, augment

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, chosen: Sequence[Draw]) -> Batch:
        """Images ``[B, C, H, W]`` float16, labels ``[B, 1, H, W]`` uint8 (1 inside the target), views ``[B]``."""
        drawn = [self._slice(draw) for draw in chosen]
        images, labels = (np.stack(parts) for parts in zip(*drawn, strict=True))
        views = torch.tensor([draw.view for draw in chosen])
        return torch.from_numpy(images), torch.from_numpy(labels[:, None]), views

    def _slice(self, draw: Draw) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        entry = self.entries[draw.slice]
        image, label = entry.canvas.place(entry.case.image[entry.position]), self._mask(entry)
        return (image, label) if self.augment is None else self.augment(image, label, draw.seed)

    def _mask(self, entry: SliceEntry) -> NDArray[np.uint8]:
        mask = entry.case.scheme.mask(entry.case.labels[entry.position], self.target)
        return entry.canvas.place(mask.view(np.uint8))


@dataclass(frozen=True)
class Cohort:
    """The slices with brain of every case, and the size that all slices share.

    Attributes:
        cases: by case name.
        entries: slices by case name.
        size: (H, W) of the canvas on which all slices lie.
        field: its height and width, in mm.
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
        if len(validation) < held_out:
            raise InputError(
                f"validation must leave a patient with some of the target to train on, got {held_out} of "
                f"{len(self.entries)} cases of {len(patients)} patients"
            )
        return sorted(set(self.entries) - set(validation)), validation

    def _entries_of(self, patient: str) -> list[SliceEntry]:
        return [entry for name, each in self.entries.items() if self.patients[name] == patient for entry in each]

    def roles(self, split: Split) -> tuple[list[str], list[str]]:
        """The same, from a split. Raises InputError where the cases of a role do not have the target."""
        for role, names in (("train", split.train), ("validation", split.validation)):
            if not any(entry.positive for name in names for entry in self.entries[name]):
                raise InputError(f"the {role} cases of the split must hold some of the target, but hold none")
        return list(split.train), list(split.validation)

    def box(self, name: str) -> tuple[float, float, float, float]:
        """(y0, x0, y1, x1) around the brain of a case, as fractions of the canvas."""
        entry, (height, width) = self.entries[name][0], self.size
        (y0, x0, y1, x1), (dy, dx) = entry.case.box, entry.canvas.offset
        down, right = max(height - 1, 1), max(width - 1, 1)
        return (y0 + dy) / down, (x0 + dx) / right, (y1 + dy) / down, (x1 + dx) / right

    def digest(self, names: Sequence[str]) -> str:
        """SHA-256 of the named cases, their arrays and the meaning of their labels; the order does not matter."""
        cases = [(name, self.cases[name]) for name in sorted(names)]
        lines = [f"{name} {case.digest} {sorted(case.scheme.targets.items())}\n" for name, case in cases]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def cache_cohort(
    cases: Sequence[CaseFiles], modalities: Sequence[str], target: str, cache: Path, on_case: Callable[[str], None]
) -> Cohort:
    """The slices of every case, through the cache. ``on_case`` is called with each case's name.

    All slices lie on one canvas with the brain in its centre, as large as the largest brain and a margin around it.

    Raises:
        InputError: for cases that do not load or have pixels of another size than most, all of them named, or an
            unknown target.
    """
    for files in cases:
        if files.scheme is not None:
            # Before anything is read.
            files.scheme.mask(np.zeros(1, np.uint8), target)
    found: dict[str, CachedCase] = {}
    faults: list[str] = []
    for files in in_turn(cases):
        try:
            found[files.name] = cached_case(files, modalities, cache)
        except InputError as error:
            faults.append(str(error))
        on_case(files.name)
    faults += _other_pixels(found.values())
    if faults:
        # What several cases say alike is listed once.
        count, faults = len(faults), list(dict.fromkeys(faults))
        listed = "; ".join(faults[:_LISTED]) + ("; ..." if len(faults) > _LISTED else "")
        raise InputError(f"{count} of {len(cases)} cases cannot be used ('spuproj check' lists all): {listed}")
    ordered = {files.name: found[files.name] for files in cases}
    size = size_around(case.box for case in ordered.values())
    entries = {name: _entries(case, target, size) for name, case in ordered.items()}
    pixel = ordered[cases[0].name].pixel
    patients = {files.name: patient_of(files) for files in cases}
    return Cohort(ordered, entries, size, (size[0] * pixel[0], size[1] * pixel[1]), patients)


_LISTED = 5


def _other_pixels(cases: Iterable[CachedCase]) -> list[str]:
    """A fault for each case whose pixels have another size than those of most."""
    pixels = {case.name: case.pixel for case in cases}
    if not pixels:
        return []
    usual = usual_pixel(pixels.values())
    return [
        f"{name} must have pixels of {usual[0]:g} x {usual[1]:g} mm, as most cases have, got "
        f"{pixel[0]:g} x {pixel[1]:g}; resample it"
        for name, pixel in pixels.items()
        if not fits_canvas(pixel, usual)
    ]


def _entries(case: CachedCase, target: str, size: tuple[int, int]) -> list[SliceEntry]:
    canvas = canvas_around(case.box, case.size, size, (0.5, 0.5), case.name)
    members = set(case.scheme.targets[target])
    return [
        SliceEntry(case, canvas, position, not members.isdisjoint(values))
        for position, values in enumerate(case.values)
    ]


def make_loader(
    entries: list[SliceEntry],
    target: str,
    sampler: Sampler[list[Draw]],
    hardware: Hardware,
    augment: Augment | None = None,
) -> DataLoader[Batch]:
    """Batches of slices, in the sampler's order; see ``SliceDataset``."""
    workers = hardware.workers
    return DataLoader(
        SliceDataset(entries, target, augment),
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        # Forked workers share the memory-mapped arrays; spawned ones would get copies.
        multiprocessing_context="fork" if workers > 0 else None,
        pin_memory=torch.cuda.is_available(),
    )
