"""What several tests of the training layer share: maps, read and made up; changed models, pages, other input."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from spuproj.training.data.volumes.content import content_hash
from spuproj.training.inference.summary import CaseSummary, CohortEntry, write_summary
from spuproj.training.runtime.errors import InputError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
"""Whatever JSON may hold."""


@contextmanager
def names_file_or_passes(path: Path) -> Iterator[None]:
    """The context passes, or raises InputError that names the file; any other error, or another message, fails."""
    try:
        yield
    except InputError as error:
        if str(path) not in str(error):
            pytest.fail(f"{path} is not named: {error}")


def read(folder: Path, kind: str, name: str = "Phantom_002") -> np.ndarray:
    """The voxels of a map of a case, as stored."""
    return np.asarray(nib.Nifti1Image.from_filename(folder / f"{name}_{kind}.nii.gz").dataobj)


def changed(model: Path, folder: Path, **values: object) -> Path:
    """A copy of a run with other values in its configuration."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))
    return folder


def digest(run: Path) -> str:
    """The SHA-256 of a run's configuration and weights."""
    return hashlib.sha256((run / "config.json").read_bytes() + (run / "model.safetensors").read_bytes()).hexdigest()


def write_prediction(
    folder: Path, case: str, maps: Mapping[tuple[str, str], NDArray[np.generic]], affine: NDArray[np.float64]
) -> Path:
    """Writes maps of a case, by target and kind, and the summary that marks it as finished."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {key: f"{case}_{key[0]}_{key[1]}.nii.gz" for key in maps}
    for key, voxels in maps.items():
        nib.save(nib.Nifti1Image(voxels, affine), folder / names[key])
    targets = list(dict.fromkeys(target for target, _ in maps))
    recipe = {"aggregation": "mean", "models": {target: f"sha-of-{target}" for target in targets}, "labels": {}}
    entry = CohortEntry(case, None, dict.fromkeys(targets, 1.0))
    hashes = {name: content_hash(folder / name) for name in names.values()}
    write_summary(folder / f"{case}_summary.json", CaseSummary(recipe, entry, hashes))
    return folder


class Page(HTMLParser):
    """Tags with their attributes, the visible text, and table rows of cells ``(attributes, text)``.

    Fails where tags do not close in order.
    """

    EMPTY = frozenset({"meta", "img", "input", "path", "line", "polyline"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.rows: list[Any] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append((dict(attrs), ""))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open and self.open[-1] in ("script", "style") else self.words).append(data)
        if {"td", "th"} & set(self.open):
            attrs, text = self.rows[-1][-1]
            self.rows[-1][-1] = (attrs, " ".join(f"{text}{data}".split()))

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, **wanted: str) -> list[dict[str, Any]]:
        return [attrs for name, attrs in self.tags if name == tag and wanted.items() <= attrs.items()]

    def slices(self) -> list[dict[str, Any]]:
        slices: list[dict[str, Any]] = json.loads(next(text for text in self.scripts if text.startswith("[")))
        return slices
