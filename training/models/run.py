"""A trained model on disk: its configuration as JSON, its weights as safetensors."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from spuproj import __version__
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.network import make_network
from spuproj.training.models.weights import load_weights, weights_file
from spuproj.training.runtime.errors import InputError, as_input_error
from spuproj.training.runtime.files import atomic_write, why_no_file
from spuproj.training.runtime.json_file import json_object, write_json
from spuproj.training.runtime.names import as_one_file
from spuproj.training.runtime.progress import print_status
from spuproj.training.runtime.settings import made
from spuproj.training.runtime.wording import some_of

CONFIG, WEIGHTS, RECORD = "config.json", "model.safetensors", "training.json"

Run = tuple[ModelConfig, nn.Module]
"""The configuration of a trained model, and its network in evaluation mode."""


def write_config(directory: Path, config: ModelConfig) -> None:
    """Writes the configuration of a run."""
    write_json(directory / CONFIG, asdict(config))


def save_run(directory: Path, config: ModelConfig, network: nn.Module, data: str = "") -> None:
    """Writes the configuration and then the weights: a folder with weights is a whole run.

    The weights' header names, as JSON under ``spuproj``, the version of this package, ``data``, the hash of what was
    trained on, and the hash of the weights.
    """
    (directory / WEIGHTS).unlink(missing_ok=True)
    write_config(directory, config)
    with atomic_write(directory / WEIGHTS) as temporary:
        # A file that safetensors itself makes may be read by its owner alone.
        temporary.write_bytes(weights_file(network, {"version": __version__, "data": data}))


def load_run(directory: Path) -> Run:
    """The configuration and the network, in evaluation mode. Settings that are ignored are told on standard error.

    Raises:
        InputError: where the folder holds no whole run, or a file in it is damaged or not what its name says.
    """
    return load_run_and_digest(directory)[0]


def load_run_and_digest(directory: Path) -> tuple[Run, str]:
    """A run, and the SHA-256 of the configuration and the weights that it was made of. Raises as ``load_run`` does."""
    wanted = f"{directory} must be a finished run of 'spuproj train', but"
    for name in (CONFIG, WEIGHTS):
        path = directory / name
        if not path.is_file():
            reason = f"{name} cannot be used: {why_no_file(path)}" if os.path.lexists(path) else f"has no {name}"
            raise InputError(f"{wanted} {reason}")
    settings, weights = (_content(directory / name) for name in (CONFIG, WEIGHTS))
    values = json_object(settings, directory / CONFIG)
    config = made(ModelConfig, values, f"{directory / CONFIG} must be the configuration of a model, but is not: ")
    if unknown := sorted(values.keys() - asdict(config).keys()):
        print_status(
            f"{directory / CONFIG}: ignored, as this version of spuproj does not know "
            f"{some_of([f'{name:.40}' for name in unknown])}; a newer version may predict otherwise"
        )
    with as_input_error(lambda error: f"{wanted} it does not load ({WEIGHTS}): {error}"):
        # Memory follows the file, not the configuration.
        with torch.device("meta"):
            network = make_network(config)
        load_weights(network, weights)
    return (config, network.float().eval()), hashlib.sha256(settings + weights).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} must be readable, but is not: {error.strerror or error}") from None


def load_runs(directories: Sequence[Path]) -> tuple[list[Run], dict[str, str]]:
    """Models that predict a case together, one per target; and by target the SHA-256 of each.

    Raises:
        InputError: as ``load_run`` does; where there is none, two are of one target, or they differ in the images that
            they take.
    """
    loaded = [load_run_and_digest(directory) for directory in directories]
    configs = [config for (config, _), _ in loaded]
    targets = [config.target for config in configs]
    if not targets or len(set(map(as_one_file, targets))) != len(targets):
        raise InputError(f"models must be of different targets, got {', '.join(targets) or 'none'}")
    if any(config.modalities != configs[0].modalities for config in configs):
        raise InputError("models must take the same modalities, got " + "; ".join(str(c.modalities) for c in configs))
    if any(config.clip != configs[0].clip for config in configs):
        raise InputError("models must clip intensities alike, got " + "; ".join(str(list(c.clip)) for c in configs))
    return [run for run, _ in loaded], {config.target: sha256 for (config, _), sha256 in loaded}
