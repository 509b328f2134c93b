"""Prediction: every view of every slice through the network, brought back and reduced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spuproj import Views
from spuproj.training.cases import Case, as_volume, load_case
from spuproj.training.files import InputError, from_lps, refuse_overwrite, save_nifti
from spuproj.training.pictures import case_sheet
from spuproj.training.progress import steps
from spuproj.training.readers import case_in
from spuproj.training.runs import Config, load_run, make_views
from spuproj.training.schemes import SCHEMES, Scheme
from spuproj.uncertainty import entropy, mutual_information, to_percent

SLICES_PER_BATCH = 4
SUBMISSION = {"WT": "unc_whole", "TC": "unc_core", "ET": "unc_enhance"}
"""QU-BraTS's names of the targets' uncertainty maps."""


@dataclass(frozen=True)
class Prediction:
    """One target's maps, ``[Z, H, W]`` each.

    Attributes:
        probability: float32 in [0, 1], the mean over views.
        segmentation: bool, probability above 1/2.
        variance: float32 in [0, 1/4], the population variance over views.
        entropy: float32 in nats, from 0 to ln 2.
        mutual_information: likewise: what of the entropy the views' disagreement explains.
    """

    probability: NDArray[np.float32]
    segmentation: NDArray[np.bool_]
    variance: NDArray[np.float32]
    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32]


def reduce_views(
    network: nn.Module, views: Views, image: Tensor, noise: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance over views of the network's probability for images ``[B, C, H, W]``, and its mean entropy.

    All three are ``[B, 1, H, W]``, from one pass over the views. ``noise``, ``[N, C, h, w]``, is added to each stack.
    """
    stack = views.project(image)
    if noise is not None:
        stack = stack + noise
    probability = torch.sigmoid(network(stack.flatten(0, 1))).unflatten(0, stack.shape[:2])
    mean, variance, _ = views.reduce(torch.cat([probability, entropy(probability)], dim=2))
    return mean[:, :1], variance[:, :1], mean[:, 1:]


def make_noise(config: Config, views: Views) -> Tensor | None:
    """The noise ``[N, C, h, w]`` that the model's method adds to its views, the same for every slice; or None."""
    if config.method.noise == 0:
        return None
    shape = (len(views), len(config.modalities), *views.view_size)
    return config.method.noise * torch.randn(shape, generator=torch.Generator().manual_seed(config.seed))


