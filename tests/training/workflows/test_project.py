"""The figure of a slice's views: its views have the proportions of the pixels, as those of the page have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from spuproj import Views
from spuproj.plotting.figure import plot_views
from spuproj.training.workflows import project

SPACING = (3.0, 1.0, 2.0)


@pytest.fixture
def drawn(tmp_path, monkeypatch) -> Callable[..., tuple[Any, ...]]:
    """Draws a slice whose voxels are 3 mm wide and 1 mm high; gives the arguments of the drawing."""
    voxels = np.zeros((12, 40, 4), np.float32)
    voxels[3:9, 10:30, 1] = 1 + np.arange(120, dtype=np.float32).reshape(6, 20)
    nib.save(nib.Nifti1Image(voxels, np.diag([*SPACING, 1])), tmp_path / "image.nii.gz")
    given: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        f"{project.__name__}.plot_views", lambda *args, **kw: given.append(args) or plot_views(*args, **kw)
    )

    def draw(**settings: Any) -> tuple[Any, ...]:
        project.project_slice(tmp_path / "image.nii.gz", 1, tmp_path / "views.png", **settings)
        return given[-1]

    return draw


@pytest.mark.parametrize("radius", [None, 15.0])
def test_views_keep_the_proportions_of_the_slice_and_radii_are_in_mm(drawn, radius):
    table, size, view_size, *_ = drawn(radius=radius, grid=(1, 2))
    # The box of the foreground; the front of the body is at the end of the second axis, and comes first in a slice.
    wanted = Views.spherical((40, 12), grid=(1, 2), box=(10, 3, 29, 8), radius=radius or 20.0, spacing=(1.0, 3.0))
    assert (size, view_size) == (wanted.size, wanted.view_size)
    assert torch.equal(table, wanted.geometry)
