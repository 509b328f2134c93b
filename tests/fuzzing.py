"""Input that is not what it claims to be: values for JSON, and what may come out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
