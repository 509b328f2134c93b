"""From a trained nnU-Net and a folder of images to segmentations and variance maps."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from nnunetv2.paths import nnUNet_extTrainer, nnUNet_results
from nnunetv2.utilities.file_path_utilities import get_output_folder
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import Tensor

from spuproj.nnunet.export import on_original_grid, save_map
from spuproj.nnunet.inference import ViewsPredictor
from spuproj.training.data.volumes.content import content_hash
from spuproj.training.runtime.files import InputError, inside, read_json, require_folder, write_json

TRAINERS = str(Path(__file__).with_name("trainers"))
"""The folder for nnU-Net's environment variable ``nnUNet_extTrainer``."""

VARIANCE = "variance"
"""Name of the folder of variance maps. nnU-Net's evaluation takes every image beside the segmentations for one."""


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
        folds: numbers of folds, or ``"all"``, whose logits are averaged; where empty, every fold that is trained.
        checkpoint: name of the file of weights.
        device: ``"cuda"``, ``"cpu"`` or ``"mps"``; where None, a GPU if there is one, else the CPU.
        mirroring: whether each view is also mirrored as nnU-Net does, which takes four times as long.

    Raises:
        InputError: where there is no such model, fold or checkpoint, a checkpoint holds more than tensors and numbers,
            or the configuration is not 2-D.
        RuntimeError: where nnU-Net knows no such data set or trainer.
    """
    _offer_trainers()
    folder = _model_folder(dataset, configuration, trainer, plans)
    chosen = _folds(folder, folds, checkpoint)
    _require_2d(folder, configuration)
    for fold in chosen:
        _require_plain(inside(folder, f"fold_{fold}"), checkpoint)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    predictor = ViewsPredictor(device=torch.device(device), use_mirroring=mirroring, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), chosen, checkpoint)
    return predictor


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
    chosen = list(map(str, folds)) or [each for each in trained if each != "all"] or trained
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
    try:
        with torch.serialization.safe_globals(_NUMPY):
            torch.load(path, map_location="meta", weights_only=True)
    # A damaged or foreign file may raise anything.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path} must hold tensors and numbers alone, as nnU-Net's trainers save them, but does not: {reason}"
        ) from None


def _require_2d(folder: Path, configuration: str) -> None:
    patch = PlansManager(str(folder / "plans.json")).get_configuration(configuration).patch_size
    if len(patch) != 2:
        raise InputError(
            f"{folder} must be a 2-D model, but its configuration {configuration} has patches of "
            f"{' x '.join(map(str, patch))} voxels; give a model trained with 2d"
        )


def predict_folder(
    predictor: ViewsPredictor, source: Path, out: Path, *, save_probabilities: bool = False, force: bool = False
) -> Iterator[Path]:
    """Predicts all images of a folder: writes for each a segmentation, and its variance over the views.

    The segmentation, and with ``save_probabilities`` the mean probabilities (.npz, .pkl), are what ``nnUNetv2_predict``
    writes into ``out``. The variance is ``out/variance/CASE_var.nii.gz``: float32 in [0, 1/4] on the image's grid, the
    largest of all classes or regions; NaN where too few views show the voxel; 0 where nnU-Net cropped the image.

    Args:
        predictor: of ``load_predictor``.
        source: folder of images CASE_0000.nii.gz, CASE_0001.nii.gz and so on, with the ending of the training data.
        out: folder to write to.
        save_probabilities: whether nnU-Net also writes the mean probability of each class.
        force: whether to predict cases again whose files are there.

    Yields:
        The path of each variance map, when it is written. Cases that are finished already are left out: all of their
        files are there, and ``out/variance/CASE_var.json`` says that images and models were the same.

    Raises:
        InputError: for a folder without images, images without the channels that the model was trained on, or, without
            ``force``, predictions of other images or models.
    """
    ending = predictor.dataset_json["file_ending"]
    cases = _cases(source, ending)
    require_folder(out)
    model = _model_hash(predictor)
    recipes = {
        case: {**model, "images": [content_hash(path) for path in map(Path, files)]} for case, files in cases.items()
    }
    todo = [
        case
        for case, recipe in recipes.items()
        if force or not _is_finished(out, case, recipe, [ending, *([".npz"] if save_probabilities else [])])
    ]
    out.mkdir(parents=True, exist_ok=True)
    # nnU-Net's ensembling, evaluation and postprocessing read them there.
    write_json(out / "dataset.json", predictor.dataset_json)
    write_json(out / "plans.json", predictor.plans_manager.plans)
    for case in todo:
        variance = _variance_file(out, case)
        _predict_case(predictor, case, cases[case], out, save_probabilities, variance)
        write_json(_recipe_file(out, case), recipes[case])
        yield variance


def _model_hash(predictor: ViewsPredictor) -> dict[str, Any]:
    """The SHA-256 of each fold's weights, and whether views are mirrored."""
    folds = []
    for weights in predictor.list_of_parameters:
        together = hashlib.sha256()
        for name, tensor in weights.items():
            together.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            together.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        folds.append(together.hexdigest())
    return {"models": folds, "mirroring": bool(predictor.use_mirroring)}


