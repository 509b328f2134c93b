"""The figure of a slice's views: its views have the proportions of the pixels, as those of the page have."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from spuproj import Views
from spuproj.training.workflows import project

SPACING = (3.0, 1.0, 2.0)


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """The geometry that is drawn of a slice whose voxels are 3 mm wide and 1 mm high."""
    voxels = np.zeros((12, 40, 4), np.float32)
    voxels[3:9, 10:30, 1] = 1 + np.arange(120, dtype=np.float32).reshape(6, 20)
    nib.save(nib.Nifti1Image(voxels, np.diag([*SPACING, 1])), tmp_path / "image.nii.gz")
    found, draw = {}, project.plot_views

    def seen(table, size, view_size, *args, **settings):
        found.update(table=table, size=size, view_size=view_size)
        return draw(table, size, view_size, *args, **settings)

    monkeypatch.setattr(project, "plot_views", seen)
    return lambda **settings: (
        project.project_slice(tmp_path / "image.nii.gz", 1, tmp_path / "views.png", **settings),
        found,
    )[1]


@pytest.mark.parametrize("radius", [None, 15.0])
def test_views_keep_the_proportions_of_the_slice_and_radii_are_in_mm(drawn, radius):
    found = drawn(radius=radius, grid=(1, 2))
    # The box of the foreground; the front of the body is at the end of the second axis, and comes first in a slice.
    wanted = Views.spherical((40, 12), grid=(1, 2), box=(10, 3, 29, 8), radius=radius or 20.0, spacing=(1.0, 3.0))
    assert found["view_size"] == wanted.view_size
    assert np.array_equal(found["table"], wanted.geometry)
