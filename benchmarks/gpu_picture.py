"""The GPU benchmark's picture: each contender's speed on each case, as a share of copying's."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from spuproj.benchmarks.gpu import GpuRow

_COLOURS = {"cuda": "#1f5fa8", "triton": "#6aa5dc", "cpu": "#1f5fa8"}
_PEER_COLOUR = "#d9742b"
_DPI = 160


def picture(rows: Sequence[GpuRow], device: str) -> bytes:
    """PNG: one bar for each contender of each case, on a logarithmic axis; the line is copying the stack."""
    bars = [row for row in rows if row.name != "copy"]
    copies = {row.case: row.median for row in rows if row.name == "copy"}
    figure = Figure(figsize=(11, 1.4 + 0.24 * len(bars) + 0.3 * len(copies)), layout="constrained")
    axes = figure.subplots()
    position, ticks, labels = 0.0, [], []
    for case in copies:
        axes.text(0.001, position, case.label, transform=axes.get_yaxis_transform(), fontweight="bold", va="center")
        for row in (row for row in bars if row.case == case):
            position += 1
            share = 100 * copies[case] / row.median
            axes.barh(position, share, 0.8, color=_COLOURS.get(row.name, _PEER_COLOUR))
            axes.text(share, position, f" {share:.3g} %", va="center", fontsize=8)
            ticks.append(position)
            labels.append(" ".join(filter(None, (row.name, row.form))))
        position += 1.4
    axes.axvline(100, color="#8a8a8a", linewidth=1.5)
    axes.set(xscale="log", xlabel="speed over copying the stack, percent", yticks=ticks, yticklabels=labels)
    axes.set_xlim(right=1.6 * axes.get_xlim()[1])
    axes.set_ylim(position - 0.4, -0.9)
    axes.set_title(f"Bytes of the stack per second over a copy's, {device}")
    axes.spines[["top", "right"]].set_visible(False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
