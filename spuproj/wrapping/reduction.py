"""Predictions of all views reduced to maps, with weights against lines where a view ends."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from spuproj.portable import PortableViews
from spuproj.uncertainty import entropy, mutual_information
from spuproj.views import Views

AnyViews = Views | PortableViews

FADE = 0.05
"""Width of the border in which a view fades out, as part of its shorter side."""


class Moments(NamedTuple):
    """What ``blend`` computes, ``[B, K, H, W]`` each."""

    mean: Tensor
    variance: Tensor
    count: Tensor  # type: ignore[assignment]


class Maps(NamedTuple):
    """What ``reduce_views`` computes, ``[B, K, H, W]`` each; for classes the entropies are ``[B, 1, H, W]``.

    ``members`` are ``[B, N, K, H, W]``, each view's probability on the slice, 0 where the view does not show a pixel.
    """

    mean: Tensor
    variance: Tensor
    entropy: Tensor
    mutual_information: Tensor
    count: Tensor  # type: ignore[assignment]
    members: Tensor


def blending_weights(views: AnyViews) -> Tensor:
    """The weight of each view at each pixel, ``[..., N, H, W]``: a view fades out where its raster or the slice ends.

    These are border weights, divided by the largest of the pixel: their sum tells how many views a pixel has, also
    where all of them fade. The border is 5 % of the view's shorter side.
    """
    weights = views.border_weights(FADE * min(views.view_size))
    largest = weights.amax(dim=-3, keepdim=True)
    return torch.where(largest > 0, weights / largest, 0)


def blend(views: AnyViews, stack: Tensor, weights: Tensor) -> Moments:
    """Mean and variance over views of any values, each view with its weight.

    Args:
        views: N views, portable or not.
        stack: ``[B, N, K, h, w]``, the values in every view.
        weights: ``[N, H, W]`` or ``[B, N, H, W]``, such as ``blending_weights(views)``.

    Returns:
        The moments, and the sum of the weights of the views that show a pixel (count). Where it is less than 2, the
        variance is NaN, since one view cannot disagree with itself; where it is 0, the mean is 0.
    """
    mean, variance, count = views.reduce(stack, weights=weights, min_count=2, fill=math.nan)
    return Moments(torch.where(count > 0, mean, 0), variance, count)


def reduce_views(views: AnyViews, probability: Tensor, weights: Tensor, *, classes: bool = False) -> Maps:
    """The mean probability over views and all maps of its uncertainty.

    Args:
        views: N views, portable or not.
        probability: ``[B, N, K, h, w]`` in [0, 1].
        weights: ``[N, H, W]`` or ``[B, N, H, W]``, such as ``blending_weights(views)``.
        classes: whether the K channels are classes, whose probabilities sum to 1; else each channel has its own
            complement.

    Returns:
        Mean, variance and count as ``blend`` gives them; the entropy of the mean; the mutual information, which is the
        entropy of the mean minus the mean entropy of the views on the slice, NaN where the variance is; and each view's
        probability on the slice (members).
    """
    mean, variance, count = blend(views, probability, weights)
    # Rounding of the mean must not leave the entropy's domain.
    whole, dim = mean.clamp(0, 1), 1 if classes else None
    members = views.unproject(probability)
    expected = _mean_entropy(members, weights, classes)
    shared = mutual_information(whole, expected, dim)
    shared = torch.where(count[:, : shared.shape[1]] < 2, math.nan, shared)
    return Maps(mean, variance, entropy(whole, dim), shared, count, members)


def _mean_entropy(members: Tensor, weights: Tensor, classes: bool) -> Tensor:
    """The mean over views of the entropy that each has on the slice.

    The entropy in the view, brought back, would be smaller: interpolation between two certain pixels is uncertain. The
    difference would be taken for disagreement at every edge.
    """
    per_view = weights.unsqueeze(-3)
    seen = torch.where(per_view > 0, per_view * entropy(members.clamp(0, 1), 2 if classes else None), 0)
    return seen.sum(-4) / per_view.sum(-4).clamp(min=torch.finfo(weights.dtype).tiny)
