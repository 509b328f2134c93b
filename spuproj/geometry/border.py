"""Weights of views that fall to zero where a view ends, for reductions without seams."""

import torch
from torch import Tensor

from spuproj.geometry.coordinates import magnification, pixel_grid, view_coordinates
from spuproj.geometry.table import Geometry


def border_weights(table: Tensor, size: tuple[int, int], view_size: tuple[int, int], width: float) -> Tensor:
    """A weight for every view and slice pixel: 1 inside, falling to 0 where the view's raster or the slice ends.

    The weight is t^2 (3 - 2 t) with t = min(d / width, 1), where d is the distance, in view pixels, from the pixel to
    the nearest end: that of the view's raster, or that of the slice times the view's local linear magnification. Both
    end half a pixel beyond their outermost pixel centres, so every pixel that a view shows has a positive weight: at
    least the smallest normal number of float32, since ``reduce`` takes smaller ones for zero.

    Args:
        table: ``[..., 19]`` geometry table.
        size: (H, W) of the slice.
        view_size: (h, w) of the view.
        width: distance over which the weight rises from 0 to 1, in view pixels; positive.

    Returns:
        ``[..., H, W]`` float32; zero where the view does not show the pixel.
    """
    spacing = Geometry.from_table(table).spacing
    # View pixels per unit of the spacing.
    linear = (magnification(table, size, view_size) / spacing.prod(dim=-1)[..., None, None]).sqrt()
    distance = _to_end(*view_coordinates(table, size, view_size), view_size)
    for axis, pixel in enumerate(pixel_grid(size, table.device)):
        to_end = torch.minimum(pixel, size[axis] - 1 - pixel) + 0.5
        distance = torch.minimum(distance, to_end * spacing[..., axis, None, None] * linear)
    t = (distance / width).clamp(max=1)
    weight = (t * t * (3 - 2 * t)).clamp(min=torch.finfo(torch.float32).tiny)
    return torch.where(torch.isnan(t), 0, weight).float()


def _to_end(v: Tensor, u: Tensor, size: tuple[int, int]) -> Tensor:
    """Distance of points of a raster from its nearest end, half a pixel beyond its outermost pixel centres."""
    return torch.minimum(torch.minimum(v, size[0] - 1 - v), torch.minimum(u, size[1] - 1 - u)) + 0.5
