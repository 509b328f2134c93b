"""Targets that lie in one another, as ET in TC in WT: what is predicted of an outer target includes the inner ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spuproj.training.data.case import Case
from spuproj.training.data.labels import LabelScheme
from spuproj.training.inference.case_prediction import CasePrediction, predict_case
from spuproj.training.models.run import Run
from spuproj.training.runtime.progress import MakeProgressBar


def inner_first(targets: Sequence[str], scheme: LabelScheme) -> list[str]:
    """The targets, each after those that lie in it."""
    return sorted(targets, key=lambda target: len(scheme.targets.get(target, ())))


def directly_inside(target: str, others: Collection[str], scheme: LabelScheme) -> list[str]:
    """Those of the other targets that lie in this one, without those that lie in another of them.

    A target lies in another where the scheme gives it fewer of the same labels; one that the scheme does not have lies
    in none.
    """
    inner = [other for other in others if _lies_in(other, target, scheme)]
    return [each for each in inner if not any(_lies_in(each, other, scheme) for other in inner)]


def _lies_in(inner: str, outer: str, scheme: LabelScheme) -> bool:
    labels = scheme.targets
    return inner in labels and outer in labels and set(labels[inner]) < set(labels[outer])


def including(outer: CasePrediction, inner: CasePrediction) -> CasePrediction:
    """The outer target's maps, where what is predicted of the inner target belongs to it too.

    Where the inner target is more probable, the outer one takes its probability, and with it its variance, entropy,
    mutual information and members. What is segmented of either is segmented. Members are kept where both have them; of
    models with different numbers of views, the missing ones are NaN.
    """
    more = inner.probability > outer.probability
    members = interpolation = None
    if outer.interpolation is not None and inner.interpolation is not None:
        interpolation = np.where(more, inner.interpolation, outer.interpolation)
    if outer.members is not None and inner.members is not None:
        count = max(outer.members.shape[1], inner.members.shape[1])
        members = np.where(more[:, None], _of_views(inner.members, count), _of_views(outer.members, count))
    return CasePrediction(
        probability=np.where(more, inner.probability, outer.probability),
        segmentation=outer.segmentation | inner.segmentation,
        variance=np.where(more, inner.variance, outer.variance),
        entropy=np.where(more, inner.entropy, outer.entropy),
        mutual_information=np.where(more, inner.mutual_information, outer.mutual_information),
        members=members,
        interpolation=interpolation,
    )


def _of_views(members: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Members ``[Z, N, H, W]`` with NaN for the views that are missing to ``count``."""
    missing = count - members.shape[1]
    return np.pad(members, ((0, 0), (0, missing), (0, 0), (0, 0)), constant_values=np.nan) if missing else members


def predict_targets(
    runs: Sequence[Run],
    case: Case,
    scheme: LabelScheme,
    show: MakeProgressBar,
    aggregation: str = "mean",
    members: bool = False,
) -> Iterator[tuple[str, CasePrediction]]:
    """Predicts each target of a case, the inner targets first, so that outer ones include them.

    Members are large: they are kept only while an outer target needs them.

    Args:
        runs: a model for each target.
        case: with the models' modalities, in their order.
        scheme: says which targets lie in one another.
        show: makes a bar over slices for each target.
        aggregation, members: see ``predict_case``.

    Yields:
        Each target with its maps.
    """
    models = {config.target: (config, network) for config, network in runs}
    order = inner_first(list(models), scheme)
    done: dict[str, CasePrediction] = {}
    for number, target in enumerate(order):
        with show(f"Predicting {target} of {case.name}", len(case.brain_slices)) as advance:
            config, network = models[target]
            prediction = predict_case(config, network, case, advance, aggregation=aggregation, members=members)
        for inner in directly_inside(target, order, scheme):
            prediction = including(prediction, done[inner])
        yield target, prediction
        done[target] = prediction
        needed = {inner for outer in order[number + 1 :] for inner in directly_inside(outer, order, scheme)}
        done = {name: each if name in needed else replace(each, members=None) for name, each in done.items()}
