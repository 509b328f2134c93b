"""The slice viewer of a report: its panels, the curves beside its slider, and its legend, as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

from spuproj.training.data.case import Case
from spuproj.training.data.nifti import lps_spacing
from spuproj.training.inference.multi_view import Prediction
from spuproj.training.report.colours import colours_of
from spuproj.training.report.figures import Truth
from spuproj.training.report.slice_images import Areas, areas_by_slice, shown_box, shown_channels


def panels(case: Case, predictions: Mapping[str, Prediction], truth: Truth | None) -> str:
    """One panel for each image of ``slice_contents``, with the outlines that belong on it."""
    colours = colours_of(predictions)
    outlines = []
    for number, target in enumerate(predictions):
        outlines.append((f"found{number}", "found", colours[target]))
        if truth is not None:
            outlines.append((f"truth{number}", "truth", colours[target]))
    made = [_panel(case, name, "", outlines) for name in shown_channels(case).values()]
    for number, target in enumerate(predictions):
        outlines = [("brain", "brain", "#666666"), *([(f"truth{number}", "truth", "#ffffff")] if truth else [])]
        made.append(_panel(case, f"{target} uncertainty", colours[target], outlines))
    return "\n".join(made)


def _panel(case: Case, title: str, colour: str, outlines: Iterable[tuple[str, str, str]]) -> str:
    rows, columns = shown_box(case)
    height, width = (part.stop - part.start for part in (rows, columns))
    x, y, _ = lps_spacing(case.like)
    paths = "".join(
        f'<path class="{kind}" data-outline="{outline}" stroke="{stroke}"/>' for outline, kind, stroke in outlines
    )
    sides = "".join(f'<span class="side {side.lower()}" aria-hidden="true">{side}</span>' for side in "RLAP")
    return (
        f'<figure class="panel" data-title="{html.escape(title)}">'
        f'<figcaption style="color:{colour or "inherit"}">{html.escape(title)}</figcaption>'
        f'<div class="picture" style="aspect-ratio:{width * x:g}/{height * y:g}">'
        f'<img alt="{html.escape(title)}" decoding="sync" draggable="false">'
        f'<svg viewBox="0 0 {2 * width} {2 * height}" preserveAspectRatio="none" aria-hidden="true">{paths}</svg>'
        f"{sides}</div></figure>"
    )


def lanes(case: Case, predictions: Mapping[str, Prediction]) -> str:
    """The curves of ``areas_by_slice``, one lane each."""
    found, weighted = areas_by_slice(case, predictions)
    return _lane("Area found", found) + _lane("Area weighted by uncertainty", weighted)


def _lane(title: str, curves: Mapping[str, Areas]) -> str:
    """Curves over the slices with brain, on one scale."""
    colours = colours_of(curves)
    largest = max(float(curve.max()) for curve in curves.values())
    last = max(len(next(iter(curves.values()))) - 1, 1)
    lines = "".join(_line(curve / (largest or 1), colours[target]) for target, curve in curves.items())
    return (
        f'<figure class="lane"><figcaption>{title}, up to {largest:.3g} cm² a slice</figcaption><div class="plot">'
        f'<svg viewBox="0 0 {last} 100" preserveAspectRatio="none" role="img" aria-label="{title} by slice">{lines}'
        f'<line class="cursor" y1="0" y2="100"/></svg></div></figure>'
    )


def _line(heights: Areas, colour: str) -> str:
    points = " ".join(f"{x},{100 - 100 * height:.1f}" for x, height in enumerate(heights))
    return f'<polyline points="{points}" stroke="{colour}"/>'


def legend(predictions: Mapping[str, Prediction], truth: Truth | None) -> str:
    """The colours of the targets."""
    keys = [
        f'<span><span class="key" style="color:{colour}"></span>{html.escape(target)}</span>'
        for target, colour in colours_of(predictions).items()
    ]
    return "\n".join([*keys, *(['<span><span class="key dashed"></span>truth</span>'] if truth else [])])
