"""nnU-Net's predictor, which looks at every slice through views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor

from spuproj import Views
from spuproj.geometry.by_size import is_function_of_size
from spuproj.nnunet.views import make_views
from spuproj.wrapping import blend, blending_weights

SLICES_PER_BATCH = 8
LEAST = float(torch.finfo(torch.float32).eps)
"""Probabilities this close to 0 or 1 are moved here, so that their logits are finite."""


class ViewsPredictor(nnUNetPredictor):  # type: ignore[misc]
    """nnU-Net's predictor, which shows its network every slice through N views and brings the results back.

    Everything that nnU-Net does to a slice, it does to each view: sliding window, mirroring, mean over folds of logits.
    The mean over views is of probabilities. nnU-Net's own methods (``predict_from_files`` and the like) give that mean;
    ``predict_moments`` also gives the variance, and ``spuproj.nnunet.predict_folder`` writes it.

    Args:
        views: makes the views of slices of a size (H, W), in pixels, such as ``Views.factory``.
        options: those of ``nnUNetPredictor``.

    Raises:
        TypeError: for views that are no function of the size.
    """

    def __init__(self, views: Callable[[tuple[int, int]], Views] = make_views, **options: Any) -> None:
        if not is_function_of_size(views):
            raise TypeError(f"views must be a function of the size (H, W), such as Views.factory(...), got {views!r}")
        super().__init__(**options)
        self.views = views

    @torch.inference_mode()
    def predict_moments(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance over views of the probability of each class, or of each region.

        The views are of the whole slice; a slice that is smaller than nnU-Net's patch is padded to it first, as in
        training.

        Args:
            data: ``[C, Z, H, W]``, preprocessed by nnU-Net.

        Returns:
            mean and population variance, float32 ``[K, Z, H, W]`` on the CPU, in [0, 1] and [0, 1/4], weighted by
            ``blending_weights``. Where the weights of the views that show a pixel sum to less than 2, the
            variance is NaN; where none shows it, the mean is background.

        Raises:
            RuntimeError: for a network that returns NaN.
        """
        padded, inside = pad_nd_image(data, self.configuration_manager.patch_size, return_slicer=True)
        views = self.views((padded.shape[-2], padded.shape[-1])).to(self.device)
        weights = blending_weights(views)
        parts = [self._moments(slices, views, weights) for slices in padded.split(SLICES_PER_BATCH, dim=1)]
        mean, variance = (torch.cat(part, dim=1)[(slice(None), *inside[1:])] for part in zip(*parts, strict=True))
        return mean, variance

    def predict_logits_from_preprocessed_data(self, data: Tensor) -> Tensor:
        """The mean probability over views, as logits: nnU-Net's softmax, or sigmoid for regions, gives it back."""
        return self.as_logits(self.predict_moments(data)[0])

    def as_logits(self, mean: Tensor) -> Tensor:
        """The logits of probabilities ``[K, Z, H, W]``: their logarithm, or for regions log(p / (1 - p))."""
        if self.label_manager.has_regions:
            return torch.logit(mean, eps=LEAST)
        return mean.clamp(min=LEAST).log()

    def _moments(self, slices: Tensor, views: Views, weights: Tensor) -> tuple[Tensor, Tensor]:
        """``predict_moments`` of a few slices. To nnU-Net, the views of all of them are the slices of one volume."""
        stack = views.project(slices.transpose(0, 1).to(self.device))
        logits = super().predict_logits_from_preprocessed_data(stack.flatten(0, 1).transpose(0, 1))
        seen = self.label_manager.apply_inference_nonlin(logits.to(self.device))
        seen = seen.transpose(0, 1).unflatten(0, stack.shape[:2])
        if not torch.isfinite(seen).all():
            raise RuntimeError(
                "the network's probabilities must be numbers, got NaN: its arithmetic overflows; where it runs in half "
                "precision, try another device, such as --device cpu"
            )
        mean, variance, count = blend(views, seen, weights)
        if not self.label_manager.has_regions:
            mean[:, 0].masked_fill_(count[:, 0] == 0, 1)
        return mean.transpose(0, 1).cpu(), variance.transpose(0, 1).cpu()
