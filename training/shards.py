"""A data set shared out among processes: which cases a process takes, and which device."""

from __future__ import annotations

import os
import re

import torch

from spuproj.training.files import InputError

Shard = tuple[int, int]
"""(I, N): the process takes the cases I, I + N, I + 2 N and so on of the sorted list."""

# Of torchrun, and of Slurm's srun: the process's number, and how many there are.
_RANKS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
_LOCAL_RANKS = ("LOCAL_RANK", "SLURM_LOCALID")


def shard_of(text: str | None) -> Shard:
    """The shard of ``I/N``; where None, the one that torchrun or Slurm gives this process, else 0/1.

    Raises:
        InputError: where it is not of that form with 0 <= I < N.
    """
    if text is None:
        given = (f"{os.environ[rank]}/{os.environ[size]}" for rank, size in _RANKS if {rank, size} <= os.environ.keys())
        text = next(given, "0/1")
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    index, count = map(int, match.groups()) if match else (0, 0)
    if index >= count:
        raise InputError(f"shard must be I/N with 0 <= I < N, got {text}")
    return index, count


def local_device() -> torch.device:
    """The GPU of this process's number on its machine, counted around where there are fewer; the CPU without any."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    rank = next((int(os.environ[name]) for name in _LOCAL_RANKS if name in os.environ), 0)
    return torch.device("cuda", rank % torch.cuda.device_count())
