"""Pictures: the ratio to every peer, how time and memory grow, and a GPU's speed over copying."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from spuproj.benchmarks.goals import ns_per_element, over, over_limit, select
from spuproj.benchmarks.memory import Memory
from spuproj.benchmarks.ops.cases import HEADLINE, PEERS, SLICE, Case
from spuproj.benchmarks.ops.contenders import BUFFERED, COPY, ELEMENTWISE, FRESH, OURS
from spuproj.benchmarks.record import Record
from spuproj.benchmarks.timing import Row

_SHOWN = (*HEADLINE, SLICE, Case("unproject"), Case("reduce", batch=16), Case("reduce backward", batch=16))
_COLUMNS, _BAR, _SHADES = 4, 0.38, (1.0, 0.45)
_OURS_COLOUR, _PEER_COLOUR, _LIMIT_COLOUR = "#1f5fa8", "#d9742b", "#8a8a8a"
_BACKEND_COLOURS = {"cuda": _OURS_COLOUR, "triton": "#6aa5dc", "cpu": _OURS_COLOUR}
_AXES: dict[str, tuple[str, Callable[[Row], int]]] = {
    "N": ("views N", lambda row: row.case.views),
    "B C": ("planes B C", lambda row: row.case.batch * row.case.channels),
    "side": ("side of the slice, pixels", lambda row: row.case.size[0]),
    "threads": ("threads", lambda row: row.threads),
}
_DOTS: dict[str, Any] = {"color": _OURS_COLOUR, "marker": "o", "markersize": 4}
_LINES: tuple[tuple[str, str | None, str, dict[str, Any]], ...] = (
    ("grid_sample", None, "grid_sample", {"color": _PEER_COLOUR, "marker": "s", "markersize": 4}),
    (OURS, FRESH, "spuproj", _DOTS),
    (OURS, BUFFERED, "spuproj, out=", {**_DOTS, "linestyle": "--"}),
    (COPY, BUFFERED, "copying as many bytes\ninto a buffer", {"color": _LIMIT_COLOUR, "linewidth": 1.5}),
)


def ratios_picture(record: Record) -> bytes:
    """PNG: for each of eight cases, as-called ones first, each peer's time over ours on a logarithmic axis."""
    measured = list(dict.fromkeys(row.case for row in record.rows))
    cases = [case for case in _SHOWN if case in measured] or measured[: len(_SHOWN)]
    lines = [cases[start : start + _COLUMNS] for start in range(0, len(cases), _COLUMNS)]
    bars = [max(len(_ratios(record.rows, case, 1)) for case in line) for line in lines]
    figure = Figure(figsize=(15, 1.6 + 0.4 * sum(bars) + 0.7 * len(lines)), layout="constrained")
    _entitle(figure, "Time over spuproj's, on the same points in the same process", record)
    panels = figure.subplots(len(lines), _COLUMNS, sharex=True, squeeze=False, height_ratios=bars)
    for case, panel, place in zip(cases, panels.flat, range(len(cases)), strict=False):
        _ratio_bars(panel, record.rows, case, bars[place // _COLUMNS])
    for panel in panels.flat[len(cases) :]:
        panel.set_axis_off()
    for panel in panels[-1]:
        panel.set_xlabel("time over spuproj's")
    # Room for the numbers at the ends of the bars.
    low, high = panels[0][0].get_xlim()
    margin = (high / low) ** 0.12
    panels[0][0].set_xlim(low / margin, high * margin)
    return _png(figure)


def _entitle(figure: Figure, words: str, record: Record) -> None:
    known = {**record.machine, **record.software, "simd": record.software["simd"].split()[0]}
    words += "\n{cpu}, {cores} cores, {simd}; torch {torch}, spuproj {spuproj}".format(**known)
    figure.suptitle(words, fontsize=12)


def _ratios(rows: Sequence[Row], case: Case, threads: int) -> dict[str, float]:
    """The times of each peer and of copying over ours, all into new tensors if the op makes a stack."""
    ours = select(rows, case, threads, OURS, FRESH)
    names = [name + ending for name in PEERS for ending in ("", ELEMENTWISE)]
    found = {name: over(select(rows, case, threads, name), ours) for name in names}
    limit = over_limit(rows, ours) if ours else None
    return {name: ratio for name, ratio in {**found, COPY: limit and 1 / limit}.items() if ratio}


def _ratio_bars(panel: Axes, rows: Sequence[Row], case: Case, room: int) -> None:
    """Horizontal bars from the top of a panel, which has room for a fixed number of bars."""
    numbers, at_one = sorted({row.threads for row in rows if row.case == case}), _ratios(rows, case, 1)
    names = sorted(at_one, key=lambda name: at_one[name])
    offsets = (0.0,) if len(numbers) == 1 else (_BAR / 2, -_BAR / 2)
    for number, shade, offset in zip(numbers, _SHADES, offsets, strict=False):
        ratios = _ratios(rows, case, number)
        colours = [_LIMIT_COLOUR if name == COPY else _PEER_COLOUR for name in ratios]
        places, widths = [names.index(name) + offset for name in ratios], [ratio - 1 for ratio in ratios.values()]
        bars = panel.barh(places, widths, _BAR, left=1, color=colours, alpha=shade)
        words = [f"{ratio:.2g}x" if ratio < 10 else f"{ratio:.0f}x" for ratio in ratios.values()]
        panel.bar_label(bars, words, padding=3, fontsize=7.5)
    panel.axvline(1, color=_OURS_COLOUR, linewidth=1.5)
    ticks = [
        "copying as\nmany bytes" if name == COPY else name.replace(ELEMENTWISE, ",\nelementwise") for name in names
    ]
    panel.set_yticks(range(len(names)), ticks, fontsize=9)
    panel.set_ylim(len(names) - room - 0.5, len(names) - 0.5)
    panel.set_title(case.label.replace(", ", "\n", 1), fontsize=10, fontweight="bold" if case in HEADLINE else None)
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.spines[["top", "right"]].set_visible(False)
    words = [f"{number} thread{'s' * (number > 1)}" for number in numbers]
    shades = [Line2D([], [], color=_PEER_COLOUR, alpha=shade, linewidth=6) for shade in _SHADES[: len(words)]]
    panel.legend(shades, words, loc="lower right", fontsize=8, frameon=False)


def scaling_picture(record: Record) -> bytes:
    """PNG: time for each element along the four axes, a row for each op, and memory against the number of views."""
    figure = Figure(figsize=(15.0, 6.8), layout="constrained")
    _entitle(figure, "Time for each element of the stack [B, N, C, H, W], and memory of reduce", record)
    panels = figure.subplots(2, len(_AXES) + 1)
    for line, op in zip(panels, ("project", "reduce"), strict=True):
        for panel, axis in zip(line, _AXES, strict=False):
            _curves(panel, [row for at, row in record.scaling if (at, row.case.op) == (axis, op)], axis)
        limits = [limit for panel in line[:-1] for limit in panel.get_ylim()]
        for panel in line[:-1]:
            panel.set_ylim(min(limits), max(limits))
        line[0].set_ylabel(f"{op}: ns per element")
    panels[0][-1].set_axis_off()
    panels[0][-1].legend(*panels[0][0].get_legend_handles_labels(), loc="center", fontsize=10, frameon=False)
    _memory_curves(panels[1][-1], record.memory)
    return _png(figure)


def _curves(panel: Axes, rows: Sequence[Row], axis: str) -> None:
    axis_label, value_of = _AXES[axis]
    places = list(dict.fromkeys((row.case, row.threads) for row in rows))
    for name, form, label, style in _LINES:
        found = [row for place in places if (row := select(rows, *place, name, form))]
        if found:
            panel.plot(list(map(value_of, found)), list(map(ns_per_element, found)), label=label, **style)
    panel.set(xscale="log", yscale="log", xlabel=axis_label)
    _ticks(panel, sorted({value_of(row) for row in rows}))


def _memory_curves(panel: Axes, memory: Sequence[Memory]) -> None:
    if not memory:
        panel.set_axis_off()
        return
    views = [entry.case.views for entry in memory]
    panel.plot(views, [entry.first_percent for entry in memory], ":", label="first call", **_DOTS)
    panel.plot(views, [entry.percent for entry in memory], "-", label="views met before", **_DOTS)
    panel.set(xscale="log", xlabel=_AXES["N"][0], ylabel="reduce: memory beyond input\nand outputs, % of stack")
    panel.set_ylim(bottom=0)
    _ticks(panel, views)
    panel.legend(fontsize=8, frameon=False)


def _ticks(panel: Axes, values: Sequence[int]) -> None:
    panel.set_xticks(values, [str(value) for value in values])
    panel.minorticks_off()
    if panel.get_yscale() == "log":
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


def gpu_picture(record: Record, device: str) -> bytes:
    """PNG: one bar for each contender of each case, on a logarithmic axis; the line is copying the stack."""
    copies = {row.case: row.median_s for row in record.rows if row.name == COPY}
    bars = len(record.rows) - len(copies)
    figure = Figure(figsize=(11, 1.4 + 0.24 * bars + 0.3 * len(copies)), layout="constrained")
    axes = figure.subplots()
    top, ticks = 0.0, dict[float, str]()
    for case, copy in copies.items():
        rows = [row for row in record.rows if row.case == case and row.name != COPY]
        axes.text(0.001, top, case.label, transform=axes.get_yaxis_transform(), fontweight="bold", va="center")
        places, shares = [top + 1 + place for place in range(len(rows))], [100 * copy / row.median_s for row in rows]
        colours = [_BACKEND_COLOURS.get(row.name, _PEER_COLOUR) for row in rows]
        axes.bar_label(axes.barh(places, shares, color=colours), fmt=" %.3g %%", fontsize=8)
        ticks.update(zip(places, (f"{row.name} {row.form}".strip() for row in rows), strict=True))
        top += len(rows) + 1.4
    axes.axvline(100, color=_LIMIT_COLOUR, linewidth=1.5)
    axes.set(xscale="log", xlabel="speed over copying the stack, percent", ylim=(top - 0.4, -0.9))
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set_xlim(right=1.6 * axes.get_xlim()[1])
    axes.set_title(f"Bytes of the stack per second over a copy's, {device}")
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, dpi=160, format="png", facecolor="white")
    return buffer.getvalue()
