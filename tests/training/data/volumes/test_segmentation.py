"""Label maps: whole numbers of any type and size, checked before anything is narrowed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuproj.training.data.findings import Level
from spuproj.training.data.labels import SCHEMES, own_scheme
from spuproj.training.data.readers.case_files import ImageFile
from spuproj.training.data.volumes.image_file import Volume, open_volume
from spuproj.training.data.volumes.segmentation import label_values, read_labels
from spuproj.training.runtime.errors import InputError

OLD = SCHEMES["brats2020"]


def written(folder: Path, values: np.ndarray) -> Volume:
    voxels = np.zeros((3, 4, 5), values.dtype)
    voxels.flat[: values.size] = values
    path = folder / "seg.nii"
    nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0]), dtype=values.dtype), path)
    return open_volume(ImageFile(path))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_labels_of_any_type_are_read(tmp_path, dtype):
    labels, findings = read_labels(written(tmp_path, np.array([1, 2, 4, 0], dtype)), OLD)
    assert labels.dtype == np.uint8
    assert labels.ravel()[:4].tolist() == [1, 2, 4, 0]
    assert findings == []


@pytest.mark.parametrize("value", [258, 1024, -1, -255, 65537, 3])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
def test_a_label_that_would_wrap_to_a_known_one_is_refused(tmp_path, value, dtype):
    message = f"seg.nii must hold the brats2020 labels 0, 1, 2, 4, got {value}; if they are of another scheme"
    with pytest.raises(InputError, match=re.escape(message)):
        read_labels(written(tmp_path, np.array([1, value], dtype)), OLD)


@given(st.sets(st.integers(-(2**63), 2**63 - 1).filter(bool), min_size=1, max_size=6))
def test_labels_of_any_integer_are_kept(tmp_path_factory, values):
    scheme = own_scheme({"all": (*sorted(values), 2**70), "first": (min(values),)})
    volume = written(tmp_path_factory.getbasetemp(), np.array([*sorted(values), 0], np.int64))
    labels, _ = read_labels(volume, scheme)
    assert set(labels.ravel().tolist()) == {*values, 0}
    assert scheme.mask(labels, "all").sum() == len(values)
    assert scheme.mask(labels, "first").sum() == 1
    assert label_values(volume) == {*values, 0}


@pytest.mark.parametrize("value", [1.5, 0.4, 2.002])
def test_a_label_that_is_not_whole_is_refused_with_all_its_digits(tmp_path, value):
    with pytest.raises(InputError, match=rf"seg\.nii must hold whole numbers as labels, but holds {value}; threshold"):
        read_labels(written(tmp_path, np.array([1, value])), OLD)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_labels_that_are_not_finite_are_refused(tmp_path, value):
    with pytest.raises(InputError, match=r"must hold whole numbers, but holds NaN or Inf"):
        read_labels(written(tmp_path, np.array([1, value])), OLD)


def test_labels_off_by_rounding_are_rounded_and_told(tmp_path):
    labels, (finding,) = read_labels(written(tmp_path, np.array([1.0, 2.0000002, 3.9999])), OLD)
    assert labels.ravel()[:3].tolist() == [1, 2, 4]
    assert finding.level == Level.NOTE
    assert finding.message == "seg.nii: labels such as 3.9999 are rounded to whole numbers"


def test_a_scheme_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"seg\.nii must be named, since their values do not tell"):
        read_labels(written(tmp_path, np.array([1])), None)


def test_a_target_of_the_size_of_a_tissue_is_doubted(tmp_path):
    """Tissue maps have the same numbers as tumour maps: 1 grey matter, 2 white matter, 3 CSF."""
    values, size = np.array([1, 2, 4] * 20), 10.0 * (400 / 61) ** (1 / 3)
    assert read_labels(of_pixels(written(tmp_path, values), size), OLD)[1] == []
    labels, (finding,) = read_labels(of_pixels(written(tmp_path, values), 1.02 * size), OLD)
    assert labels.all()
    assert finding.level == Level.WARNING
    assert "seg.nii: WT has 418 ml, more than a tumour: look whether the file is the segmentation" in finding.message


def of_pixels(volume: Volume, size: float) -> Volume:
    """The volume with cubic voxels of this side, in mm."""
    return replace(volume, grid=replace(volume.grid, affine=np.diag([-size, -size, size, 1.0])))
