"""Pictures: the ratio to every peer, and how time and memory grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any, Literal, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from spuproj.benchmarks.cases import BATCH_AS_CALLED, HEADLINE, SLICE, Case
from spuproj.benchmarks.contenders import BUFFERED, COPY, FRESH, OURS
from spuproj.benchmarks.measuring import Row
from spuproj.benchmarks.memory import Memory
from spuproj.benchmarks.ratios import ns_per_element, over_limit, select, speedup
from spuproj.benchmarks.scaling import OPS, Point

_SHOWN = (
    *HEADLINE,
    SLICE,
    Case("unproject"),
    *(replace(BATCH_AS_CALLED, op=op, way="") for op in ("reduce", "reduce backward")),
)
_COLUMNS = 4
_DPI = 160
_OURS_COLOUR, _PEER_COLOUR, _LIMIT_COLOUR = "#1f5fa8", "#d9742b", "#8a8a8a"
_SHADES = (1.0, 0.45)
_BAR = 0.38
_AXES = {"N": "views N", "B C": "planes B C", "side": "side of the slice, pixels", "threads": "threads"}
_TICKS = {COPY: "copying as\nmany bytes"}
_LINES: tuple[tuple[str, str | None, str, dict[str, Any]], ...] = (
    ("grid_sample", None, "grid_sample", {"color": _PEER_COLOUR, "marker": "s", "markersize": 4}),
    (OURS, FRESH, "spuproj", {"color": _OURS_COLOUR, "marker": "o", "markersize": 4}),
    (OURS, BUFFERED, "spuproj, out=", {"color": _OURS_COLOUR, "marker": "o", "markersize": 4, "linestyle": "--"}),
    (COPY, BUFFERED, "copying as many bytes\ninto a buffer", {"color": _LIMIT_COLOUR, "linewidth": 1.5}),
)

Scaling = Sequence[tuple[Point, Sequence[Row]]]


def ratios_picture(rows: Sequence[Row], subtitle: str) -> bytes:
    """PNG: on each of eight cases, calls as users make them first, each peer's time over ours on a logarithmic axis."""
    measured = list(dict.fromkeys(row.case for row in rows))
    cases = [case for case in _SHOWN if case in measured] or measured[: len(_SHOWN)]
    lines = [cases[start : start + _COLUMNS] for start in range(0, len(cases), _COLUMNS)]
    bars = [max(len(_ordered(rows, case)) for case in line) for line in lines]
    figure = Figure(figsize=(15, 1.6 + 0.4 * sum(bars) + 0.7 * len(lines)), layout="constrained")
    figure.suptitle(f"Time over spuproj's, on the same points in the same process\n{subtitle}", fontsize=12)
    panels = figure.subplots(len(lines), _COLUMNS, sharex=True, squeeze=False, height_ratios=bars)
    for places, line, number in zip(panels, lines, bars, strict=True):
        for panel, case in zip(places, line, strict=False):
            _ratio_bars(panel, rows, case, number)
        for panel in places[len(line) :]:
            panel.set_axis_off()
    for panel in panels[-1]:
        panel.set_xlabel("time over spuproj's")
    _widen(panels[0][0])
    return _png(figure)


def _ordered(rows: Sequence[Row], case: Case) -> list[str]:
    """Who has a bar on a case, from the fastest."""
    names = [name for name in (*case.peers, COPY) if select(rows, case, 1, name)]
    return sorted(names, key=lambda name: _ratio(rows, case, 1, name))


def _ratio_bars(panel: Axes, rows: Sequence[Row], case: Case, room: int) -> None:
    """Bars from the top, in a panel with room for a number of them."""
    numbers = sorted({row.threads for row in rows if row.case == case})
    names = _ordered(rows, case)
    offsets = (0.0,) if len(numbers) == 1 else (_BAR / 2, -_BAR / 2)
    for number, shade, offset in zip(numbers, _SHADES, offsets, strict=False):
        for place, name in enumerate(names):
            if select(rows, case, number, name) is None:
                continue
            ratio = _ratio(rows, case, number, name)
            colour = _LIMIT_COLOUR if name == COPY else _PEER_COLOUR
            panel.barh(place + offset, ratio - 1, _BAR, left=1, color=colour, alpha=shade)
            _label(panel, ratio, place + offset)
    panel.axvline(1, color=_OURS_COLOUR, linewidth=1.5)
    panel.set_yticks(range(len(names)), [_TICKS.get(name, name) for name in names], fontsize=9)
    panel.set_ylim(len(names) - room - 0.5, len(names) - 0.5)
    panel.set_title(case.label.replace(", ", "\n", 1), fontsize=10, fontweight="bold" if case in HEADLINE else None)
    _plain_log(panel)
    panel.spines[["top", "right"]].set_visible(False)
    words = [f"{number} thread{'s' * (number > 1)}" for number in numbers]
    shades = [Line2D([], [], color=_PEER_COLOUR, alpha=shade, linewidth=6) for shade in _SHADES[: len(words)]]
    panel.legend(shades, words, loc="lower right", fontsize=8, frameon=False)


