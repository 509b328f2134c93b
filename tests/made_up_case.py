"""An artificial case of a few voxels, and an artificial prediction of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import nibabel as nib
import numpy as np
import torch

from helpers import noise
from spuproj.training.data.case import Case
from spuproj.training.data.labels import SCHEMES
from spuproj.training.data.volumes.grid import Grid
from spuproj.training.inference.case_prediction import CasePrediction
from spuproj.uncertainty import entropy

SHAPE = (9, 20, 24)
VOXEL = 2.0 * 1.0 * 5.0 / 1000
"""Volume of a voxel in ml. Voxel sizes in x, y and z differ, so that tests notice exchanged axes."""

LABELS = np.zeros(SHAPE, np.uint8)
LABELS[3:6, 6:12, 7:15] = 3


def made_up_case() -> Case:
    """A block of brain in slices 1 to 7, with an enhancing tumour in slices 3 to 5."""
    brain = np.zeros(SHAPE, bool)
    brain[1:8, 3:17, 4:20] = True
    image = noise(9, 2, 20, 24).numpy() * brain[:, None]
    like = nib.Nifti1Image(np.zeros((24, 20, 9)), np.diag([-2.0, -1.0, 5.0, 1.0]))
    return Case(
        "made_up", image, brain, LABELS, SCHEMES["brats2023"], Grid((24, 20, 9), like.affine), like, ("t1ce", "flair")
    )


def seen_once(made: CasePrediction, where: Any) -> CasePrediction:
    """The prediction, of which only one view saw some voxels: they have an entropy and no variance."""
    variance = made.variance.copy()
    variance[where] = np.nan
    return replace(made, variance=variance, entropy=entropy(torch.from_numpy(made.probability)).numpy())


def prediction(found: tuple[int, int] = (4, 7), variance: float = 0.02) -> CasePrediction:
    """A block in slices ``found[0]`` to ``found[1] - 1``, with the same variance everywhere."""
    probability = np.zeros(SHAPE, np.float32)
    probability[slice(*found), 6:12, 7:15] = 0.9
    spread = np.where(probability > 0, np.float32(variance), np.float32(0))
    return CasePrediction(probability, probability > 0.5, spread, probability, probability)
