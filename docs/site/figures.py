"""Draws the figures of docs/geometry.md with the package's own functions: ``python docs/site/figures.py [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from spuproj import Views
from spuproj.geometry.profiles import PROFILES

PICTURES = Path(__file__).parents[1] / "pictures"
SIZE = (200, 200)
COLOURS = ("#1f5fa8", "#d1495b", "#2e8b57", "#edae49", "#7b4fa3")

# In units of the radius: the largest angle at which each profile is drawn.
ANGLES = {"gnomonic": 1.25, "stereographic": 2.2, "equidistant": np.pi, "equal_area": np.pi, "orthographic": np.pi / 2}


def head(size: tuple[int, int]) -> torch.Tensor:
    """A drawing of an axial slice, with a grid: skull-stripped brain, ventricles, tumour; values in [0, 1]."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, side, dtype=torch.float64) for side in size), indexing="ij")
    image = torch.zeros(size, dtype=torch.float64)
    brain = (x / 0.68) ** 2 + (y / 0.86) ** 2 < 1
    image[brain] = 0.5
    for side in (-1, 1):
        image[((x - 0.13 * side) / 0.08) ** 2 + ((y + 0.05) / 0.3) ** 2 < 1] = 0.2
    image[((x - 0.33) / 0.17) ** 2 + ((y + 0.35) / 0.2) ** 2 < 1] = 0.95
    lines = ((y * 10 + 0.02) % 1 < 0.1) | ((x * 10 + 0.02) % 1 < 0.1)
    return torch.where(lines & (image > 0), image - 0.12, torch.where(lines, 0.08, image))


def draw_profiles() -> Figure:
    """Distance from the pole in the plane, against the angle on the sphere, and the radial scale of each pair."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    profile, scale = figure.subplots(1, 2)
    for (name, record), colour in zip(PROFILES.items(), COLOURS, strict=True):
        angle = torch.linspace(0, ANGLES[name], 200, dtype=torch.float64)
        profile.plot(angle.rad2deg(), record.radius(angle), color=colour, label=name.replace("_", "-"))
    profile.set(xlabel="angle from the pole, degrees", ylabel="distance in the plane / R", ylim=(0, 4))
    profile.legend()
    half = (SIZE[0] - 1) / 2
    for radius, colour in zip((0.25, 0.35, 0.5, 1.0), COLOURS, strict=False):
        views = Views.spherical(SIZE, [(half, half)], radius=radius * SIZE[0])
        lands = views.view_coordinates()[1][0, round(half)]
        step = torch.diff(lands) / torch.diff(lands)[SIZE[1] // 2 - 1]
        place = (torch.arange(SIZE[1] - 1) + 0.5 - half) / SIZE[1]
        scale.plot(place, step, color=colour, label=f"radius {radius:g}")
    scale.axhline(1, color="grey", linewidth=0.8)
    scale.set(xlabel="distance from the centre / side of the slice", ylabel="radial scale / that of the centre", ylim=0)
    scale.legend(title="of the slice's side")
    return figure


def draw_lift() -> Figure:
    """A section through the sphere: rays that lift equal steps of the slice, and where they land in the view."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for panel, radius in zip(figure.subplots(1, 2), (0.35, 1.0), strict=True):
        _draw_section(panel, radius)
    return figure


def _draw_section(panel: Axes, radius: float) -> None:
    """The gnomonic lift of a slice from -1/2 to 1/2 and its equidistant chart, for one radius."""
    panel.add_patch(Circle((0, radius), radius, fill=False, color="black"))
    points = np.linspace(-0.5, 0.5, 21)
    angles = np.arctan(points / radius)
    sphere = np.stack([radius * np.sin(angles), radius - radius * np.cos(angles)])
    panel.plot(points, 0 * points, "|-", color=COLOURS[0], label="slice: equal steps")
    for point, on_sphere in zip(points, sphere.T, strict=True):
        panel.plot([0, point], [radius, 0], color="grey", linewidth=0.5)
        panel.plot(*on_sphere, ".", color=COLOURS[1])
    view = angles / angles.max() / 2
    panel.plot(view, 0 * view - 0.18, "|-", color=COLOURS[2], label="view: wide at the centre, narrow outside")
    panel.set(title=f"radius {radius:g}", aspect="equal", xlim=(-0.75, 0.75), ylim=(-0.42, 0.72))
    panel.axis("off")
    panel.legend(loc="lower center", fontsize=8, ncols=2)


def draw_curvature() -> Figure:
    """A slice in views of the same centre and of falling curvature, and the magnification of each."""
    figure = Figure(figsize=(12, 6.2), layout="constrained")
    top, bottom = figure.subplots(2, 4)
    image = head(SIZE)
    chosen = [("radius 0.25", 0.25, "gnomonic"), ("radius 0.35", 0.35, "gnomonic"), ("radius 1", 1.0, "gnomonic"),
              ("flat", 0.5, "equidistant")]  # fmt: skip
    for above, below, (title, radius, lift) in zip(top, bottom, chosen, strict=True):
        views = Views.spherical(SIZE, [(65, 133)], radius=radius * SIZE[0], lift=lift, centered=False)
        above.imshow(views.project(image)[0], cmap="gray", vmin=0, vmax=1)
        above.set(title=title)
        shown = below.imshow(views.magnification()[0].sqrt(), cmap="RdBu_r", vmin=0, vmax=2)
        for panel in (above, below):
            panel.axis("off")
    figure.colorbar(shown, ax=[*top, *bottom], label="view pixels per slice pixel", shrink=0.6)
    return figure


def draw_borders() -> Figure:
    """Views that end inside the slice: the number of views at each pixel, without and with border weights."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    plain, weighted, effect = figure.subplots(1, 3)
    views = Views.spherical(SIZE, grid=(3, 3), radius=SIZE[0], magnification=1.5)
    weights = views.border_weights(20)
    stack = views.project(head(SIZE).float())
    for panel, given, title in ((plain, None, "views at each pixel"), (weighted, weights, "sum of border weights")):
        count = views.reduce(stack, weights=given)[2]
        figure.colorbar(panel.imshow(count, vmin=0, vmax=9), ax=panel, shrink=0.8)
        panel.set(title=title)
    shown = effect.imshow(weights[4], vmin=0, vmax=1, cmap="gray")
    figure.colorbar(shown, ax=effect, shrink=0.8)
    effect.set(title="weight of view 5")
    for panel in (plain, weighted, effect):
        panel.axis("off")
    return figure


FIGURES = {"profiles": draw_profiles, "lift": draw_lift, "curvature": draw_curvature, "borders": draw_borders}


def main(folder: Path) -> None:
    """Writes every figure as a PNG file."""
    mpl.rcParams.update({"font.size": 10, "svg.hashsalt": "spuproj"})
    for name, draw in FIGURES.items():
        draw().savefig(folder / f"{name}.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
