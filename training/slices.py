"""The slices of a cohort as a dataset, kept on disk so that memory does not grow with the cohort."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from spuproj.training.cases import Case, brain_box, load_case
from spuproj.training.files import InputError
from spuproj.training.readers import CaseFiles
from spuproj.training.splits import Split

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Entry:
    """One slice: its case's cache files, its position in them, and whether it holds any of the target."""

    image: Path
    label: Path
    position: int
    positive: bool


class Slices(Dataset[Batch]):
    """Batches of slices, by lists of (slice, view)."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, chosen: Sequence[tuple[int, int]]) -> Batch:
        """Images ``[B, C, H, W]`` float32, labels ``[B, 1, H, W]`` uint8 (1 inside the target), views ``[B, 1]``."""
        images, labels = zip(*(self._slice(self.entries[index]) for index, _ in chosen), strict=True)
        views = torch.tensor([[view] for _, view in chosen])
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)[:, None]), views

    @staticmethod
    def _slice(entry: Entry) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        image: NDArray[np.float16] = np.load(entry.image, mmap_mode="r")[entry.position]
        label: NDArray[np.uint8] = np.load(entry.label, mmap_mode="r")[entry.position]
        return image.astype(np.float32), label


@dataclass(frozen=True)
class Cohort:
    """The slices of every case (those that show brain), and what all cases have in common.

    Attributes:
        entries: by case name.
        extents: by case name, (y0, x0, y1, x1) around the brain as fractions of the slice.
        size: (H, W) of every slice.
        field: height and width of every slice, in mm.
    """

    entries: dict[str, list[Entry]]
    extents: dict[str, tuple[float, float, float, float]]
    size: tuple[int, int]
    field: tuple[float, float]

    def split(self, held_out: int, seed: int) -> tuple[list[str], list[str]]:
        """Case names for training and for validation, drawn by the seed, the target on both sides.

        Raises:
            InputError: where too few cases hold any of the target.
        """
        names = sorted(self.entries)
        random.Random(seed).shuffle(names)
        positive = [name for name in names if any(entry.positive for entry in self.entries[name])]
        if len(positive) < 2:
            raise InputError(
                f"at least two cases must hold some of the target, one to train and one to validate on, "
                f"got {len(positive)} of {len(names)}"
            )
        validation = [positive[0], *(name for name in names if name not in positive[:2])][:held_out]
        return [name for name in names if name not in validation], validation

    def roles(self, split: Split) -> tuple[list[str], list[str]]:
        """The same as a split names them. Raises InputError where a side holds none of the target."""
        for role, names in (("train", split.train), ("validation", split.validation)):
            if not any(entry.positive for name in names for entry in self.entries[name]):
                raise InputError(f"the {role} cases of the split must hold some of the target, but hold none")
        return list(split.train), list(split.validation)


def cache_cohort(
    cases: Sequence[CaseFiles], modalities: Sequence[str], target: str, cache: Path, on_case: Callable[[str], None]
) -> Cohort:
    """Reads every case and keeps its brain slices under ``cache``, images as float16.

    Raises:
        InputError: for a case that does not load, or one whose slices differ from the first one's in size or field.
    """
    cohort = Cohort({}, {}, (0, 0), (0.0, 0.0))
    for files in cases:
        case = load_case(files, modalities, with_labels=True)
        size = (case.image.shape[2], case.image.shape[3])
        if not cohort.entries:
            cohort = replace(cohort, size=size, field=case.field)
        if size != cohort.size or not np.allclose(case.field, cohort.field, rtol=0.01):
            raise InputError(
                f"{case.name} must have slices like the first case, {cohort.size} pixels over {cohort.field} mm, "
                f"got {size} over {case.field}"
            )
        y0, x0, y1, x1 = brain_box(case.brain)
        height, width = max(size[0] - 1, 1), max(size[1] - 1, 1)
        cohort.extents[case.name] = (y0 / height, x0 / width, y1 / height, x1 / width)
        cohort.entries[case.name] = _cache_case(case, target, cache)
        on_case(case.name)
    return cohort


def _cache_case(case: Case, target: str, cache: Path) -> list[Entry]:
    shown = case.brain.any(axis=(1, 2))
    label = case.target(target)[shown].astype(np.uint8)
    image_path, label_path = cache / f"{case.name}_image.npy", cache / f"{case.name}_label.npy"
    np.save(image_path, case.image[shown].astype(np.float16))
    np.save(label_path, label)
    return [Entry(image_path, label_path, position, bool(plane.any())) for position, plane in enumerate(label)]
