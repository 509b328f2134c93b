"""Methods as configuration files: the views, the network and the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from spuproj.training.models.view_sets import ViewSet
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.json_file import read_json
from spuproj.training.runtime.settings import SETTINGS, PlainName, made, plain_errors

CONFIGS = Path(__file__).parent / "configs"

# A convolution between two levels of 2048 channels has 38 million weights, 150 MB.
Channels = Annotated[int, Field(strict=True, ge=1, le=2048)]


@dataclass(frozen=True, config=SETTINGS)
class Method:
    """The views, and the network and training that all methods share."""

    name: PlainName
    """Of the method."""
    views: ViewSet
    """N views that the network predicts through."""
    training_views: Literal["all", "first"] = "all"
    """Whether a slice is seen through any of the N views, drawn anew each time, or through the first one alone."""
    oversampling: Annotated[float, Field(strict=True, gt=0, le=8)] = 1.0
    """View pixels per slice pixel, where nothing is magnified: above 1, what a view compresses keeps detail."""
    noise: Annotated[float, Field(strict=True, ge=0)] = 0.0
    """Standard deviation of the Gaussian noise added to the network's input in prediction, over that of the brain."""
    channels: Annotated[tuple[Channels, ...], Field(min_length=2, max_length=8)] = (16, 32, 64, 128, 128)
    """Feature channels of the U-Net's levels; each level halves the sides of the one before."""
    epochs: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 30
    """Passes over the data."""
    batch_size: Annotated[int, Field(strict=True, ge=1, le=1024)] = 16
    """Slices per step."""
    learning_rate: Annotated[float, Field(strict=True, gt=0, le=1)] = 1e-2
    """The schedule's largest. AdamW moves a weight by about as much per step, and weights are smaller than 1."""


def method_names() -> list[str]:
    """The methods that come with the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.json"))


def load_method(name: str, *, epochs: int | None = None, batch_size: int | None = None) -> Method:
    """A method that comes with the package, or that of a file ``.json``.

    Args:
        name: one of ``method_names()``, or a path that ends in ``.json``.
        epochs, batch_size: in place of the method's own, where not None.

    Raises:
        InputError: where there is no such method or file, or the file, epochs or batch size hold values that a method
            cannot have; it names each of them.
    """
    path = Path(name) if name.endswith(".json") else CONFIGS / f"{name}.json"
    if not path.is_file():
        raise InputError(f"method must be one of {', '.join(method_names())} or a file .json, got {name!r}")
    values = read_json(path)
    values.pop("$schema", None)
    method = made(Method, values, f"{path} must be the configuration of a method, but is not: ")
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    with plain_errors(Method):
        return replace(method, **{key: value for key, value in given.items() if value is not None})
