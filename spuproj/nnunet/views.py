"""The views that training and prediction share."""

from collections.abc import Sequence

from spuproj import Views

RADIUS = 0.7
"""Of the sphere, as a part of the slice's larger side."""


def make_views(size: Sequence[int]) -> Views:
    """Nine spherical views of a slice, each of the slice's size and showing all of it.

    The views enlarge up to 1.3 times, and show five sixths of the slice within the scales of 0.7 to 1.4 that nnU-Net's
    own augmentation trains with.

    Args:
        size: (H, W) of the slice, in pixels.
    """
    height, width = size
    return Views.spherical((height, width), grid=(3, 3), radius=RADIUS * max(size), centered=False)
