"""The interactive page of a slice: where a view's centre, radius, lift and chart are tried out."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from spuproj import PROFILES
from spuproj.geometry.placement import frame
from spuproj.plotting.figure import grey_range
from spuproj.training.report.html import write_page


def write_explorer(
    path: Path, plane: NDArray[np.float32], spacing: tuple[float, float], center: tuple[float, float], title: str
) -> Path:
    """Writes the page, which computes a view of the slice, and its magnification, whenever a control is moved.

    Args:
        path: of the HTML file, which appears whole or not at all.
        plane: the slice ``[H, W]``, with the patient's front on top and right on the left; embedded with 8 bits.
        spacing: (height, width) of a slice pixel in mm.
        center: (y, x) of the first view, in pixels.
        title: of the page.

    Returns:
        The path.
    """
    size = (plane.shape[0], plane.shape[1])
    pixel = (float(f"{spacing[0]:.7g}"), float(f"{spacing[1]:.7g}"))
    placed = frame(size, None, pixel)
    return write_page(
        path,
        "explore.html",
        title=title,
        center=[round(float(place), 1) for place in center],
        profiles=list(PROFILES),
        shapes={"slice": f"{size[1] * pixel[1]:g}/{size[0] * pixel[0]:g}", "view": "{1}/{0}".format(*placed.view_size)},
        slice={
            "size": size,
            "viewSize": placed.view_size,
            "spacing": pixel,
            "radius": placed.half_side,
            "image": f"data:image/png;base64,{_png(plane)}",
        },
    )


def _png(plane: NDArray[np.float32]) -> str:
    low, high = grey_range(plane)
    levels = np.clip((np.nan_to_num(plane, nan=low) - low) / max(high - low, 1e-6), 0, 1) * 255
    file = io.BytesIO()
    Image.fromarray(np.rint(levels).astype(np.uint8)).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
