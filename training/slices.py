"""The slices of a cohort as a dataset, kept on disk so that memory does not grow with the cohort."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from spuproj.training.cases import Case, load_case, target_mask
from spuproj.training.files import InputError


@dataclass(frozen=True)
class Entry:
    """One slice: its case's cache files, its position in them, and whether it holds any of the target."""

    image: Path
    label: Path
    position: int
    positive: bool


class Slices(Dataset[tuple[Tensor, Tensor]]):
    """Items are an image ``[C, H, W]`` float32 and a label ``[1, H, W]`` uint8 (1 inside the target)."""

    def __init__(self, entries: list[Entry]) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        entry = self.entries[index]
        image: NDArray[np.float16] = np.load(entry.image, mmap_mode="r")[entry.position]
        label: NDArray[np.uint8] = np.load(entry.label, mmap_mode="r")[entry.position]
        return torch.from_numpy(image.astype(np.float32)), torch.from_numpy(label[None].copy())


@dataclass(frozen=True)
class Cohort:
    """The slices of every case (those that show brain), and what all cases have in common.

    Attributes:
        entries: by case name.
        size: (H, W) of every slice.
        field: height and width of every slice, in mm.
        extent: (y0, x0, y1, x1), the mean bounding box of the brains as fractions of the slice.
    """

    entries: dict[str, list[Entry]]
    size: tuple[int, int]
    field: tuple[float, float]
    extent: tuple[float, float, float, float]


def cache_cohort(folders: list[Path], target: str, cache: Path, on_case: Callable[[str], None]) -> Cohort:
    """Reads every case and keeps its brain slices under ``cache``, images as float16.

    Raises:
        InputError: for a case that does not load, or one whose slices differ from the first one's in size or field.
    """
    entries: dict[str, list[Entry]] = {}
    boxes, size, field = [], (0, 0), (0.0, 0.0)
    for folder in folders:
        case = load_case(folder, with_labels=True)
        if not entries:
            size, field = (case.image.shape[2], case.image.shape[3]), case.field
        if case.image.shape[2:] != size or not np.allclose(case.field, field, rtol=0.01):
            raise InputError(
                f"{folder} must have slices like the first case, {size} pixels over {field} mm, "
                f"got {case.image.shape[2:]} over {case.field}"
            )
        entries[case.name] = _cache_case(case, target, cache)
        boxes.append(_brain_box(case))
        on_case(case.name)
    y0, x0, y1, x1 = np.mean(boxes, axis=0)
    return Cohort(entries, size, field, (float(y0), float(x0), float(y1), float(x1)))


def _cache_case(case: Case, target: str, cache: Path) -> list[Entry]:
    assert case.labels is not None
    shown = case.brain.any(axis=(1, 2))
    label = target_mask(case.labels[shown], target).astype(np.uint8)
    image_path, label_path = cache / f"{case.name}_image.npy", cache / f"{case.name}_label.npy"
    np.save(image_path, case.image[shown].astype(np.float16))
    np.save(label_path, label)
    return [Entry(image_path, label_path, position, bool(plane.any())) for position, plane in enumerate(label)]


def _brain_box(case: Case) -> tuple[float, float, float, float]:
    shadow = case.brain.any(axis=0)
    rows, columns = np.flatnonzero(shadow.any(axis=1)), np.flatnonzero(shadow.any(axis=0))
    height, width = max(shadow.shape[0] - 1, 1), max(shadow.shape[1] - 1, 1)
    return rows[0] / height, columns[0] / width, rows[-1] / height, columns[-1] / width
