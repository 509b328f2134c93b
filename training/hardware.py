"""What a training runs on, and how: none of it says what is learnt."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment

from spuproj.checks import choice

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
