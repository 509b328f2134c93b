"""Shards: which one a process takes, by option and by environment, and on which device."""

from __future__ import annotations

import pytest
import torch

from spuproj.training.runtime.execution import local_device, shard_of
from spuproj.training.runtime.files import InputError

NAMES = ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "LOCAL_RANK", "SLURM_LOCALID")


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
