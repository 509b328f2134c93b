"""Cases on disk as arrays: read and normalised once, then mapped into memory by every training that wants them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from spuproj import __version__
from spuproj.training.data.case import brain_box, image_path, load_case
from spuproj.training.data.labels import LabelScheme, unclear
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.runtime.execution import rank
from spuproj.training.runtime.files import atomic_write, read_json, write_json

_GOLDEN = 0.6180339887


@dataclass(frozen=True)
class CachedCase:
    """The S slices of a case that show brain.

    Attributes:
        name: of the case.
        image: ``[S, C, H, W]`` float16, z-scored inside the brain, 0 outside; mapped from the disk.
        labels: ``[S, H, W]`` uint8, values of the scheme; mapped likewise.
        values: of each slice, the label values that occur in it.
        scheme: what the labels mean.
        field: height and width of a slice, in mm.
        box: (y0, x0, y1, x1) around the brain, as fractions of the slice.
        digest: SHA-256 of both arrays, in hexadecimal.
    """

    name: str
    image: NDArray[np.float16]
    labels: NDArray[np.uint8]
    values: list[list[int]]
    scheme: LabelScheme
    field: tuple[float, float]
    box: tuple[float, float, float, float]
    digest: str

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every slice."""
        return self.labels.shape[1], self.labels.shape[2]


class Facts(TypedDict):
    """What is known of a case beside its arrays and its scheme; see ``CachedCase``."""

    values: list[list[int]]
    field: tuple[float, float]
    box: tuple[float, float, float, float]
    digest: str


def cached_case(files: CaseFiles, modalities: Sequence[str], folder: Path) -> CachedCase:
    """A case from ``folder``; where it does not lie there, or its files have changed since, it is read and put there.

    Raises:
        InputError: for a case that does not load, see ``load_case``.
    """
    return _kept(files, modalities, folder) or _added(files, modalities, folder)


def in_turn(cases: Sequence[CaseFiles]) -> list[CaseFiles]:
    """The cases in the order for this process: several that start together each begin elsewhere and share the work."""
    # Multiples of the golden ratio lie apart however many processes there are.
    start = int(len(cases) * (rank() * _GOLDEN % 1))
    return [*cases[start:], *cases[:start]]


def _kept(files: CaseFiles, modalities: Sequence[str], folder: Path) -> CachedCase | None:
    """The case as it lies in the folder, or None where it does not, or is not that of these files."""
    image, labels, facts = _paths(files, folder)
    try:
        known = read_json(facts)
        if files.scheme is None or known.pop("stamp") != _stamp(files, modalities):
            return None
        known["field"], known["box"] = tuple(known["field"]), tuple(known["box"])
        return CachedCase(name=files.name, image=_mapped(image), labels=_mapped(labels), scheme=files.scheme, **known)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _added(files: CaseFiles, modalities: Sequence[str], folder: Path) -> CachedCase:
    stamp = _stamp(files, modalities)
    case = load_case(files, modalities, with_labels=True)
    if case.labels is None or case.scheme is None:
        raise unclear(files.name)
    shown = case.brain.any(axis=(1, 2))
    image, labels = case.image[shown].astype(np.float16), case.labels[shown]
    y0, x0, y1, x1 = brain_box(case.brain)
    height, width = max(labels.shape[1] - 1, 1), max(labels.shape[2] - 1, 1)
    known: Facts = {
        "values": [np.unique(plane).tolist() for plane in labels],
        "field": case.field,
        "box": (y0 / height, x0 / width, y1 / height, x1 / width),
        "digest": _digest(image, labels),
    }
    image_file, labels_file, facts_file = _paths(files, folder)
    for path, array in ((image_file, image), (labels_file, labels)):
        with atomic_write(path) as temporary:
            np.save(temporary, array)
    # The facts come last: where they lie, the arrays do.
    write_json(facts_file, {"stamp": stamp, **known})
    return CachedCase(
        name=case.name, image=_mapped(image_file), labels=_mapped(labels_file), scheme=case.scheme, **known
    )


def _paths(files: CaseFiles, folder: Path) -> tuple[Path, Path, Path]:
    """Where the image, the labels and the facts of a case lie."""
    image, labels, facts = (folder / f"{files.name}_{kind}" for kind in ("image.npy", "labels.npy", "facts.json"))
    return image, labels, facts


def _stamp(files: CaseFiles, modalities: Sequence[str]) -> dict[str, Any]:
    """What the arrays follow from; when any of it changes they are made anew."""
    sources = [*(image_path(files, name) for name in modalities), files.label, files.mask]
    return {
        "version": __version__,
        "modalities": list(modalities),
        "files": [None if path is None else _state(path) for path in sources],
        "labels": None if files.scheme is None else list(files.scheme.known),
    }


def _state(path: Path) -> list[str | int]:
    if not path.is_file():
        return [str(path)]
    found = path.stat()
    return [str(path.absolute()), found.st_size, found.st_mtime_ns]


def _digest(*arrays: NDArray[np.generic]) -> str:
    together = hashlib.sha256()
    for array in arrays:
        together.update(f"{array.dtype} {array.shape} ".encode())
        together.update(np.ascontiguousarray(array).data)
    return together.hexdigest()


def _mapped(path: Path) -> NDArray[Any]:
    """The array of a file .npy, mapped into memory with no file held open: a cohort has more than a process may."""
    header = np.load(path, mmap_mode="r")
    voxels: NDArray[np.uint8] = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8).numpy()
    mapped: NDArray[Any] = voxels[header.offset :].view(header.dtype).reshape(header.shape)
    return mapped