def _variance_file(out: Path, case: str) -> Path:
    return out / VARIANCE / f"{case}_var.nii.gz"


def _recipe_file(out: Path, case: str) -> Path:
    """What a case was predicted from; written last, so that where it is the case is finished."""
    return inside(out / VARIANCE, f"{case}_var.json")


def _is_finished(out: Path, case: str, recipe: Mapping[str, Any], endings: Sequence[str]) -> bool:
    """Whether all files of a case are there. Raises InputError where they are of other images or models."""
    if not _recipe_file(out, case).is_file():
        return False
    if read_json(_recipe_file(out, case)) != recipe:
        raise InputError(
            f"{out} must hold no predictions of other images or by other models, but holds those of {case}; choose "
            "another folder, remove its files there, or pass --force to write over them"
        )
    return _variance_file(out, case).is_file() and all(inside(out, f"{case}{ending}").is_file() for ending in endings)


def _cases(source: Path, ending: str) -> dict[str, list[str]]:
    """The files of each case, in the order of their channels."""
    cases: dict[str, list[str]] = {}
    for path in sorted(source.glob(f"*{ending}")):
        if match := re.fullmatch(rf"(.+)_\d{{4}}{re.escape(ending)}", path.name):
            cases.setdefault(match[1], []).append(str(path))
    if not cases:
        raise InputError(
            f"{source} must be a folder of images with nnU-Net's names, CASE_0000{ending} for the first channel, but "
            f"{'has none' if source.is_dir() else 'there is no such folder'}"
        )
    return cases


def _predict_case(
    predictor: ViewsPredictor, case: str, files: list[str], out: Path, save_probabilities: bool, variance_file: Path
) -> None:
    data, properties = _preprocessed(predictor, case, files)
    mean, variance = predictor.predict_moments(data)
    export_prediction_from_logits(
        predictor.as_logits(mean),
        properties,
        predictor.configuration_manager,
        predictor.plans_manager,
        predictor.dataset_json,
        str(out / case),
        save_probabilities,
    )
    largest = on_original_grid(predictor, variance.amax(dim=0), properties)
    save_map(predictor.plans_manager.image_reader_writer_class, largest, variance_file, properties)


def _preprocessed(predictor: ViewsPredictor, case: str, files: list[str]) -> tuple[Tensor, dict[str, Any]]:
    """A case ``[C, Z, H, W]`` as nnU-Net preprocesses it, and what it needs to bring a prediction back."""
    about = predictor.dataset_json
    names = about.get("channel_names", about.get("modality", {}))
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    channels = len(files)
    if channels <= len(names):  # fewer where a file has several, such as a colour picture
        data, _, properties = preprocessor.run_case(
            files, None, predictor.plans_manager, predictor.configuration_manager, about
        )
        channels = len(data)
    if channels != len(names):
        raise InputError(
            f"{case} must have the {len(names)} channels of the training data ({', '.join(names.values())}), but has "
            f"{channels}; give it the files {case}_0000{about['file_ending']} and so on, one for each channel"
        )
    return torch.from_numpy(data), properties
