"""Targets, and methods that are compared, are told apart by people who see colours otherwise."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from skimage.color import rgb2lab

from spuproj.training.evaluation.metrics import CaseMaps, measure
from spuproj.training.evaluation.plots import box_plots, filtering_curves, reliability_diagram
from spuproj.training.evaluation.results import CaseResult, EvaluationOptions
from spuproj.training.report.colours import COLOURS

# Machado et al. 2009, severity 1, of linear RGB.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def seen(colour: str, sight: object) -> np.ndarray:
    """A colour in CIELAB, as a person sees it."""
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    found = np.clip(np.asarray(sight) @ linear, 0, 1)
    back = np.where(found <= 0.0031308, 12.92 * found, 1.055 * found ** (1 / 2.4) - 0.055)
    return np.asarray(rgb2lab(back[None, None])[0, 0])


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize(("one", "other"), list(combinations(COLOURS.values(), 2)))
def test_two_targets_look_different(sight, one, other):
    """By at least 40 in CIELAB; a difference of 2 can just be seen, one of 8 is missed in a thin line."""
    assert np.linalg.norm(seen(one, SIGHT[sight]) - seen(other, SIGHT[sight])) > 40


def results(methods: int, target: str = "WT") -> list[CaseResult]:
    """A case of each method."""
    truth = np.arange(8).reshape(1, 2, 4) % 2 == 0
    metrics, curves = measure(CaseMaps(truth, truth, 0.9 * truth, 50.0 * ~truth, np.ones_like(truth), (1, 1, 1)))
    return [CaseResult(f"method {each}", target, "one", "one", metrics, curves) for each in range(methods)]


def legend_of(draw, rows: list[CaseResult], monkeypatch: pytest.MonkeyPatch) -> list[Line2D]:
    """The entries of a plot's legend."""
    figures, save = [], Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw)))
    draw(rows)
    return figures[0].legends[0].get_lines()


def draw_curves(rows: list[CaseResult]) -> bytes:
    return filtering_curves(rows, EvaluationOptions("variance-1", "brats"))


@pytest.mark.parametrize("draw", [draw_curves, box_plots, reliability_diagram])
@pytest.mark.parametrize("sight", SIGHT)
def test_five_methods_look_different(draw, sight, monkeypatch):
    colours = [seen(to_hex(line.get_color()), SIGHT[sight]) for line in legend_of(draw, results(5), monkeypatch)]
    assert min(np.linalg.norm(one - other) for one, other in combinations(colours, 2)) > 15


@pytest.mark.parametrize("draw", [draw_curves, box_plots, reliability_diagram])
def test_ten_methods_have_lines_or_marks_of_their_own(draw, monkeypatch):
    lines = legend_of(draw, results(10), monkeypatch)
    assert len({(to_hex(line.get_color()), line.get_marker(), line.get_linestyle()) for line in lines}) == 10


@pytest.mark.parametrize("draw", [draw_curves, box_plots, reliability_diagram])
def test_three_methods_are_told_apart_without_colour(draw, monkeypatch):
    assert len({(line.get_marker(), line.get_linestyle()) for line in legend_of(draw, results(3), monkeypatch)}) == 3


@pytest.mark.parametrize("draw", [draw_curves, box_plots, reliability_diagram])
def test_a_method_that_lacks_the_first_target_is_named(draw, monkeypatch):
    lines = legend_of(draw, results(1, "ET") + results(2, "WT"), monkeypatch)
    assert [line.get_label() for line in lines] == ["method 0", "method 1"]


def test_the_legend_of_the_boxes_is_that_of_its_panel(monkeypatch):
    """Lines with marks, not the marks alone of the panel beside it."""
    assert {line.get_linestyle() for line in legend_of(box_plots, results(2), monkeypatch)} == {"-"}
