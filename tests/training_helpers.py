"""What several tests of the training layer share: written maps, changed models, and input that is not what it seems."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import strategies as st

from spuproj.training.runtime.files import InputError

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
