"""The weights of a run: damaged, of another network, of another file than was hashed, or closed."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_helpers import digest

from spuproj.training.models.config import ModelConfig
from spuproj.training.models.method import Method
from spuproj.training.models.network import make_network
from spuproj.training.models.run import load_run, load_run_and_digest, save_run
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.errors import InputError

METHOD = Method("own", Spherical(grid=(2, 3)), channels=(4, 8, 8))
CONFIG = ModelConfig("TC", (240.0, 200.0), (16, 24), (0.1, 0.2, 0.8, 0.9), METHOD, ("t1", "flair"))


@pytest.fixture
def run(tmp_path) -> Path:
    save_run(tmp_path / "run", CONFIG, make_network(CONFIG))
    return tmp_path / "run"


def test_a_weights_file_that_is_none_is_an_error_that_names_the_folder(run):
    (run / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match="run must be a finished run of 'spuproj train', but it does not load"):
        load_run(run)


@pytest.mark.parametrize("change", ["shape", "name"])
def test_weights_of_another_network_are_an_error_that_names_the_folder(run, change):
    if change == "shape":
        other = make_network(replace(CONFIG, method=replace(METHOD, channels=(2, 8, 8)))).state_dict()
    else:
        other = {f"other.{name}": tensor for name, tensor in load_file(run / "model.safetensors").items()}
    save_file({name: tensor.contiguous() for name, tensor in other.items()}, run / "model.safetensors")
    with pytest.raises(InputError, match="run must be a finished run of 'spuproj train', but it does not load"):
        load_run(run)


def test_weights_of_another_network_are_named(run):
    values = json.loads((run / "config.json").read_text())
    values["method"]["channels"] = [4, 16, 8]
    (run / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"with model\.\S+ of shape \(16, .*\), got \(8, ") as error:
        load_run(run)
    assert "\n" not in str(error.value)


def test_weights_that_changed_after_they_were_written_are_refused(run):
    path = run / "model.safetensors"
    content = bytearray(path.read_bytes())
    # Halves the last number: it stays finite.
    content[-1] ^= 1
    path.write_bytes(content)
    assert all(torch.isfinite(tensor).all() for tensor in load_file(path).values())
    with pytest.raises(InputError, match="weights must have the SHA-256 that the file tells, but have another"):
        load_run(run)


def test_weights_without_a_hash_are_read(run):
    path, (_, before) = run / "model.safetensors", load_run(run)
    save_file(load_file(path), path)
    after = load_run(run)[1].state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.state_dict().items())


def test_the_digest_is_of_what_was_loaded(run, monkeypatch):
    before, other = digest(run), make_network(CONFIG)

    def replaced_meanwhile(config: ModelConfig) -> torch.nn.Module:
        save_run(run, replace(config, seed=1), other)
        return make_network(config)

    monkeypatch.setattr("spuproj.training.models.run.make_network", replaced_meanwhile)
    (config, _), found = load_run_and_digest(run)
    assert (config.seed, found) == (CONFIG.seed, before)
    assert digest(run) != before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_that_may_not_be_read_is_named(run, name, monkeypatch):
    read = Path.read_bytes

    def closed(path: Path) -> bytes:
        if path.name == name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(InputError, match=rf"run/{name} must be readable, but is not: Permission denied"):
        load_run(run)
