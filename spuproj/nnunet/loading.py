"""From a folder of models that nnU-Net trained to a predictor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.paths import nnUNet_extTrainer, nnUNet_results
from nnunetv2.utilities.file_path_utilities import get_output_folder
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from spuproj.nnunet.inference import ViewsPredictor
from spuproj.training.runtime.errors import InputError, as_input_error
from spuproj.training.runtime.files import inside

TRAINERS = str(Path(__file__).with_name("trainers"))
"""The folder for nnU-Net's environment variable ``nnUNet_extTrainer``."""

_MAKERS = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(0).__reduce__()[0]}
_NUMPY: list[Any] = [
    np.dtype,
    np.ndarray,
    *(kind for kind in vars(np.dtypes).values() if isinstance(kind, type)),
    *((made, f"numpy.{core}.multiarray.{name}") for name, made in _MAKERS.items() for core in ("core", "_core")),
]
"""What makes NumPy's numbers and arrays, of versions 1 and 2, when they are read: nnU-Net's losses are such numbers."""


def load_predictor(
    dataset: str,
    configuration: str,
    *,
    trainer: str = "nnUNetTrainer",
    plans: str = "nnUNetPlans",
    folds: Sequence[str] = (),
    checkpoint: str = "checkpoint_final.pth",
    device: str | None = None,
    mirroring: bool = True,
) -> ViewsPredictor:
    """A predictor with the network that nnU-Net trained, found in the folder ``nnUNet_results``.

    Adds ``TRAINERS`` to the environment variable ``nnUNet_extTrainer`` of this process.

    Args:
        dataset: name or number of the data set.
        configuration: a 2-D one, such as ``"2d"``.
        trainer: name of the trainer's class: nnU-Net's own, ``"nnUNetTrainerSPU"`` or any other.
        plans: name of the plans.
        folds: those whose logits are averaged, such as ``["0", "1"]`` or ``["all"]``; where empty, all that are
            trained.
        checkpoint: name of the file of weights.
        device: ``"cuda"``, ``"cuda:1"`` or ``"cpu"``; where None, a GPU if there is one, else the CPU.
        mirroring: whether each view is also mirrored as nnU-Net does, which takes four times as long.

    Raises:
        InputError: where there is no such model, fold or checkpoint, a checkpoint holds more than tensors and numbers,
            the configuration is not 2-D or needs another's segmentation, or torch cannot use the device.
        RuntimeError: where nnU-Net knows no such data set or trainer.
    """
    chosen_device = _device(device)
    _offer_trainers()
    folder = _model_folder(dataset, configuration, trainer, plans)
    chosen = _folds(folder, folds, checkpoint)
    _require_2d(folder, configuration)
    for fold in chosen:
        _require_plain(inside(folder, f"fold_{fold}"), checkpoint)
    predictor = ViewsPredictor(device=chosen_device, use_mirroring=mirroring, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), chosen, checkpoint)
    return predictor


def _device(name: str | None) -> torch.device:
    """The device of this name. Raises InputError for one that torch does not have here, or that lacks float64 (mps)."""
    there = {"cuda": torch.cuda.is_available(), "cpu": True}
    if name is None:
        return torch.device("cuda" if there["cuda"] else "cpu")
    if not there.get(name.partition(":")[0]):
        usable = ", ".join(each for each, usable in there.items() if usable)
        raise InputError(f"device must be one that torch can use here, {usable}, got {name!r}")
    return torch.device(name)


def _offer_trainers() -> None:
    """Lets nnU-Net find our trainer, besides those in folders of the user's."""
    variable = nnUNet_extTrainer.env_var_name
    folders = [folder for folder in os.environ.get(variable, "").split(os.pathsep) if folder]
    if TRAINERS not in folders:
        os.environ[variable] = os.pathsep.join([*folders, TRAINERS])


def _model_folder(dataset: str, configuration: str, trainer: str, plans: str) -> Path:
    results = nnUNet_results.get()
    if not results or not Path(results).is_dir():
        raise InputError(
            f"nnUNet_results must name the folder of nnU-Net's trained models, but is {results or 'not set'}; "
            "set it with: export nnUNet_results=FOLDER"
        )
    folder = Path(get_output_folder(dataset, trainer, plans, configuration))
    if not folder.is_dir():
        trained = sorted(each.name for each in folder.parent.glob("*__*__*")) or ["none"]
        raise InputError(
            f"{folder} must be the folder of a trained model, but there is none; trained on this data set (as "
            f"TRAINER__PLANS__CONFIGURATION): {', '.join(trained)}"
        )
    return folder


def _folds(folder: Path, folds: Sequence[str], checkpoint: str) -> list[str]:
    """The folds that are wanted, or those that are trained."""
    trained = sorted(path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{checkpoint}"))
    chosen = [folds] if isinstance(folds, str) else list(map(str, folds))
    chosen = chosen or [each for each in trained if each != "all"] or trained
    missing = [each for each in chosen if each not in trained]
    if missing or not chosen:
        raise InputError(
            f"{folder} must have {checkpoint} of fold {missing[0] if missing else '0, 1, 2, 3, 4 or all'}, but has it "
            f"of {', '.join(trained) or 'none'}; choose another fold or checkpoint"
        )
    return chosen


def _require_plain(folder: Path, checkpoint: str) -> None:
    """Raises InputError for a checkpoint that holds more than tensors and numbers: nnU-Net would run code in it."""
    path = inside(folder, checkpoint)
    fault = f"{path} must hold tensors and numbers alone, as nnU-Net's trainers save them, but does not: "
    refused = as_input_error(lambda error: fault + str(error).partition("\n")[0])
    with refused, torch.serialization.safe_globals(_NUMPY):
        torch.load(path, map_location="meta", weights_only=True)


def _require_2d(folder: Path, configuration: str) -> None:
    """Raises InputError for a configuration of volumes, or of a cascade."""
    settings = PlansManager(str(folder / "plans.json")).get_configuration(configuration)
    patch, before = settings.patch_size, settings.previous_stage_name
    if before is not None:
        raise InputError(
            f"{folder} must be a model of images alone, but its configuration {configuration} also takes the "
            f"segmentation of {before}; give a model trained with 2d"
        )
    if len(patch) != 2:
        raise InputError(
            f"{folder} must be a 2-D model, but its configuration {configuration} has patches of "
            f"{' x '.join(map(str, patch))} voxels; give a model trained with 2d"
        )
