"""Cache of normalised cases on disk, memory-mapped, so that every training after the first starts at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from spuproj import __version__
from spuproj.training.data.canvas import Box
from spuproj.training.data.case import brain_box, image_file, load_case
from spuproj.training.data.labels import LabelScheme, unclear
from spuproj.training.data.readers.case_files import CaseFiles, ImageFile
from spuproj.training.data.volumes.content import source_files
from spuproj.training.data.volumes.intensities import CLIP
from spuproj.training.runtime.execution import rank
from spuproj.training.runtime.files import atomic_write
from spuproj.training.runtime.json_file import read_json, write_json

_GOLDEN = 0.6180339887


@dataclass(frozen=True)
class CachedCase:
    """The S slices of a case that show brain.

    Attributes:
        name: of the case.
        image: ``[S, C, H, W]`` float16, normalised inside the brain, 0 outside; memory-mapped.
        labels: ``[S, H, W]`` integers, values of the scheme; memory-mapped.
        values: for each slice, the label values that occur in it.
        scheme: the meaning of the labels.
        pixel: height and width of a pixel, in mm.
        box: around the brain.
        digest: SHA-256 of both arrays, in hexadecimal.
    """

    name: str
    image: NDArray[np.float16]
    labels: NDArray[np.integer[Any]]
    values: list[list[int]]
    scheme: LabelScheme
    pixel: tuple[float, float]
    box: Box
    digest: str

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of every slice."""
        return self.labels.shape[1], self.labels.shape[2]


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class Metadata(TypedDict):
    """A cached case without its arrays and scheme; see ``CachedCase``."""

    values: list[list[int]]
    pixel: tuple[float, float]
    box: Box
    digest: str


def cached_case(files: CaseFiles, modalities: Sequence[str], folder: Path) -> CachedCase:
    """A case from the cache; one that is missing, or whose files have changed, is read and added.

    Raises:
        InputError: for a case that does not load, see ``load_case``.
    """
    return _from_cache(files, modalities, folder) or _into_cache(files, modalities, folder)


def in_turn(cases: Sequence[CaseFiles]) -> list[CaseFiles]:
    """The cases in another order for each process, so that processes that start together fill the cache together."""
    # Multiples of the golden ratio are well spread for any number of processes.
    start = int(len(cases) * (rank() * _GOLDEN % 1))
    return [*cases[start:], *cases[:start]]


def _from_cache(files: CaseFiles, modalities: Sequence[str], folder: Path) -> CachedCase | None:
    """The case from the cache, or None where it is missing, damaged or outdated."""
    image_file, labels_file, metadata_file = _paths(files, folder)
    try:
        known = read_json(metadata_file)
        if files.scheme is None or known.pop("fingerprint") != _fingerprint(files, modalities):
            return None
        image, labels = _memory_mapped(image_file), _memory_mapped(labels_file)
        # Another process, with other modalities for example, may have written them.
        if known.pop("arrays") != [_state(image_file), _state(labels_file)]:
            return None
        found = TypeAdapter(Metadata).validate_python(known)
        return CachedCase(name=files.name, image=image, labels=labels, scheme=files.scheme, **found)
    # NumPy raises errors of many kinds for a damaged file.
    except Exception:
        return None


def _into_cache(files: CaseFiles, modalities: Sequence[str], folder: Path) -> CachedCase:
    fingerprint = _fingerprint(files, modalities)
    case = load_case(files, modalities, with_labels=True)
    if case.labels is None or case.scheme is None:
        raise unclear(files.name)
    shown = case.brain_slices
    image, labels = case.image[shown].astype(np.float16), case.labels[shown]
    x, y, _ = case.spacing
    known: Metadata = {
        "values": [np.unique(plane).tolist() for plane in labels],
        "pixel": (y, x),
        "box": brain_box(case.brain),
        "digest": _digest(image, labels),
    }
    image_file, labels_file, metadata_file = _paths(files, folder)
    mapped, states = [], []
    for path, array in ((image_file, image), (labels_file, labels)):
        with atomic_write(path) as temporary:
            _save(temporary, array)
            # Before the file has its name, under which another process may replace it.
            mapped.append(_memory_mapped(temporary))
            states.append(_state(temporary))
    # Metadata is written last; where it exists both arrays are complete.
    write_json(metadata_file, {"fingerprint": fingerprint, "arrays": states, **known})
    return CachedCase(name=case.name, image=mapped[0], labels=mapped[1], scheme=case.scheme, **known)


def _save(path: Path, array: NDArray[Any]) -> None:
    """Writes what ``np.save`` does, whose errors do not say why the system refused to write."""
    whole = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(whole))
        file.write(whole.data)


def _paths(files: CaseFiles, folder: Path) -> tuple[Path, Path, Path]:
    """The cache files of a case: image, labels and metadata."""
    image, labels, metadata = (folder / f"{files.name}_{kind}" for kind in ("image.npy", "labels.npy", "metadata.json"))
    return image, labels, metadata


def _fingerprint(files: CaseFiles, modalities: Sequence[str]) -> dict[str, Any]:
    """Everything that the arrays depend on; a case with another fingerprint is read again."""
    others = [None if path is None else ImageFile(path) for path in (files.label, files.mask)]
    sources = [*(image_file(files, name) for name in modalities), *others]
    return {
        "version": __version__,
        "modalities": list(modalities),
        "clip": list(CLIP),
        "files": [None if file is None else _file_state(file) for file in sources],
        "labels": None if files.scheme is None else list(files.scheme.known),
    }


def _file_state(file: ImageFile) -> list[str | int | None]:
    """Path and channel of an image, and if it is there, the states of the files that it is read from."""
    named = [str(file.path.absolute()), file.channel]
    sources = source_files(file.path) if os.path.isfile(file.path) else []
    # Programs can set the time of the last change, but not that of the last change of anything about a file.
    return [*named, *(number for each in sources for number in (*_state(each), os.stat(each).st_ctime_ns))]


def _state(path: Path | bytes) -> list[int]:
    """Size of a file, and time of its last change."""
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns]


def _digest(*arrays: NDArray[np.generic]) -> str:
    together = hashlib.sha256()
    for array in arrays:
        together.update(f"{array.dtype} {array.shape} ".encode())
        together.update(np.ascontiguousarray(array).data)
    return together.hexdigest()


def _memory_mapped(path: Path) -> NDArray[Any]:
    """A memory-mapped .npy file. Unlike ``np.load``, no file stays open, and so their number is not limited."""
    header = np.load(path, mmap_mode="r")
    voxels: NDArray[np.uint8] = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8).numpy()
    mapped: NDArray[Any] = voxels[header.offset :].view(header.dtype).reshape(header.shape)
    return mapped
