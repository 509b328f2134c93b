"""Devices, processes and precision: how a command is executed. None of it changes what a model is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor, distributed

from spuproj.checks import choice
from spuproj.training.runtime.files import InputError

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
"""Names of the precisions, and what pytorch-lightning calls them."""
_DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class Hardware:
    """What a training runs on, and how.

    Attributes:
        devices: GPUs of a node to train on, one process each (processes, where there is no GPU), or ``"auto"``: all.
        nodes: machines to train on.
        precision: ``"32"``, or ``"bf16"`` or ``"16"``: convolutions in 16 bits, the weights and the loss in 32.
        channels_last: whether the channels of a pixel lie together in memory, as tensor cores want them.
        compile: whether ``torch.compile`` makes kernels for the network.
        workers: processes that load batches; 0 loads them in the process that trains.
    """

    devices: int | str = 1
    nodes: int = 1
    precision: str = "32"
    channels_last: bool = False
    compile: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        if self.devices != "auto" and not (isinstance(self.devices, int) and self.devices >= 1):
            raise ValueError(f"devices must be at least 1, or 'auto', got {self.devices!r}")
        if self.nodes < 1:
            raise ValueError(f"nodes must be at least 1, got {self.nodes}")
        if self.workers < 0:
            raise ValueError(f"workers must not be negative, got {self.workers}")
        choice(self.precision, tuple(PRECISIONS), "precision")

    @property
    def dtype(self) -> torch.dtype:
        """Of what the network is given."""
        return _DTYPES[self.precision]

    @property
    def memory_format(self) -> torch.memory_format:
        """Of the network and of what it is given."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def processes(self) -> int:
        """How many train together, one for each device."""
        return self.nodes * (max(torch.cuda.device_count(), 1) if self.devices == "auto" else int(self.devices))


def check_hardware(hardware: Hardware, batch_size: int) -> None:
    """Raises ValueError where this machine, the processes that were started, or the batch do not fit the hardware."""
    gpus = torch.cuda.device_count()
    if gpus and hardware.devices != "auto" and int(hardware.devices) > gpus:
        raise ValueError(f"devices must be at most the number of GPUs, {gpus}, got {hardware.devices}")
    if not gpus and hardware.precision == "16":
        raise ValueError("precision must be 32 or bf16 where there is no GPU, got '16'")
    started = _started()
    if started > 1 and hardware.processes != started:
        raise ValueError(
            f"devices times nodes must be the number of processes that were started, {started}, "
            f"got {hardware.processes}"
        )
    if batch_size % hardware.processes:
        raise ValueError(
            f"batch_size must be a multiple of the number of processes, {hardware.processes}, got {batch_size}"
        )


def _started() -> int:
    """How many processes torchrun or srun has started."""
    slurm = os.environ["SLURM_NTASKS"] if SLURMEnvironment.detect() else 1
    return int(os.environ.get("WORLD_SIZE", slurm))


def rank() -> int:
    """This process's number, from 0, as whatever started it says: known before the processes are joined."""
    return rank_zero_only.rank or 0


def place() -> tuple[int, int]:
    """This process's number among those that are joined, and how many these are."""
    return (distributed.get_rank(), distributed.get_world_size()) if _joined() else (0, 1)


def summed(values: Tensor) -> Tensor:
    """The sum over all processes that are joined, in each of them; every one must call it."""
    total = values.clone()
    if _joined():
        distributed.all_reduce(total)
    return total


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


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
