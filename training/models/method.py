"""Methods as configuration files: the views, the network and the training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from spuproj.checks import choice, positive
from spuproj.training.models.view_sets import VIEW_SETS, ViewSet
from spuproj.training.runtime.files import InputError

CONFIGS = Path(__file__).parent / "configs"

TRAINING_VIEWS = ("all", "first")


@dataclass(frozen=True)
class Method:
    """What a configuration file says: the views, and the network and training that all methods share.

    Attributes:
        name: of the method.
        views: that the network predicts through, N of them.
        training_views: ``"all"``: each slice through one of the N, drawn anew each time. ``"first"``: through the
            first one alone.
        oversampling: view pixels per slice pixel, where nothing is magnified: above 1, what a view compresses keeps
            detail.
        noise: standard deviation of the Gaussian noise added to what the network sees in prediction, where 1 is that
            of the brain's values.
        channels: feature channels of the U-Net's levels.
        epochs: passes over the data.
        batch_size: slices per step.
        learning_rate: the schedule's largest.
    """

    name: str
    views: ViewSet
    training_views: str = "all"
    oversampling: float = 1.0
    noise: float = 0.0
    channels: tuple[int, ...] = (16, 32, 64, 128)
    epochs: int = 30
    batch_size: int = 16
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        choice(self.training_views, TRAINING_VIEWS, "training_views")
        if not (self.noise >= 0 and math.isfinite(self.noise)):
            raise ValueError(f"noise must be finite and not negative, got {self.noise}")
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ValueError(f"channels must be at least two positive numbers, got {self.channels}")
        positive(self.oversampling, "oversampling")
        positive(self.learning_rate, "learning_rate")


def method_names() -> list[str]:
    """The methods that come with the package."""
    return sorted(path.stem for path in CONFIGS.glob("*.json"))


def load_method(name: str, *, epochs: int | None = None, batch_size: int | None = None) -> Method:
    """A method that comes with the package, or that of a file ``.json``.

    Args:
        name: one of ``method_names()``, or a path that ends in ``.json``.
        epochs, batch_size: in place of the method's own, where not None.

    Raises:
        InputError: where there is no such method or file, or the file holds values that a method cannot have.
        ValueError: for epochs or a batch size below 1.
    """
    path = Path(name) if name.endswith(".json") else CONFIGS / f"{name}.json"
    if not path.is_file():
        raise InputError(f"method must be one of {', '.join(method_names())} or a file .json, got {name!r}")
    try:
        method = method_of(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} must be the configuration of a method, but is not: {error}") from None
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    return replace(method, **{key: value for key, value in given.items() if value is not None})


def method_of(values: Mapping[str, Any]) -> Method:
    """A method from the values of ``values_of``. Raises TypeError or ValueError where they do not hold."""
    if not isinstance(values, Mapping):
        raise TypeError(f"it must be an object, got {type(values).__name__}")
    views = dict(values["views"]) if isinstance(values.get("views"), dict) else {}
    kind = views.pop("kind", None)
    if kind not in VIEW_SETS:
        raise ValueError(f"views must have a kind of {', '.join(VIEW_SETS)}, got {kind!r}")
    method: Method = _made(Method, {**values, "views": _made(VIEW_SETS[kind], views)})
    return method


def values_of(method: Method) -> dict[str, Any]:
    """A method as JSON holds it."""
    return {**asdict(method), "views": {"kind": method.views.kind, **asdict(method.views)}}


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    known = [each.name for each in fields(kind)]
    if unknown := [name for name in values if name not in known]:
        raise ValueError(f"{unknown[0]} must be one of {', '.join(known)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
