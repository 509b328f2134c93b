"""Execution: settings that fit or do not, ranks and shards by launcher, and that none of it changes what is saved."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from spuproj.training.fit.train import train
from spuproj.training.models.method import Method
from spuproj.training.models.network import make_network
from spuproj.training.models.run import load_run
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.execution import Hardware, check_hardware, local_device, rank, shard_of
from spuproj_cli import entry

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "LOCAL_RANK", "SLURM_LOCALID", "JSM_NAMESPACE_RANK")
METHOD = Method("tiny", Spherical(grid=(2, 2)), channels=(4, 8), epochs=2, batch_size=4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": 0}, "devices must be at least 1, or 'auto', got 0"),
        ({"devices": "some"}, "devices must be at least 1, or 'auto', got 'some'"),
        ({"nodes": 0}, "nodes must be at least 1, got 0"),
        ({"workers": -1}, "workers must not be negative, got -1"),
        ({"precision": "64"}, "precision must be one of 32, bf16, 16, got '64'"),
    ],
)
def test_hardware_that_cannot_be_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        Hardware(**options)


@pytest.mark.parametrize(
    ("gpus", "variables", "options", "message"),
    [
        (2, {}, {"devices": 3}, "devices must be at most the number of GPUs, 2, got 3"),
        (0, {}, {"precision": "16"}, "precision must be 32 or bf16 where there is no GPU, got '16'"),
        (4, {}, {"devices": 3}, "batch_size must be a multiple of the number of processes, 3, got 16"),
        (
            8,
            {},
            {"devices": "auto", "nodes": 3},
            "batch_size must be a multiple of the number of processes, 24, got 16",
        ),
        (2, {"WORLD_SIZE": "2"}, {}, "devices times nodes must be the number of processes .* started, 2, got 1"),
        (2, {"SLURM_NTASKS": "4"}, {"devices": 2}, "devices times nodes must be .* started, 4, got 2"),
    ],
)
def test_hardware_that_does_not_fit_is_an_error(monkeypatch, gpus, variables, options, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        check_hardware(Hardware(**options), 16)


@pytest.mark.parametrize(
    ("gpus", "variables", "options"),
    [
        (0, {}, {}),
        (0, {}, {"devices": "auto", "precision": "bf16"}),
        (8, {"SLURM_NTASKS": "16"}, {"devices": "auto", "nodes": 2, "precision": "16"}),
        (1, {"WORLD_SIZE": "1"}, {}),
        (1, {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, {}),
    ],
)
def test_hardware_that_fits_is_none(monkeypatch, gpus, variables, options):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_hardware(Hardware(**options), 16)


def test_the_command_passes_its_options_on(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr("spuproj.training.fit.train.train", lambda *_, **options: seen.update(options))
    options = ["--devices", "auto", "--nodes", "2", "--precision", "bf16", "--channels-last", "--compile"]
    options += ["--workers", "3", "--cache", str(tmp_path), "--resume"]
    monkeypatch.setattr(sys, "argv", ["spuproj", "train", "--data", "d", "--target", "WT", "--out", "o", *options])
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 0
    assert seen["hardware"] == Hardware("auto", 2, "bf16", channels_last=True, compile=True, workers=3)
    assert (seen["cache"], seen["resume"], seen["force"]) == (tmp_path, True, False)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16", "channels_last": True},
        {"channels_last": True, "workers": 1},
        pytest.param({"compile": True}, marks=pytest.mark.slow),
    ],
)
def test_weights_have_plain_names_and_32_bits_on_any_hardware(cohort, tmp_path, options):
    run = train(cohort[0].parent, "WT", tmp_path / "run", method=METHOD, hardware=Hardware(**options))
    config, _ = load_run(run)
    plain, saved = make_network(config).state_dict(), load_file(run / "model.safetensors")
    assert set(saved) == set(plain)
    assert all(tensor.dtype == plain[name].dtype for name, tensor in saved.items())


def test_memory_format_does_not_change_what_is_learnt(cohort, tmp_path):
    curves = []
    for last in (False, True):
        hardware = Hardware(channels_last=last)
        run = train(cohort[0].parent, "WT", tmp_path / str(last), method=METHOD, hardware=hardware)
        curves.append(json.loads((run / "training.json").read_text())["loss"])
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Nothing that a launcher of the tests may have set."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def fill(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return fill


def test_the_option_wins_over_the_environment(environment):
    environment(RANK="1", WORLD_SIZE="2")
    assert shard_of("2/5") == (2, 5)


def test_one_process_takes_everything():
    assert shard_of(None) == (0, 1)


@pytest.mark.parametrize(("rank", "size"), [("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")])
def test_a_launcher_tells_the_shard(environment, rank, size):
    environment(**{rank: "3", size: "4"})
    assert shard_of(None) == (3, 4)


def test_half_of_what_a_launcher_sets_tells_nothing(environment):
    environment(RANK="3", SLURM_PROCID="1", SLURM_NTASKS="2")
    assert shard_of(None) == (1, 2)


@pytest.mark.parametrize("text", ["3/2", "2/2", "0/0", "-1/2", "1", "1/2/3", "a/b", "", "1.0/2"])
def test_wrong_shards_are_errors(text):
    with pytest.raises(InputError, match="shard must be I/N with 0 <= I < N, got"):
        shard_of(text)


def test_a_wrong_environment_is_an_error(environment):
    environment(RANK="2", WORLD_SIZE="2")
    with pytest.raises(InputError, match="shard must be I/N with 0 <= I < N, got 2/2"):
        shard_of(None)


@pytest.mark.parametrize("name", ["LOCAL_RANK", "SLURM_LOCALID"])
def test_processes_of_a_machine_share_out_its_gpus(environment, monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert local_device() == torch.device("cuda", 0)
    environment(**{name: "3"})
    assert local_device() == torch.device("cuda", 1)


def test_without_a_gpu_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device() == torch.device("cpu")


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"])
def test_a_launcher_tells_the_rank(environment, name):
    assert rank() == 0
    environment(**{name: "3"})
    assert rank() == 3
