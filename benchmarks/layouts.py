"""The two layouts in which an image op can read the planes of all views, and grid_sample in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from spuproj.benchmarks.cases import Case

Read = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Layout:
    """How ``[B, N, C, ., .]`` becomes the batch ``[K, c, ., .]`` of an image op, and back.

    Attributes:
        arrange: ``[B, C, ., .]``, which every view reads, or ``[B, N, C, ., .]`` to ``[K, c, ., .]``.
        restore: ``[K, c, ., .]`` to a view ``[B, N, C, ., .]``.
        spread: ``[B or 1, N, ., .]``, one entry for each view, to ``[K, ., .]``.
    """

    arrange: Read
    restore: Read
    spread: Read


def _as_batch(case: Case) -> Layout:
    """K = B N views of c = C planes."""
    samples, views = case.batch, case.views

    def arrange(planes: Tensor) -> Tensor:
        per_view = planes[:, None] if planes.dim() == 4 else planes
        return per_view.expand(case.stack_shape).reshape(samples * views, *case.image_shape[1:])

    return Layout(
        arrange,
        lambda batch: batch.unflatten(0, (samples, views)),
        lambda points: points.expand(samples, -1, -1, -1).flatten(0, 1),
    )


def _as_channels(case: Case) -> Layout:
    """K = N views of c = B C planes, where all samples share the views."""
    samples, channels = case.batch, case.channels

    def arrange(planes: Tensor) -> Tensor:
        if planes.dim() == 4:
            return planes.reshape(1, samples * channels, *case.size).expand(case.views, -1, -1, -1)
        return planes.movedim(1, 0).reshape(case.views, samples * channels, *case.size)

    return Layout(
        arrange, lambda batch: batch.unflatten(1, (samples, channels)).movedim(1, 0), lambda points: points[0]
    )


LAYOUTS = {"views as batch": _as_batch, "planes as channels": _as_channels}


def grid_sampler(y: Tensor, x: Tensor, case: Case) -> Read:
    """grid_sample at points ``[K, P, Q]`` of the planes of a layout."""
    height, width = case.size
    grid = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1).float()
    return lambda planes: functional.grid_sample(planes, grid, mode=case.interpolation, align_corners=True)
