"""A tiny data set of nnU-Net, planned, preprocessed and trained on as a user does it, once for all tests."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from processes.forked import run_forked
from spuproj.nnunet import TRAINERS, ViewsPredictor, load_predictor

DATASET = "Dataset101_Ellipses"
TRAINER = """
import torch
from spuproj.nnunet import nnUNetTrainerSPU

class nnUNetTrainerTiny(nnUNetTrainerSPU):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cpu")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 2, 1
"""


def write_case(name: str, images: Path, labels: Path, seed: int, spacing: float = 1.0) -> None:
    """A volume of 3 x 40 x 36 voxels with two channels: an ellipse with a smaller one inside, and zeros around it."""
    random = np.random.default_rng(seed)
    z, y, x = np.mgrid[:3, :40, :36]
    distance = np.hypot((y - random.uniform(20, 24)) / 15, (x - random.uniform(15, 18)) / 12)
    inner = np.hypot((y - random.uniform(18, 24)) / 7, (x - random.uniform(14, 20)) / 5)
    label = np.where(inner < 1, 2, np.where(distance < 0.7, 1, 0)) * (distance < 1)
    for channel in range(2):
        image = (distance < 1) * (3 + channel * label + random.normal(0, 0.2, z.shape))
        save(image.astype(np.float32), images / f"{name}_000{channel}.nii.gz", spacing)
    save(label.astype(np.uint8), labels / f"{name}.nii.gz", spacing)


def save(voxels: np.ndarray, path: Path, spacing: float) -> None:
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((spacing, spacing, 3.0))
    image.SetOrigin((-12.0, 7.0, 30.0))
    image.SetDirection((-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


WITHOUT_TORCHVISION = """
import sys
from importlib.util import find_spec
from unittest.mock import MagicMock

if find_spec("torchvision") is None:
    sys.modules["dynamic_network_architectures.architectures.primus"] = MagicMock()
"""
"""nnU-Net imports each of its own trainers before it looks elsewhere. One kind of network needs torchvision there."""

COMMANDS = """
import multiprocessing, os
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

# Processes would take most of the time, since each imports nnU-Net anew; and so would 10 million intensities per case.
multiprocessing.get_context = lambda kind: SimpleNamespace(Pool=ThreadPool)
multiprocessing.Pool = ThreadPool
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
DatasetFingerprintExtractor.__setattr__ = lambda extractor, name, value: object.__setattr__(
    extractor, name, 1e4 if name == "num_foreground_voxels_for_intensitystats" else value
)
from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry
from nnunetv2.run.run_training import run_training_entry
from nnunetv2.training.logging.nnunet_logger import LocalLogger
LocalLogger.plot_progress_png = lambda logger, folder: None  # A picture that no test looks at.

def run(command, arguments):
    sys.argv[1:] = arguments.split()
    command()

run(plan_and_preprocess_entry, "-d 101 -c 2d -np 1 -npfp 1 --verify_dataset_integrity")
os.environ["nnUNet_n_proc_DA"] = "0"
run(run_training_entry, "101 2d 0 -tr nnUNetTrainerTiny -device cpu")
"""
"""nnUNetv2_plan_and_preprocess and nnUNetv2_train, in one process."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Folders of images to predict and of models, and the name of the trainer, after nnU-Net's own commands."""
    root = tmp_path_factory.mktemp("nnunet")
    raw = root / "raw" / DATASET
    for number in range(5):
        write_case(f"case_{number}", raw / "imagesTr", raw / "labelsTr", number)
    write_case("same", root / "images", root / "truth", 7)
    write_case("finer", root / "images", root / "truth", 8, spacing=0.8)
    about = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "outer": 1, "inner": 2},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(about))
    (root / "trainers").mkdir()
    (root / "trainers" / "nnUNetTrainerTiny.py").write_text(TRAINER)
    for variable in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{variable}"] = str(root / variable)
    trainers = os.pathsep.join((str(root / "trainers"), TRAINERS))
    settings = {"nnUNet_extTrainer": trainers, "nnUNet_def_n_proc": "1", "nnUNet_compile": "f", "OMP_NUM_THREADS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        for name in ("raw", "preprocessed", "results"):
            patch.setenv(f"nnUNet_{name}", str(root / name))
        (root / "commands.py").write_text(WITHOUT_TORCHVISION + COMMANDS)
        done = run_forked(root / "commands.py")
        assert done.returncode == 0, done.stdout + done.stderr
        exec(WITHOUT_TORCHVISION, {})
        models = root / "results" / DATASET
        further_models(models / "nnUNetTrainerTiny__nnUNetPlans__2d")
        yield SimpleNamespace(images=root / "images", truth=root / "truth", models=models, trainer="nnUNetTrainerTiny")


def further_models(trained: Path) -> None:
    """Makes a second fold with other weights, and a model of nnU-Net's own trainer."""
    plain = trained.with_name("nnUNetTrainer__nnUNetPlans__2d")
    shutil.copytree(trained, plain)
    for folder, trainer in ((trained / "fold_1", "nnUNetTrainerTiny"), (plain / "fold_0", "nnUNetTrainer")):
        folder.mkdir(exist_ok=True)
        state = torch.load(trained / "fold_0" / "checkpoint_final.pth", weights_only=False)
        state["trainer_name"] = trainer
        generator = torch.Generator().manual_seed(len(trainer))
        for weight in state["network_weights"].values():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
        torch.save(state, folder / "checkpoint_final.pth")


@pytest.fixture
def plain(trained) -> ViewsPredictor:
    """The predictor of a model of nnU-Net's own trainer, without mirroring."""
    with redirect_stdout(io.StringIO()):
        return load_predictor("101", "2d", device="cpu", mirroring=False)