def predict_case(config: Config, network: nn.Module, case: Case, on_slice: Callable[[str], None]) -> Prediction:
    """A model's maps of a case; slices without brain are left at zero. ``on_slice`` is called for each slice.

    Raises:
        InputError: where the case's field of view is not the one that the model was trained on.
    """
    if not np.allclose(case.field, config.field, rtol=0.05):
        raise InputError(
            f"{case.name} must have slices of {config.field} mm (height, width), as the {config.target} model was "
            f"trained on, got {case.field}; crop or pad the images first"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    views = make_views(config, (case.image.shape[2], case.image.shape[3])).to(device)
    noise = make_noise(config, views)
    noise = None if noise is None else noise.to(device)
    network = network.to(device)
    mean, variance, expected = np.zeros((3, *case.brain.shape), dtype=np.float32)
    shown = np.flatnonzero(case.brain.any(axis=(1, 2)))
    with torch.inference_mode():
        for start in range(0, len(shown), SLICES_PER_BATCH):
            chosen = shown[start : start + SLICES_PER_BATCH]
            maps = reduce_views(network, views, torch.from_numpy(case.image[chosen]).to(device), noise)
            mean[chosen], variance[chosen], expected[chosen] = (part[:, 0].cpu().numpy() for part in maps)
            for index in chosen:
                on_slice(f"slice {index}")
    # Outside the brain nothing is asked.
    mean, variance, expected = mean * case.brain, variance * case.brain, expected * case.brain
    whole, of_views = torch.from_numpy(mean), torch.from_numpy(expected)
    shared = mutual_information(whole, of_views).numpy()
    return Prediction(mean, mean > 0.5, variance, entropy(whole).numpy(), shared)


def merged_labels(predictions: dict[str, Prediction], scheme: Scheme) -> NDArray[np.uint8]:
    """The label map ``[Z, H, W]`` of all targets' segmentations in a scheme, the inner ones painted last."""
    labels = np.zeros(next(iter(predictions.values())).segmentation.shape, dtype=np.uint8)
    for target, label in scheme.paint.items():
        labels[predictions[target].segmentation] = label
    return labels


def predict(
    models: list[Path], folder: Path, out: Path, *, labels: str | None = None, force: bool = False
) -> list[Path]:
    """Predicts a case with one model per target and writes maps and a picture.

    Args:
        models: folders of finished runs, each of another target.
        folder: BraTS case folder ``<id>``; a segmentation in it is drawn dashed on the picture.
        out: folder of the outputs: ``<id>_<target>_prob``, ``_seg``, ``_var``, ``_entropy``, ``_mi`` (mutual
            information) and, with all three targets, the label map ``<id>_labels`` and the files of a QU-BraTS
            submission: the label map ``<id>`` and the uncertainties ``<id>_unc_whole``, ``_unc_core``, ``_unc_enhance``
            (0 to 100, ``variance-1``); all as ``.nii.gz`` with the input's affine and header, and ``<id>.png``.
        labels: name of the case's label scheme, where it is not the one that the file names tell; the merged label map
            is in it.
        force: write over existing outputs.

    Returns:
        The files written.

    Raises:
        InputError: for a model or case that cannot be used, two models of one target, or existing outputs.
    """
    runs = [load_run(model) for model in models]
    targets = [config.target for config, _ in runs]
    if not targets or len(set(targets)) != len(targets):
        raise InputError(f"models must be of different targets, got {', '.join(targets) or 'none'}")
    if any(config.modalities != runs[0][0].modalities for config, _ in runs):
        raise InputError("models must take the same modalities, got " + "; ".join(str(c.modalities) for c, _ in runs))
    files = case_in(folder, labels)
    scheme = files.scheme or SCHEMES["brats2020"]
    names = [f"{files.name}{ending}.nii.gz" for ending in _endings(targets, scheme)]
    refuse_overwrite([out / name for name in (*names, f"{files.name}.png")], force)
    case = load_case(files, runs[0][0].modalities, with_labels=files.labelled)
    predictions = {}
    for config, network in runs:
        with steps(f"Predicting {config.target}", int(case.brain.any(axis=(1, 2)).sum())) as advance:
            predictions[config.target] = predict_case(config, network, case, advance)
    truth = None if case.labels is None else {target: case.target(target) for target in predictions}
    sheet = case_sheet(case, predictions, runs[0][0], out / f"{case.name}.png", truth)
    return [*_write_maps(case, predictions, scheme, out), sheet]


def _endings(targets: Sequence[str], scheme: Scheme) -> list[str]:
    """What the files' names have behind the case's, in the order of ``_write_maps``."""
    endings = [f"_{target}_{kind}" for target in targets for kind in ("prob", "seg", "var", "entropy", "mi")]
    if set(targets) == set(scheme.paint):
        endings += ["_labels", "", *(f"_{SUBMISSION[target]}" for target in targets)]
    return endings


def _write_maps(case: Case, predictions: dict[str, Prediction], scheme: Scheme, out: Path) -> list[Path]:
    maps: list[NDArray[np.generic]] = []
    for each in predictions.values():
        maps += [each.probability, each.segmentation.astype(np.uint8), each.variance]
        maps += [each.entropy, each.mutual_information]
    endings = _endings(list(predictions), scheme)
    if len(endings) > len(maps):
        maps += [merged_labels(predictions, scheme)] * 2
        maps += [np.rint(to_percent(each.variance, "variance-1")).astype(np.uint8) for each in predictions.values()]
    paths = [out / f"{case.name}{ending}.nii.gz" for ending in endings]
    for path, slices in zip(paths, maps, strict=True):
        save_nifti(path, from_lps(as_volume(slices), case.like), case.like)
    return paths
