"""Scores of an uncertainty map as torchmetrics classes, for the training loop: QU-BraTS, AUROC of errors, AURC.

They are the numbers of ``spuproj evaluate``, computed by the same functions. Each case has a value of its own, and
``compute`` gives the mean over all cases; a value that a case does not have (NaN) is left out of the mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError(f'spuproj.metrics needs torchmetrics ({error}): pip install "spuproj[training]"') from error

from spuproj.checks import choice
from spuproj.training.evaluation.error_detection import aurc, detection
from spuproj.uncertainty import SCALINGS, entropy, qu_brats, to_percent

__all__ = ["ErrorAUROC", "QUBraTS", "RiskCoverage"]

Mask = NDArray[np.bool_]
Values = NDArray[np.float64]


class _MeanOverCases(Metric, ABC):
    """The mean over cases of a score of each case's segmentation, uncertainty and truth.

    Its state is two numbers, the sum of the scores and the number of cases that have one. Processes add theirs.
    """

    is_differentiable = False
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(self, scaling: str | None = "variance-1", **options: Any) -> None:
        """
        Args:
            scaling: what ``uncertainty`` is, a name in ``spuproj.uncertainty.SCALINGS``, by which it is scaled to
                [0, 100]; None where it is in [0, 100] already.
            options: of ``torchmetrics.Metric``.

        Raises:
            ValueError: for an unknown scaling.
        """
        super().__init__(**options)
        if scaling is not None:
            choice(scaling, tuple(SCALINGS), "scaling")
        self.scaling = scaling
        # MetricCollection merges metrics whose states have equal names and values, so the names must differ.
        self._state = f"{type(self).__name__}_{scaling}"
        self.add_state(self._state, torch.zeros(2), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, uncertainty: Tensor, brain: Tensor | None = None) -> None:
        """Adds a batch of cases. The scores are computed on the CPU, from uncertainties in float64.

        Args:
            preds: ``[B, ...]``, B cases of any size (a volume ``[1, Z, H, W]``, slices ``[B, H, W]``); of a
                floating-point dtype it is the probability, in [0, 1], and what is above 1/2 is segmented; otherwise the
                segmentation, bool or 0 and 1.
            target: of the same shape, like all further tensors; the true segmentation, bool or 0 and 1.
            uncertainty: what ``scaling`` names, the variance by default. Where it is NaN, since too few views
                see a voxel, the entropy of the probability stands in; a segmentation has none, so that NaN is an error.
            brain: bool or 0 and 1, the voxels to look at; all where None.

        Raises:
            TypeError: for what is no tensor.
            ValueError: for tensors of different shapes, values other than those above, or a case without brain.
        """
        for name, each in {"preds": preds, "target": target, "uncertainty": uncertainty, "brain": brain}.items():
            if not (isinstance(each, Tensor) or (each is None and name == "brain")):
                raise TypeError(f"{name} must be a torch tensor, got {type(each).__name__}")
        brain = torch.ones_like(preds, dtype=torch.bool) if brain is None else brain
        shapes = [tuple(each.shape) for each in (preds, target, uncertainty, brain)]
        if len(set(shapes)) > 1 or not shapes[0]:
            raise ValueError(
                f"preds, target, uncertainty and brain must have one shape, [B, ...], got {', '.join(map(str, shapes))}"
            )
        found = torch.tensor([self._of_case(*case) for case in zip(preds, target, uncertainty, brain, strict=True)])
        known = found[~found.isnan()]
        state = getattr(self, self._state)
        setattr(self, self._state, state + torch.stack([known.sum(), known.new_tensor(len(known))]).to(state))

    def compute(self) -> Tensor:
        """The mean over the cases that have a score, a scalar; NaN where none has."""
        state: Tensor = getattr(self, self._state)
        return state[0] / state[1]

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """A figure of the present value, or of ``val``, values of earlier steps; as the metrics of torchmetrics do."""
        return self._plot(val, ax)

    def _of_case(self, preds: Tensor, target: Tensor, uncertainty: Tensor, brain: Tensor) -> float:
        truth, inside = _mask(target, "target"), _mask(brain, "brain")
        if not inside.any():
            raise ValueError("brain must hold at least one voxel of each case, got none")
        probable = preds.dtype.is_floating_point
        segmentation = _segmented(preds) if probable else _mask(preds, "preds")
        return self._score(truth, segmentation, self._percent(uncertainty, preds if probable else None), inside)

    def _percent(self, uncertainty: Tensor, probability: Tensor | None) -> Values:
        values = uncertainty.detach().cpu().double()
        if self.scaling is None:
            return values.numpy()
        if probability is None or self.scaling == "entropy-1":
            return to_percent(values, self.scaling)
        return to_percent(values, self.scaling, entropy(probability.detach().cpu().double()))

    @abstractmethod
    def _score(self, truth: Mask, segmentation: Mask, percent: Values, brain: Mask) -> float: ...


class QUBraTS(_MeanOverCases):
    """The QU-BraTS score (Mehta et al. 2022), in [0, 1], see ``spuproj.uncertainty.qu_brats``.

    Examples:
        >>> score = QUBraTS()
        >>> probability, truth = torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([[1, 0, 0]])
        >>> score.update(probability, truth, uncertainty=torch.tensor([[0.0, 0.2, 0.0]]))
        >>> score.compute()
        tensor(0.9792)
    """

    higher_is_better = True

    def _score(self, truth: Mask, segmentation: Mask, percent: Values, brain: Mask) -> float:
        return qu_brats(truth, segmentation, percent, brain, scaled=self.scaling is not None).score


class ErrorAUROC(_MeanOverCases):
    """Area under the ROC curve of the uncertainty as a detector of the brain's wrong voxels, in [0, 1].

    A case in which all voxels are correct, or all are wrong, has none.
    """

    higher_is_better = True

    def _score(self, truth: Mask, segmentation: Mask, percent: Values, brain: Mask) -> float:
        return detection(percent[brain], (truth ^ segmentation)[brain])[0]


class RiskCoverage(_MeanOverCases):
    """Area under the risk-coverage curve (Geifman and El-Yaniv 2017) of the brain, in [0, 1]; lower is better."""

    higher_is_better = False

    def _score(self, truth: Mask, segmentation: Mask, percent: Values, brain: Mask) -> float:
        return aurc(percent[brain], (truth ^ segmentation)[brain])


def _segmented(probability: Tensor) -> Mask:
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError(
            f"preds must be probabilities in [0, 1], got values from {float(probability.min()):g} to "
            f"{float(probability.max()):g}; apply a sigmoid to logits"
        )
    segmented: Mask = (probability > 0.5).cpu().numpy()
    return segmented


def _mask(values: Tensor, argument: str) -> Mask:
    if not ((values == 0) | (values == 1)).all():
        raise ValueError(f"{argument} must hold nothing but 0 and 1")
    mask: Mask = (values == 1).cpu().numpy()
    return mask
