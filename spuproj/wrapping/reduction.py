"""Predictions of all views reduced to maps, with weights against lines where a view ends."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from spuproj.portable import PortableViews
from spuproj.uncertainty import entropy
from spuproj.views import Views

AnyViews = Views | PortableViews

FADE = 0.05
"""Width of the border in which a view fades out, as part of its shorter side."""


class Moments(NamedTuple):
    """What ``reduce_views`` computes, ``[B, K, H, W]`` each; for classes the entropy is ``[B, 1, H, W]``."""

    mean: Tensor
    variance: Tensor
    expected_entropy: Tensor
    count: Tensor  # type: ignore[assignment]


def blending_weights(views: AnyViews) -> Tensor:
    """The weight of each view at each pixel, ``[..., N, H, W]``: a view fades out where its raster or the slice ends.

    These are border weights, divided by the largest of the pixel: their sum tells how many views a pixel has, also
    where all of them fade. The border is 5 % of the view's shorter side.
    """
    weights = views.border_weights(FADE * min(views.view_size))
    largest = weights.amax(dim=-3, keepdim=True)
    return torch.where(largest > 0, weights / largest, 0)


def reduce_views(views: AnyViews, probability: Tensor, weights: Tensor, *, classes: bool = False) -> Moments:
    """Mean and variance over views of the probabilities, and the mean of their entropies, from one pass over the views.

    Args:
        views: N views, portable or not.
        probability: ``[B, N, K, h, w]`` in [0, 1].
        weights: ``[N, H, W]`` or ``[B, N, H, W]``, see ``Views.reduce``.
        classes: whether the K channels are classes, whose probabilities sum to 1; else each channel has its own
            complement.

    Returns:
        The moments. The variance is NaN where the weights of the views that see a pixel sum to less than 2 (count);
        mean and expected entropy are 0 where none does.
    """
    channels = probability.shape[2]
    both = torch.cat([probability, entropy(probability, 2 if classes else None)], dim=2)
    mean, variance, count = views.reduce(both, weights=weights, min_count=2, fill=math.nan)
    mean = torch.where(count > 0, mean, 0)
    return Moments(mean[:, :channels], variance[:, :channels], mean[:, channels:], count[:, :channels])
