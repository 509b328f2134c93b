"""Views as augmentation in nnU-Net's own chain of transforms."""

from __future__ import annotations

from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from torch import Tensor

from spuproj import Views

PADDING = -1
"""nnU-Net's label of what lies outside the image."""


class ViewTransform(BasicTransform):  # type: ignore[misc]
    """Shows image and segmentation of a sample through the same view, drawn at random.

    View pixels outside the slice are 0 in the image and -1 in the segmentation, as nnU-Net pads both.

    Args:
        views: N views of nnU-Net's patch, whose ``view_size`` is the patch's size too.

    Raises:
        ValueError: where ``view_size`` is not the patch's size.
    """

    def __init__(self, views: Views) -> None:
        super().__init__()
        if views.view_size != views.size:
            raise ValueError(f"view_size must be the patch's size, {views.size}, got {views.view_size}")
        # One module for each: what a view needs is prepared once.
        self.views = list(views)

    def get_parameters(self, **sample: Any) -> dict[str, Views]:
        """Draws a view."""
        return {"view": self.views[int(torch.randint(len(self.views), ()))]}

    def _apply_to_image(self, img: Tensor, view: Views) -> Tensor:
        seen: Tensor = view.project(img)[0]
        return seen

    def _apply_to_segmentation(self, segmentation: Tensor, view: Views) -> Tensor:
        seen: Tensor = view.project(segmentation, interpolation="nearest", fill=PADDING)[0]
        return seen


def with_views(transforms: ComposeTransforms, views: Views) -> ComposeTransforms:
    """nnU-Net's transforms with a view after the spatial one, for a trainer of your own.

    The segmentation is downsampled for deep supervision after that, so all its scales show the same view.

    Args:
        transforms: what nnU-Net's ``get_training_transforms`` returns for a 2-D configuration; changed and returned.
        views: see ``ViewTransform``; include ``Views.rigid(size)`` to also train on the slice as it is.

    Raises:
        ValueError: for transforms without a spatial one, or views as ``ViewTransform`` refuses them.
    """
    places = [place for place, each in enumerate(transforms.transforms) if isinstance(each, SpatialTransform)]
    if not places:
        names = [type(each).__name__ for each in transforms.transforms]
        raise ValueError(f"transforms must have a SpatialTransform, got {', '.join(names) or 'none'}")
    transforms.transforms.insert(places[0] + 1, ViewTransform(views))
    return transforms
