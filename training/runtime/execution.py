"""How a command is executed: devices, precision, and processes that work together. None of it changes the result."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, distributed

from spuproj.checks import choice
from spuproj.training.runtime.errors import InputError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
PRECISIONS: dict[str, Precision] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
"""Names of the precisions, and what pytorch-lightning calls them."""

Shard = tuple[int, int]
"""(I, N): the process takes the cases I, I + N, I + 2 N and so on of the sorted list."""

_DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}

# Environment variables of the launchers: torchrun, pytorch-lightning, Slurm's srun, LSF's jsrun.
_RANK = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
_RANK_AND_WORLD_SIZE = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS"))
_LOCAL_RANK = ("LOCAL_RANK", "SLURM_LOCALID")


@dataclass(frozen=True)
class Hardware:
    """Execution settings of a training; they do not define the model.

    Attributes:
        devices: GPUs per node, with one process each, or ``"auto"`` for all of them; without GPUs, CPU processes.
        nodes: number of machines.
        precision: ``"32"``, or ``"bf16"`` or ``"16"``: convolutions in 16 bits, weights and loss in 32.
        channels_last: whether images are stored with their channels last, which tensor cores prefer.
        compile: whether the network is compiled with ``torch.compile``.
        workers: processes that load batches; 0 loads them in the training process.

    Raises:
        ValueError: for a value out of range.
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
        """Of the network's input."""
        return _DTYPES[self.precision]

    @property
    def memory_format(self) -> torch.memory_format:
        """Of the network and of its input."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def processes(self) -> int:
        """How many processes train together, one for each device."""
        return self.nodes * (max(torch.cuda.device_count(), 1) if self.devices == "auto" else int(self.devices))


def check_hardware(hardware: Hardware, batch_size: int) -> None:
    """Raises ValueError where the settings do not fit this machine, the launched processes or the batch size."""
    gpus = torch.cuda.device_count()
    if gpus and hardware.devices != "auto" and int(hardware.devices) > gpus:
        raise ValueError(f"devices must be at most the number of GPUs, {gpus}, got {hardware.devices}")
    if not gpus and hardware.precision == "16":
        raise ValueError("precision must be 32 or bf16 where there is no GPU, got '16'")
    launched = _launched_processes()
    if launched > 1 and hardware.processes != launched:
        raise ValueError(
            f"devices times nodes must be the number of processes that were started, {launched}, "
            f"got {hardware.processes}"
        )
    if batch_size % hardware.processes:
        raise ValueError(
            f"batch_size must be a multiple of the number of processes, {hardware.processes}, got {batch_size}"
        )


def _launched_processes() -> int:
    """How many processes torchrun or srun has started."""
    from pytorch_lightning.plugins.environments import SLURMEnvironment  # slow to import

    slurm = os.environ["SLURM_NTASKS"] if SLURMEnvironment.detect() else 1
    return int(os.environ.get("WORLD_SIZE", slurm))


def rank() -> int:
    """This process's rank; before the process group is initialised, the one that the launcher has set, or 0."""
    return distributed.get_rank() if _initialized() else _first_set(_RANK)


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank in the process group and the group's size; (0, 1) where there is none."""
    return (distributed.get_rank(), distributed.get_world_size()) if _initialized() else (0, 1)


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over all processes of the group. Every process must call it."""
    total = values.clone()
    if _initialized():
        distributed.all_reduce(total)
    return total


def shard_of(text: str | None) -> Shard:
    """The shard that ``"I/N"`` names; where None, rank and world size that torchrun or Slurm have set, else 0/1.

    Raises:
        InputError: where the text is not of that form with 0 <= I < N.
    """
    if text is None:
        launchers = (names for names in _RANK_AND_WORLD_SIZE if set(names) <= os.environ.keys())
        text = next((f"{os.environ[rank]}/{os.environ[size]}" for rank, size in launchers), "0/1")
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    index, count = map(int, match.groups()) if match else (0, 0)
    if index >= count:
        raise InputError(f"shard must be I/N with 0 <= I < N, got {text}")
    return index, count


def local_device() -> torch.device:
    """The GPU for this process: its rank on the machine, modulo the number of GPUs; the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", _first_set(_LOCAL_RANK) % torch.cuda.device_count())


def _initialized() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _first_set(names: tuple[str, ...]) -> int:
    """The first of these environment variables that is set, or 0."""
    return next((int(os.environ[name]) for name in names if name in os.environ), 0)
