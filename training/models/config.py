"""The configuration of a trained model, and its views of a slice."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from spuproj import Views
from spuproj.training.data.canvas import Canvas, canvas_around
from spuproj.training.data.case import Case, brain_box
from spuproj.training.data.readers.case_files import MODALITIES, modality_named
from spuproj.training.models.method import Method
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.names import repeated
from spuproj.training.runtime.settings import LENIENT, PlainName, Positive

MOST_PIXELS = 4096
"""On a side of a slice or view: a slice of 512 pixels with the largest oversampling; views of BraTS slices have 360."""
Side = Annotated[int, Field(strict=True, ge=1, le=MOST_PIXELS)]
MOST_VALUES = 2**28
"""In all views of a slice and all modalities: prediction holds those of four slices at a time, 4 GiB in 32 bits."""
MOST_GROWTH = 1.25
"""Most by which the canvas of a case is larger than the model's field of view, for a brain that is."""
Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]


@dataclass(frozen=True, config=LENIENT)
class ModelConfig:
    """What a model segments, how it looks at a slice, and how it was trained.

    Lengths are fractions of the slice, so that the same views fit a slice of the same field at any resolution. Settings
    that only a newer version knows are ignored.
    """

    target: PlainName
    """ET, TC or WT, or one of the data's own."""
    field: tuple[Positive, Positive]
    """Height and width of a slice, in mm."""
    view_size: tuple[Side, Side]
    """(h, w) of the views that the network sees, in pixels."""
    box: tuple[Fraction, Fraction, Fraction, Fraction]
    """(y0, x0, y1, x1), the box around the brain, as fractions of the slice."""
    method: Method
    """The views, the network and the training."""
    modalities: Annotated[tuple[PlainName, ...], Field(min_length=1, max_length=64)] = MODALITIES
    """Input channels, in order."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 0
    """Of the training."""
    clip: tuple[Fraction, Fraction] = (0.0, 1.0)
    """Quantiles of a modality's intensities in the brain, between which they were clipped; 0 and 1: not clipped."""
    augmented: bool = False
    """Whether training slices were augmented: the model then also knows slices that lack modalities."""
    temperature: Positive = 1.0
    """That prediction divides the logits by; 1 where it was not fitted."""

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        y0, x0, y1, x1 = self.box
        if y0 > y1 or x0 > x1:
            raise ValueError(f"box must be y0, x0, y1, x1 with y0 <= y1 and x0 <= x1, got {list(self.box)}")
        if self.clip[0] >= self.clip[1]:
            raise ValueError(f"clip must be a smaller and a larger fraction, got {list(self.clip)}")
        count = self.method.views.count
        if count * len(self.modalities) * math.prod(self.view_size) > MOST_VALUES:
            raise ValueError(
                f"view_size must be at most {MOST_VALUES} values in all, height times width times {count} views times "
                f"{len(self.modalities)} modalities, got {list(self.view_size)}"
            )
        if twice := repeated(map(modality_named, self.modalities)):
            alike = [name for name in self.modalities if modality_named(name) == twice[0]]
            raise ValueError(f"modalities must each be there once, but {' and '.join(alike)} are both {twice[0]!r}")
        return self


def make_views(config: ModelConfig, size: tuple[int, int]) -> Views:
    """The model's views for slices of ``size``."""
    height, width = size[0] - 1, size[1] - 1
    y0, x0, y1, x1 = config.box
    box = (y0 * height, x0 * width, y1 * height, x1 * width)
    return config.method.views.views(size, config.view_size, box)


def canvas_of(config: ModelConfig, case: Case) -> Canvas:
    """The canvas of the model's field of view, at the case's resolution, with the brain where the model looks for it.

    For a brain that is a little larger, the canvas is as large as the brain: each view then shows it all, smaller.

    Raises:
        InputError: where the brain is larger than ``MOST_GROWTH`` times the field of view, or that has too many of the
            case's pixels.
    """
    x, y, _ = case.spacing
    y0, x0, y1, x1 = config.box
    sides = config.field[0] / y, config.field[1] / x
    if max(sides) > MOST_PIXELS:
        raise InputError(
            f"{case.name} must have at most {MOST_PIXELS} pixels on the model's field of view, {config.field[0]:g} x "
            f"{config.field[1]:g} mm, but its pixels have {y:g} x {x:g} mm; correct the voxel size in the header"
        )
    brain = brain_box(case.brain)
    height, width = (
        max(round(side), 1, min(last - first + 1, int(MOST_GROWTH * side)))
        for side, first, last in zip(sides, brain[:2], brain[2:], strict=True)
    )
    centre = ((y0 + y1) / 2, (x0 + x1) / 2)
    return canvas_around(brain, case.size, (height, width), centre, case.name)
