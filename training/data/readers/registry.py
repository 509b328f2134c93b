"""Where a data set's files are, in any of the known formats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from spuproj.training.data.labels import scheme_named
from spuproj.training.data.readers import brats, manifest, nnunet
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.runtime.files import InputError
from spuproj.training.runtime.progress import print_status


class Reader(Protocol):
    """A module that reads one format."""

    def recognises(self, source: Path) -> bool:
        """Whether the file or folder is a data set in this format."""

    def read(self, source: Path) -> Iterable[CaseFiles]:
        """The cases of a data set. Raises InputError for one that cannot be read."""


# The first reader that recognises a data set reads it. brats accepts anything and comes last.
READERS: tuple[Reader, ...] = (manifest, nnunet, brats)


@dataclass(frozen=True)
class DataSet:
    """The cases of a data set, and what was found in it that is not used.

    Attributes:
        source: the folder or manifest.
        cases: sorted by name.
        left_out: a sentence for each file, folder or case that is not used, which says why.
    """

    source: Path
    cases: tuple[CaseFiles, ...]
    left_out: tuple[str, ...] = ()


def read_data(source: Path, labels: str | None = None) -> DataSet:
    """The cases of a data set.

    Args:
        source: a folder of BraTS case folders; a folder in nnU-Net's raw format, with ``dataset.json``; or a manifest,
            ``.csv`` or ``.json`` (see ``docs/data.md``).
        labels: name of the label scheme, in place of the one that the files imply.

    Raises:
        InputError: where there are no cases, a name occurs twice, or a file cannot be read.
    """
    found = list(next(reader for reader in READERS if reader.recognises(source)).read(source))
    if not found:
        raise InputError(f"{source} must hold at least one case, but holds none")
    names = [case.name for case in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{source} must name each case once, but {twice[0]} occurs more than once")
    chosen = found if labels is None else [replace(case, scheme=scheme_named(labels)) for case in found]
    return DataSet(source, tuple(sorted(chosen, key=lambda case: case.name)))


def cases_in(source: Path, labels: str | None = None) -> tuple[CaseFiles, ...]:
    """The cases of a data set, as ``read_data`` finds them; what is left out is said on standard error."""
    found = read_data(source, labels)
    for sentence in found.left_out:
        print_status(sentence)
    return found.cases
