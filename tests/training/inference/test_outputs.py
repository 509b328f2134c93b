"""The merged label map."""

from __future__ import annotations

import numpy as np
import pytest

from spuproj.training.data.labels import SCHEMES
from spuproj.training.inference.multi_view import Prediction
from spuproj.training.inference.outputs import merged_labels


@pytest.mark.parametrize(
    ("found", "label"),
    [
        ("", 0),
        ("WT", 2),
        ("TC", 1),
        ("ET", 4),
        ("TC WT", 1),
        ("ET WT", 4),
        ("ET TC", 4),
        ("ET TC WT", 4),
    ],
)
def test_a_voxel_gets_the_innermost_target_that_was_found(found, label):
    nothing = np.zeros((1, 1, 1), np.float32)
    predictions = {
        target: Prediction(nothing, np.full((1, 1, 1), target in found.split()), nothing, nothing, nothing)
        for target in ("ET", "TC", "WT")
    }
    merged = merged_labels(predictions, SCHEMES["brats2020"])
    assert merged.tolist() == [[[label]]]
    assert merged.dtype == np.uint8
