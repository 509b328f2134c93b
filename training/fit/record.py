"""What a training records: data, versions, hardware, learning curve."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import monai
import pytorch_lightning as pl
import torch

from spuproj import __version__
from spuproj.training.data.dataset import Cohort
from spuproj.training.fit.callbacks import LearningCurve
from spuproj.training.models.training_record import Data, Role
from spuproj.training.runtime.execution import Hardware


def data_record(cohort: Cohort, training: Sequence[str], validation: Sequence[str]) -> Data:
    """The names of the cases in each role, and the SHA-256 of their slices."""
    return Data(*(Role(sorted(names), cohort.digest(names)) for names in (training, validation)))


def environment_record(hardware: Hardware) -> dict[str, Any]:
    """Versions of packages, execution settings and the device's name."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    versions = {
        "spuproj": __version__,
        "torch": torch.__version__,
        "monai": monai.__version__,
        "pytorch_lightning": pl.__version__,
        "python": platform.python_version(),
    }
    threads = torch.get_num_threads()
    return {"versions": versions, "hardware": {**asdict(hardware), "device": device, "threads": threads}}


def curve_record(curve: LearningCurve, batch_size: int) -> dict[str, Any]:
    """Final loss and Dice, the learning curve, and the speed."""
    return {
        "metrics": {"loss": curve.loss[-1], "dice": curve.dice[-1][1] if curve.dice else None},
        "loss": curve.loss,
        "dice": [{"epoch": epoch, "dice": dice} for epoch, dice in curve.dice],
        "seconds": curve.seconds,
        "slices_per_second": curve.steps * batch_size / curve.seconds,
    }
