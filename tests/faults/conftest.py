"""Processes are killed and disks filled, as POSIX systems do it; patients are blocks, since grown ones take seconds."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spuproj.training.data.readers.case_files import MODALITIES

collect_ignore_glob = ["*/test_*.py"] if sys.platform == "win32" else []


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three case folders of 30 x 30 x 6 voxels."""
    root, random = tmp_path_factory.mktemp("blocks"), np.random.default_rng(0)
    folders = [root / f"Phantom_{number:03d}" for number in range(1, 4)]
    labels = np.zeros((30, 30, 6), np.uint8)
    labels[10:16, 10:18, 2:5], labels[12:14, 12:15, 3] = 2, 4
    for folder in folders:
        folder.mkdir()
        volumes = {"seg": labels}
        for name in MODALITIES:
            volumes[name] = np.zeros(labels.shape, np.float32)
            volumes[name][6:24, 5:25, 1:5] = random.uniform(50, 200, (18, 20, 4))
        for name, voxels in volumes.items():
            path = folder / f"{folder.name}_{name}.nii.gz"
            nib.save(nib.Nifti1Image(voxels, np.diag([-8.0, -8.0, 8.0, 1.0])), path)
    return folders
