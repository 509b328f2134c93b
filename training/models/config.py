"""The configuration of a trained model, and its views of a slice."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from spuproj import Views
from spuproj.training.data.readers.case_files import MODALITIES
from spuproj.training.models.method import Method, values_of


@dataclass(frozen=True)
class ModelConfig:
    """What a model segments, how it looks at a slice, and how it was trained.

    Lengths are fractions of the slice, so that the same views fit a slice of the same field at any resolution.

    Attributes:
        target: ET, TC or WT, or one of the data's own.
        field: height and width of a slice, in mm.
        view_size: (h, w) of the views that the network sees, in pixels.
        box: (y0, x0, y1, x1), the box around the brain, as fractions of the slice.
        method: the views, the network and the training.
        modalities: input channels, in order.
        seed: of the training.
    """

    target: str
    field: tuple[float, float]
    view_size: tuple[int, int]
    box: tuple[float, float, float, float]
    method: Method
    modalities: tuple[str, ...] = MODALITIES
    seed: int = 0


def make_views(config: ModelConfig, size: tuple[int, int]) -> Views:
    """The model's views for slices of ``size``."""
    height, width = size[0] - 1, size[1] - 1
    y0, x0, y1, x1 = config.box
    box = (y0 * height, x0 * width, y1 * height, x1 * width)
    return config.method.views.views(size, config.view_size, box)


def config_values(config: ModelConfig) -> dict[str, Any]:
    """A configuration as JSON holds it."""
    return {**asdict(config), "method": values_of(config.method)}
