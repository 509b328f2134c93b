"""Inference through views: predictions for every view are brought back to the slice and reduced to maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import threshold_otsu
from torch import Tensor, nn

from spuproj import Views
from spuproj.checks import choice
from spuproj.training.data.canvas import Canvas
from spuproj.training.data.case import Case
from spuproj.training.inference.passes import Slices, in_passes
from spuproj.training.models.config import ModelConfig, canvas_of, make_views
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.execution import local_device
from spuproj.wrapping import blend, blending_weights, reduce_views

AGGREGATIONS = ("mean", "otsu")


@dataclass(frozen=True)
class CasePrediction:
    """One target's maps, ``[Z, H, W]`` each.

    Attributes:
        probability: float32 in [0, 1], the mean over views.
        segmentation: bool, see ``segment``.
        variance: float32 in [0, 1/4], the weighted population variance over views; NaN where the weights of those that
            see a pixel sum to less than 2.
        entropy: float32 in nats, from 0 to ln 2.
        mutual_information: float32 in nats, from 0 to ln 2: the part of the entropy that is disagreement between views;
            NaN where the variance is.
        members: float32 in [0, 1], ``[Z, N, H, W]``, each view's probability, NaN where the view does not show a pixel;
            None where not requested.
        interpolation: float32 in [0, 1/4], the variance that the views of the segmentation itself have, without any
            network: the part of the variance that is interpolation. NaN as in ``variance``; None where not computed.
    """

    probability: NDArray[np.float32]
    segmentation: NDArray[np.bool_]
    variance: NDArray[np.float32]
    entropy: NDArray[np.float32]
    mutual_information: NDArray[np.float32]
    members: NDArray[np.float32] | None = None
    interpolation: NDArray[np.float32] | None = None


def view_logits(
    network: nn.Module, views: Views, image: Tensor, noise: Tensor | None = None, most: int | None = None
) -> Tensor:
    """The network's output in every view of images ``[B, C, H, W]``: ``[B, N, 1, h, w]``.

    ``noise``, ``[N, C, h, w]``, is added to the views of every image. The network takes ``most`` views at a time.
    """
    stack = views.project(image)
    if noise is not None:
        stack = stack + noise
    every = stack.flatten(0, 1)
    parts = [network(part) for part in every.split(most or len(every))]
    logits: Tensor = torch.cat(parts).unflatten(0, stack.shape[:2])
    return logits


def view_probabilities(
    network: nn.Module,
    views: Views,
    image: Tensor,
    noise: Tensor | None = None,
    temperature: float = 1.0,
    most: int | None = None,
) -> Tensor:
    """The probability in every view, sigmoid(logit / temperature); see ``view_logits``."""
    return torch.sigmoid(view_logits(network, views, image, noise, most) / temperature)


def make_noise(config: ModelConfig, views: Views, missing: Collection[str] = ()) -> Tensor | None:
    """The noise ``[N, C, h, w]`` that the model's method adds to its views, the same for every slice; or None.

    Modalities that are missing stay 0.
    """
    if config.method.noise == 0:
        return None
    shape = (len(views), len(config.modalities), *views.view_size)
    noise = config.method.noise * torch.randn(shape, generator=torch.Generator().manual_seed(config.seed))
    present = torch.tensor([name not in missing for name in config.modalities])
    return torch.where(present[:, None, None], noise, 0)


def predict_case(
    config: ModelConfig,
    network: nn.Module,
    case: Case,
    on_slice: Callable[[str], None],
    *,
    aggregation: str = "mean",
    members: bool = False,
    device: torch.device | None = None,
) -> CasePrediction:
    """A model's maps of a case. Slices without brain are skipped; all maps are zero outside the brain.

    Slices of another field of view than the model's are padded or cropped around the brain, without resampling. Where
    memory runs out, fewer views are computed at a time, see ``in_passes``.

    Args:
        config, network: of the model.
        case: with the model's modalities, in its order.
        on_slice: called with a note for each slice.
        aggregation: see ``segment``.
        members: also keep each view's probability, which takes N times the memory of a map.
        device: to compute on; ``local_device()`` where None.

    Raises:
        InputError: where the brain is larger than the model's field of view, memory does not suffice for one view, or
            the network returns NaN.
    """
    device = local_device() if device is None else device
    canvas, views, noise, weights = _looking_at(config, case, device)
    network = network.to(device)
    kept = _no_members(views, canvas, case) if members else None
    maps = np.zeros((4, *case.brain.shape), dtype=np.float32)
    what = f"{case.name}, {config.target}"

    def look(chosen: Slices, most: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        image = torch.from_numpy(canvas.place(case.image[chosen])).to(device)
        seen = view_probabilities(network, views, image, noise, config.temperature, most)
        reduced = reduce_views(views, seen, weights)
        four = torch.stack(reduced[:4])[:, :, 0]
        shown = canvas.cut(reduced.members[:, :, 0].cpu().numpy(), case.size) if members else None
        return canvas.cut(four.cpu().numpy(), case.size), shown

    with torch.inference_mode():
        for chosen, (reduced, shown) in in_passes(case, len(views), look, what):
            maps[:, chosen] = reduced
            if kept is not None and shown is not None:
                kept[chosen] += shown * case.brain[chosen, None]
            for index in chosen:
                on_slice(f"slice {index}")
        mean, variance, entropy, shared = np.where(case.brain, maps, np.float32(0))
        _require_numbers(mean, what)
        found = segment(mean, case.brain, aggregation)
        floor = _interpolation(case, found, canvas, views, weights, what)
    return CasePrediction(mean, found, variance, entropy, shared, kept, floor)


def _require_numbers(probability: NDArray[np.float32], what: str) -> None:
    """Raises InputError for a model whose arithmetic overflows: its NaN would be segmented as background."""
    if broken := np.count_nonzero(~np.isfinite(probability)):
        raise InputError(
            f"{what}: the model's probabilities must be numbers, but are NaN at {broken} voxels; train it again, or "
            "give it images like those that it was trained on"
        )


def _interpolation(
    case: Case, found: NDArray[np.bool_], canvas: Canvas, views: Views, weights: Tensor, what: str
) -> NDArray[np.float32]:
    """The variance ``[Z, H, W]`` that the views of a segmentation have by interpolation alone."""
    floor = np.zeros(case.brain.shape, np.float32)

    def look(chosen: Slices, _: int) -> NDArray[np.float32]:
        mask = torch.from_numpy(canvas.place(found[chosen])[:, None]).to(weights.device)
        alone = views.interpolation_variance(mask, weights=weights, min_count=2, fill=math.nan)
        return canvas.cut(alone[:, 0].cpu().numpy(), case.size)

    for chosen, alone in in_passes(case, 1, look, what):
        floor[chosen] = alone
    return np.where(case.brain, floor, np.float32(0))


def mean_probabilities(
    config: ModelConfig, network: nn.Module, case: Case, temperatures: Sequence[float]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """A model's probability at several temperatures, which takes one run of the network.

    Args:
        config, network: of the model; a temperature that it already has plays no part.
        case: as ``predict_case`` takes it.
        temperatures: that the logits are divided by, each above 0.

    Yields:
        For all slices with brain, a few at a time: their indices, and the mean over views ``[T, slices, H, W]``, which
        inside the brain is the probability that ``predict_case`` gives at each temperature.

    Raises:
        InputError: as ``predict_case`` does.
    """
    device = local_device()
    canvas, views, noise, weights = _looking_at(config, case, device)
    network = network.to(device)

    def look(chosen: Slices, most: int) -> NDArray[np.float32]:
        image = torch.from_numpy(canvas.place(case.image[chosen])).to(device)
        logits = view_logits(network, views, image, noise, most)
        means = [blend(views, torch.sigmoid(logits / each), weights).mean for each in temperatures]
        return canvas.cut(torch.stack(means)[:, :, 0].cpu().numpy(), case.size)

    with torch.inference_mode():
        yield from in_passes(case, len(views), look, f"{case.name}, {config.target}")


def _looking_at(config: ModelConfig, case: Case, device: torch.device) -> tuple[Canvas, Views, Tensor | None, Tensor]:
    """How the model looks at a case: the canvas, and on the device its views, their noise and their weights."""
    canvas = canvas_of(config, case)
    views = make_views(config, canvas.size)
    noise = make_noise(config, views, case.missing)
    views = views.to(device)
    return canvas, views, None if noise is None else noise.to(device), blending_weights(views)


def segment(probability: NDArray[np.float32], brain: NDArray[np.bool_], aggregation: str) -> NDArray[np.bool_]:
    """Thresholds the mean probability inside the brain.

    ``"mean"`` segments voxels with a probability above 1/2. ``"otsu"`` segments voxels above Otsu's threshold of the
    brain's probabilities (Otsu 1979, 256 bins between the smallest and the largest). That adapts to a model with too
    low or too high probabilities, but it also segments the most probable voxels of a patient without the target. Where
    the probability is constant, nothing is segmented.

    Args:
        probability: ``[Z, H, W]`` in [0, 1], the mean over views.
        brain: of the same shape, with at least one voxel.
        aggregation: a name in ``AGGREGATIONS``.

    Raises:
        ValueError: for an unknown name.
    """
    choice(aggregation, AGGREGATIONS, "aggregation")
    threshold = 0.5 if aggregation == "mean" else threshold_otsu(probability[brain])
    return (probability > threshold) & brain


def _no_members(views: Views, canvas: Canvas, case: Case) -> NDArray[np.float32]:
    """Initial members ``[Z, N, H, W]``: 0, and NaN where a view does not show a pixel."""
    unseen = torch.isnan(views.view_coordinates()[0]).cpu().numpy()
    members = canvas.cut(np.where(unseen, np.float32(np.nan), np.float32(0)), case.size, np.nan)
    return np.repeat(members[None], len(case.brain), axis=0)
