"""A trained model on disk: its configuration as JSON, its weights as safetensors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from monai.networks.nets import UNet
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from spuproj import Views, __version__
from spuproj.training.files import InputError, written_whole
from spuproj.training.methods import Method, method_of, values_of
from spuproj.training.readers import MODALITIES

CONFIG, WEIGHTS, RECORD = "config.json", "model.safetensors", "training.json"


@dataclass(frozen=True)
class Config:
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


def make_network(config: Config) -> nn.Module:
    """The U-Net (MONAI): C modalities in, one logit out; its input sides must be multiples of 2 ** (levels - 1)."""
    channels = config.method.channels
    network = UNet(
        spatial_dims=2,
        in_channels=len(config.modalities),
        out_channels=1,
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        act="RELU",
        norm="BATCH",
    )
    # Targets are small: training starts from "background" rather than from one half.
    last = [module for module in network.modules() if isinstance(module, nn.ConvTranspose2d)][-1]
    nn.init.constant_(last.bias, -3.0)
    return network


def make_views(config: Config, size: tuple[int, int]) -> Views:
    """The model's views for slices of ``size``."""
    height, width = size[0] - 1, size[1] - 1
    y0, x0, y1, x1 = config.box
    box = (y0 * height, x0 * width, y1 * height, x1 * width)
    return config.method.views.views(size, config.view_size, box)


def config_values(config: Config) -> dict[str, Any]:
    """A configuration as JSON holds it."""
    return {**asdict(config), "method": values_of(config.method)}


def write_config(directory: Path, config: Config) -> None:
    """Writes the configuration of a run."""
    with written_whole(directory / CONFIG) as temporary:
        temporary.write_text(json.dumps(config_values(config), indent=2) + "\n")


def save_run(directory: Path, config: Config, network: nn.Module, data: str = "") -> None:
    """Writes the configuration and then the weights: a folder with weights is a whole run.

    The weights' header names the version of this package and ``data``, the hash of what was trained on.
    """
    (directory / WEIGHTS).unlink(missing_ok=True)
    write_config(directory, config)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    with written_whole(directory / WEIGHTS) as temporary:
        save_file(weights, temporary, metadata={"spuproj": __version__, "data": data})


def load_run(directory: Path) -> tuple[Config, nn.Module]:
    """The configuration and the network, in evaluation mode. Raises InputError where the folder holds no whole run."""
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).is_file():
            raise InputError(f"{directory} must be a finished run of 'spuproj train', but has no {name}")
    try:
        values = json.loads((directory / CONFIG).read_text())
        values["method"] = method_of(values["method"])
        names = {field.name for field in fields(Config)}
        config = Config(**{key: _frozen(value) for key, value in values.items() if key in names})
        network = make_network(config)
        network.load_state_dict(load_file(directory / WEIGHTS))
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{directory} must be a finished run of 'spuproj train', but it does not load: {error}"
        ) from None
    return config, network.eval()


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
