"""Slices per second of the loader, of training through views, and of training on tensors that lie ready."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from spuproj.training.data.cache import CachedCase
from spuproj.training.data.dataset import Batch, SliceEntry, make_loader
from spuproj.training.data.labels import SCHEMES
from spuproj.training.data.sampler import BalancedSampler
from spuproj.training.fit.module import Segmenter
from spuproj.training.models.config import ModelConfig, make_views
from spuproj.training.models.method import Method
from spuproj.training.runtime.execution import Hardware

_ON_DISK = 128


@dataclass(frozen=True)
class Rates:
    """Slices per second.

    Attributes:
        loader: of the loader alone.
        ready: of training without views, on tensors that lie on the device as the network takes them.
        training: of training through views, from the cache on the disk.
    """

    loader: float
    ready: float
    training: float


def measure(
    device: str, hardware: Hardware, method: Method, *, side: int = 240, steps: int = 20, rounds: int = 5
) -> Rates:
    """The rates of one network, measured in turns: the median of each.

    Args:
        device: where to train.
        hardware: the loader's workers, and the network's precision, memory format and compilation.
        method: the views, the network and the batch.
        side: of the slices and the views, in pixels.
        steps: of each turn.
        rounds: of turns; one more comes first and does not count.
    """
    field = (240.0, 240.0)
    config = ModelConfig(target="WT", field=field, view_size=(side, side), box=(0.2, 0.2, 0.8, 0.8), method=method)
    model = Segmenter(config, (side, side), steps, hardware).to(device)
    step = _stepper(model, device, hardware)
    with tempfile.TemporaryDirectory() as folder:
        loader = _loader(config, side, steps, hardware, Path(folder))
        ready = _unwarped(next(iter(loader)), device, hardware)
        turns = [
            lambda: sum(1 for _ in loader),
            lambda: [step(*ready) for _ in range(steps)],
            lambda: [step(*model.look(_moved(batch, device))) for batch in loader],
        ]
        times = [[_seconds(turn, device) for turn in turns] for _ in range(rounds + 1)][1:]
    return Rates(*(steps * method.batch_size / statistics.median(spent) for spent in zip(*times, strict=True)))


def _loader(config: ModelConfig, side: int, steps: int, hardware: Hardware, folder: Path) -> DataLoader[Batch]:
    """``steps`` batches of noise, half of the slices with the target, from a cached case."""
    random = np.random.default_rng(0)
    shape = (_ON_DISK, len(config.modalities), side, side)
    np.save(folder / "image.npy", random.standard_normal(shape, dtype=np.float32).astype(np.float16))
    np.save(folder / "labels.npy", random.choice(np.array([0, 1, 2, 4], np.uint8), (_ON_DISK, side, side)))
    image, labels = (np.load(folder / f"{kind}.npy", mmap_mode="r") for kind in ("image", "labels"))
    case = CachedCase("noise", image, labels, [], SCHEMES["brats2020"], config.field, config.box, "")
    count = steps * config.method.batch_size
    entries = [SliceEntry(case, number % _ON_DISK, number % 2 == 0) for number in range(count)]
    views = len(make_views(config, config.view_size))
    draws = BalancedSampler([entry.positive for entry in entries], views, config.method.batch_size, seed=0)
    return make_loader(entries, config.target, draws, hardware)


def _stepper(model: Segmenter, device: str, hardware: Hardware) -> Callable[[Tensor, Tensor], None]:
    """One step of the optimizer on what the network sees and the target there."""
    optimizer = torch.optim.AdamW(model.network.parameters())
    kind, mixed = torch.device(device).type, hardware.precision != "32"

    def step(view: Tensor, target: Tensor) -> None:
        with torch.autocast(kind, dtype=hardware.dtype, enabled=mixed):
            loss = model.learn(view, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _moved(batch: Batch, device: str) -> Batch:
    image, label, seen = (part.to(device, non_blocking=True) for part in batch)
    return image, label, seen


def _unwarped(batch: Batch, device: str, hardware: Hardware) -> tuple[Tensor, Tensor]:
    image, label, _ = batch
    return image.to(device, hardware.dtype, memory_format=hardware.memory_format), label.to(device)


def _seconds(turn: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    turn()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start