def _ratio(rows: Sequence[Row], case: Case, threads: int, name: str) -> float:
    """The time of a peer, or of copying, over ours, all with new results where the op makes a stack."""
    if name == COPY:
        return 1 / cast(float, over_limit(rows, cast(Row, select(rows, case, threads, OURS, FRESH))))
    return cast(float, speedup(rows, cast(Row, select(rows, case, threads, name))))


def _label(panel: Axes, ratio: float, place: float) -> None:
    left = ratio < 1
    panel.annotate(
        f"{ratio:.2g}x" if ratio < 10 else f"{ratio:.0f}x",
        (ratio, place),
        xytext=(-3 if left else 3, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=7.5,
    )


def _plain_log(panel: Axes) -> None:
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _widen(panel: Axes) -> None:
    """Room for the numbers at the ends of the bars."""
    low, high = panel.get_xlim()
    margin = (high / low) ** 0.12
    panel.set_xlim(low / margin, high * margin)


def scaling_picture(scaling: Scaling, memory: Sequence[Memory], subtitle: str) -> bytes:
    """PNG: time for each element along the four axes, a row for each op, and memory against the number of views."""
    figure = Figure(figsize=(15.0, 6.8), layout="constrained")
    figure.suptitle(
        f"Time for each element of the stack [B, N, C, H, W], and memory of reduce\n{subtitle}", fontsize=12
    )
    panels = figure.subplots(len(OPS), len(_AXES) + 1)
    for line, op in zip(panels, OPS, strict=True):
        for panel, axis in zip(line, _AXES, strict=False):
            _curves(panel, [place for place in scaling if (place[0].axis, place[0].case.op) == (axis, op)], axis)
        limits = [panel.get_ylim() for panel in line[:-1]]
        for panel in line[:-1]:
            panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
        line[0].set_ylabel(f"{op}: ns per element")
    legend, extra = panels[0][-1], panels[1][-1]
    legend.set_axis_off()
    legend.legend(*panels[0][0].get_legend_handles_labels(), loc="center", fontsize=10, frameon=False)
    _memory_curves(extra, memory)
    return _png(figure)


def _curves(panel: Axes, places: Scaling, axis: str) -> None:
    for name, form, label, style in _LINES:
        found = [
            (point.value, ns_per_element(row))
            for point, rows in places
            if (row := select(rows, point.case, point.threads, name, form))
        ]
        if found:
            panel.plot(*zip(*found, strict=True), label=label, **style)
    panel.set(xscale="log", yscale="log", xlabel=_AXES[axis])
    _ticks(panel, sorted({point.value for point, _ in places}))


def _ticks(panel: Axes, values: Sequence[int]) -> None:
    panel.set_xticks(values, [str(value) for value in values])
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.minorticks_off()
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def _memory_curves(panel: Axes, memory: Sequence[Memory]) -> None:
    if not memory:
        panel.set_axis_off()
        return
    views = [entry.case.views for entry in memory]
    kinds: list[tuple[Literal["-", ":"], str, Callable[[Memory], float]]] = [
        (":", "first call", lambda entry: entry.first_percent),
        ("-", "views met before", lambda entry: entry.percent),
    ]
    for line, label, percent in kinds:
        values = [percent(entry) for entry in memory]
        panel.plot(views, values, line, marker="o", markersize=4, color=_OURS_COLOUR, label=label)
    panel.set(xscale="log", xlabel=_AXES["N"], ylabel="reduce: memory beyond input\nand outputs, % of stack")
    panel.set_ylim(bottom=0)
    _ticks(panel, views)
    panel.legend(fontsize=8, frameon=False)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png", facecolor="white")
    return buffer.getvalue()
