"""From a predictor and a folder of images to segmentations and variance maps."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from torch import Tensor

from spuproj.nnunet.export import on_original_grid, save_map
from spuproj.nnunet.inference import ViewsPredictor
from spuproj.training.data.volumes.content import content_hash
from spuproj.training.models.weights import weights_digest
from spuproj.training.runtime.errors import InputError, reason_of
from spuproj.training.runtime.files import atomic_write_group, inside, refuse_overwrite, require_folder
from spuproj.training.runtime.json_file import read_json, write_json
from spuproj.training.runtime.locks import held
from spuproj.training.runtime.progress import print_status

FINISHED = "finished"
VARIANCE = "variance"
"""Name of the folder of variance maps. nnU-Net's evaluation takes every image beside the segmentations for one."""


def predict_folder(
    predictor: ViewsPredictor,
    source: Path | str,
    out: Path | str,
    *,
    save_probabilities: bool = False,
    force: bool = False,
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
        files are there, and ``out/variance/CASE_var.json`` says that images, models, views and settings were the same.
        Each file appears whole or not at all.

    Raises:
        InputError: for a folder without images, images without the channels that the model was trained on, a folder
            that another process predicts into, or, without ``force``, predictions of other images, models, views,
            settings or programs; and at the end, where some cases failed.
    """
    source, out = Path(source), Path(out)
    ending = predictor.dataset_json["file_ending"]
    cases = _cases(source, ending)
    for case, files in cases.items():
        _require_channels(predictor, case, files)
    require_folder(out)
    recipe, endings, failed = _recipe(predictor), [ending, *([".npz"] if save_probabilities else [])], dict[str, str]()
    with held(out):
        todo = list(cases) if force else _unfinished(out, cases, recipe, endings, failed)
        # nnU-Net's ensembling, evaluation and postprocessing read them there.
        write_json(out / "dataset.json", predictor.dataset_json)
        write_json(out / "plans.json", predictor.plans_manager.plans)
        for case in todo:
            try:
                _predict_case(predictor, case, cases[case], out, save_probabilities, recipe)
            # No error of one case may stop the others.
            except Exception as error:
                _fail(failed, case, error)
                continue
            yield _variance_file(out, case)
    if failed:
        name, reason = next(iter(failed.items()))
        raise InputError(f"{len(failed)} of {len(cases)} cases failed: {', '.join(failed)}; {name}: {reason}")


def _unfinished(
    out: Path,
    cases: Mapping[str, Sequence[str]],
    recipe: Mapping[str, Any],
    endings: Sequence[str],
    failed: dict[str, str],
) -> list[str]:
    """The cases that are to be predicted; those whose images cannot be compared with a prediction join the failed.

    Raises InputError where predictions are of another recipe, of other images, or of another program.
    """
    todo = []
    for case, files in cases.items():
        written = [_variance_file(out, case), *(inside(out, f"{case}{ending}") for ending in endings)]
        if not _recipe_file(out, case).is_file():
            refuse_overwrite(written, force=False)
            todo.append(case)
            continue
        try:
            wanted = {**recipe, "images": _hashes(files)}
        except InputError as error:
            _fail(failed, case, error)
            continue
        if not _is_finished(out, case, wanted, written):
            todo.append(case)
    return todo


def _fail(failed: dict[str, str], case: str, error: Exception) -> None:
    failed[case] = reason_of(error)
    print_status(f"{case} failed: {failed[case]}")


def _recipe(predictor: ViewsPredictor) -> dict[str, Any]:
    """What all predictions depend on: weights, views, labels, plans, and how windows slide over the views."""
    views = predictor.views(tuple(predictor.configuration_manager.patch_size))
    # Views of the patch's size stand for those of all sizes.
    table = views.geometry.detach().cpu().contiguous().numpy().tobytes() + str(views.view_size).encode()
    about = {name: predictor.dataset_json.get(name) for name in ("labels", "regions_class_order")}
    plans = json.dumps([about, predictor.plans_manager.plans], sort_keys=True, default=str)
    return {
        "models": sorted(map(weights_digest, predictor.list_of_parameters)),
        "views": hashlib.sha256(table).hexdigest(),
        "plans": hashlib.sha256(plans.encode()).hexdigest(),
        "mirroring": bool(predictor.use_mirroring),
        "tile_step_size": float(predictor.tile_step_size),
        "use_gaussian": bool(predictor.use_gaussian),
    }


def _hashes(files: Sequence[str]) -> list[str]:
    """The SHA-256 of each image. Raises InputError for one that is damaged: some readers would fill in zeros."""
    for file in files:
        if file.endswith(".gz"):
            try:
                with gzip.open(file) as stream:
                    while stream.read(2**20):
                        pass
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(f"{file} is damaged: {error}; copy it again") from None
    return [content_hash(Path(file)) for file in files]


def _variance_file(out: Path, case: str) -> Path:
    return out / VARIANCE / f"{case}_var.nii.gz"


def _recipe_file(out: Path, case: str) -> Path:
    """What a case was predicted from, and whether all of its files were written."""
    return inside(out / VARIANCE, f"{case}_var.json")


def _is_finished(out: Path, case: str, wanted: Mapping[str, Any], files: Sequence[Path]) -> bool:
    """Whether all files of a predicted case are there. Raises InputError where they are not made of what is wanted."""
    older = read_json(_recipe_file(out, case))
    finished = older.pop(FINISHED, None)
    if older != wanted:
        unlike = [name for name in wanted if older.get(name) != wanted[name]]
        raise InputError(
            f"{out} must hold no predictions with other {', '.join(unlike)}, but holds those of {case}; choose another "
            "folder, remove its files there, or pass --force to write over them"
        )
    return finished is True and all(file.is_file() for file in files)


def _cases(source: Path, ending: str) -> dict[str, list[str]]:
    """The files of each case, in the order of their channels."""
    cases: dict[str, list[str]] = {}
    for path in sorted(source.glob(f"*{ending}")):
        if match := re.fullmatch(rf"([^.].*)_\d{{4}}{re.escape(ending)}", path.name):
            cases.setdefault(match[1], []).append(str(path))
    if not cases:
        raise InputError(
            f"{source} must be a folder of images with nnU-Net's names, CASE_0000{ending} for the first channel, but "
            f"{'has none' if source.is_dir() else 'there is no such folder'}"
        )
    return cases


def _require_channels(predictor: ViewsPredictor, case: str, files: Sequence[str]) -> None:
    """Raises InputError where files are not those of the first channels, or are more than the model was trained on."""
    names, ending = _channels(predictor), predictor.dataset_json["file_ending"]
    wanted = [f"{case}_{number:04}{ending}" for number in range(len(files))]
    found = [Path(file).name for file in files]
    # Fewer where a file has several, such as a colour picture.
    if found != wanted or len(files) > len(names):
        raise InputError(
            f"{case} must have a file for each channel of the training data ({', '.join(names)}), {case}_0000{ending} "
            f"and so on, but has {', '.join(found)}"
        )


def _channels(predictor: ViewsPredictor) -> list[str]:
    about = predictor.dataset_json
    return [str(name) for name in about.get("channel_names", about.get("modality", {})).values()]


def _predict_case(
    predictor: ViewsPredictor,
    case: str,
    files: list[str],
    out: Path,
    save_probabilities: bool,
    recipe: Mapping[str, Any],
) -> None:
    """Predicts a case and writes its files. Until all of them are there, it is marked as not finished."""
    # Before the images are read: what changes from now on is noticed by the next prediction.
    wanted = {**recipe, "images": _hashes(files)}
    data, properties = _preprocessed(predictor, case, files)
    mean, variance = predictor.predict_moments(data)
    segmentation = f"{case}{predictor.dataset_json['file_ending']}"
    write_json(_recipe_file(out, case), {**wanted, FINISHED: False})
    # Older probabilities would be of another prediction than the segmentation.
    with atomic_write_group(out, case, segmentation, [f"{case}.npz", f"{case}.pkl"]) as folder:
        export_prediction_from_logits(
            predictor.as_logits(mean),
            properties,
            predictor.configuration_manager,
            predictor.plans_manager,
            predictor.dataset_json,
            str(inside(folder, case)),
            save_probabilities,
        )
    largest = on_original_grid(predictor, variance.amax(dim=0), properties)
    save_map(predictor.plans_manager.image_reader_writer_class, largest, _variance_file(out, case), properties)
    write_json(_recipe_file(out, case), {**wanted, FINISHED: True})


def _preprocessed(predictor: ViewsPredictor, case: str, files: list[str]) -> tuple[Tensor, dict[str, Any]]:
    """A case ``[C, Z, H, W]`` as nnU-Net preprocesses it, and what it needs to bring a prediction back."""
    names = _channels(predictor)
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    try:
        data, _, properties = preprocessor.run_case(
            files, None, predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
        )
    # nnU-Net's words, if there are any, do not name the case.
    except Exception as error:
        raise InputError(
            f"{case} must be 2-D slices or a volume of {len(names)} channels ({', '.join(names)}) on one grid, but "
            f"nnU-Net cannot prepare it: {reason_of(error)}"
        ) from error
    if len(data) != len(names):
        raise InputError(
            f"{case} must have the {len(names)} channels of the training data ({', '.join(names)}), but has {len(data)}"
        )
    return torch.from_numpy(data), properties
