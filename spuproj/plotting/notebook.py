"""How a notebook shows ``Views`` that end a cell."""

from __future__ import annotations

import base64
import html
import io

from torch import Tensor

_MOST_VIEWS = 12
_DOTS_PER_INCH = 60


def html_of(table: Tensor, size: tuple[int, int], view_size: tuple[int, int], text: str) -> str:
    """The text and, where matplotlib is installed and the geometry has numbers, a picture of the first views.

    Args:
        table: ``[N, 19]`` or ``[B, N, 19]`` geometry table; of the latter the first sample is drawn.
        size: (H, W) of the slice.
        view_size: (h, w) of a view.
        text: the views in words, also the picture's alternative text.
    """
    words = html.escape(text)
    picture = None if table.is_meta else _picture(table[..., :_MOST_VIEWS, :], size, view_size)
    if picture is None:
        return f"<pre>{words}</pre>"
    left_out = table.shape[-2] - _MOST_VIEWS
    note = f"; the first {_MOST_VIEWS} are drawn" if left_out > 0 else ""
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return f'<figure><img src="{source}" alt="{words}"><figcaption>{words}{note}</figcaption></figure>'


def _picture(table: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> bytes | None:
    """A small PNG file, or None where matplotlib is missing."""
    try:
        # matplotlib brings Pillow.
        from PIL import Image

        from spuproj.plotting.figure import plot_views
    except ImportError:
        return None
    drawn, small = io.BytesIO(), io.BytesIO()
    plot_views(table, size, view_size).savefig(drawn, format="png", dpi=_DOTS_PER_INCH)
    # A palette makes the file five times smaller.
    palette = Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette.save(small, "png", optimize=True)
    return small.getvalue()
