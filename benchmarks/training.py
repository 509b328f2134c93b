"""The cost of projecting in training and prediction: ``python -m spuproj.benchmarks.training``."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import torch
import typer
from torch import Tensor
from torch.utils.data import DataLoader

from spuproj import Views
from spuproj.benchmarks.record import Record, slug, write_all
from spuproj.training.data.cache import CachedCase
from spuproj.training.data.canvas import Canvas
from spuproj.training.data.dataset import Batch, SliceEntry, make_loader
from spuproj.training.data.labels import SCHEMES
from spuproj.training.data.sampler import BalancedSampler
from spuproj.training.fit.module import Segmenter
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.method import Method, load_method
from spuproj.training.runtime.execution import Hardware
from spuproj.training.workflows.predict import predict

_ON_DISK, _STEPS = 128, 5


def measure_layer(
    case: Annotated[Path, typer.Argument(help="BraTS case folder.")],
    models: Annotated[list[Path], typer.Argument(help="Runs of 'spuproj train', one per target.")],
    out: Annotated[Path, typer.Option(help="Folder of the JSON file.")],
) -> None:
    """Measure what projecting costs in prediction and in training; print it and write training-<machine>.json."""
    if torch.cuda.is_available():
        hardware = Hardware(precision="bf16", channels_last=True, workers=4)
        rates = measure_rates("cuda", hardware, load_method("spu"))
    else:
        rates = measure_rates("cpu", Hardware(), load_method("spu"), steps=2, rounds=9)
    (seconds, share), ratio = predict_cost(models, case), 100 * rates["training"] / rates["ready"]
    values = {
        "a prediction, from files to files, in seconds": seconds,
        "its goal on an H200, at most": 3.0,
        "projecting and reducing, percent of a prediction": share,
        "its goal, at most": 3.0,
        "training through views, percent of training on tensors that lie ready": ratio,
        "its goal, at least": 90.0,
        "slices per second": rates,
    }
    print(json.dumps(values, indent=1))
    content = {name: vars(Record(()))[name] for name in ("date", "machine", "software")} | values
    path = out / f"training-{slug()}.json"
    write_all([path], (json.dumps(content, indent=1) + "\n").encode())
    print(path)


def measure_rates(
    device: str, hardware: Hardware, method: Method, *, side: int = 240, steps: int = 20, rounds: int = 5
) -> dict[str, float]:
    """Slices per second of one network in three settings, measured in turns; the median of each.

    ``"loader"``: the data loader alone; ``"ready"``: training without views, on input tensors that are already on the
    device; ``"training"``: training through views, from the cache on disk.

    Args:
        device: where to train.
        hardware: the loader's workers, and the network's precision, memory format and compilation.
        method: the views, the network and the batch.
        side: of the slices and the views, in pixels.
        steps: of each turn.
        rounds: of turns; one more comes first and does not count.
    """
    model = _model(device, hardware, method, side, steps)
    step = _stepper(model)

    def moved(batch: Batch) -> Batch:
        image, label, seen = (part.to(device, non_blocking=True) for part in batch)
        return image, label, seen

    with tempfile.TemporaryDirectory() as folder:
        loader = _loader(model, Path(folder), side, steps)
        image, label, _ = next(iter(loader))
        ready = image.to(device, hardware.dtype, memory_format=hardware.memory_format), label.to(device)
        turns: dict[str, Callable[[], object]] = {
            "loader": lambda: sum(1 for _ in loader),
            "ready": lambda: [step(*ready) for _ in range(steps)],
            "training": lambda: [step(*model.look(moved(batch))) for batch in loader],
        }
        seconds: dict[str, list[float]] = {name: [] for name in turns}
        for name in list(turns) * (rounds + 1):
            start = _now(device)
            turns[name]()
            seconds[name].append(_now(device) - start)
    return {name: steps * method.batch_size / statistics.median(spent[1:]) for name, spent in seconds.items()}


def _model(device: str, hardware: Hardware, method: Method, side: int, steps: int) -> Segmenter:
    config = ModelConfig("WT", (240.0, 240.0), view_size=(side, side), box=(0.2, 0.2, 0.8, 0.8), method=method)
    model = Segmenter(config, (side, side), steps, hardware)
    model.to(device)
    return model


def _loader(model: Segmenter, folder: Path, side: int, steps: int) -> DataLoader[Batch]:
    """``steps`` batches of noise, half of the slices with the target, from a cached case."""
    random, config = np.random.default_rng(0), model.config
    shape = (_ON_DISK, len(config.modalities), side, side)
    np.save(folder / "image.npy", random.standard_normal(shape, dtype=np.float32).astype(np.float16))
    np.save(folder / "labels.npy", random.choice(np.array([0, 1, 2, 4], np.uint8), (_ON_DISK, side, side)))
    image, labels = (np.load(folder / f"{kind}.npy", mmap_mode="r") for kind in ("image", "labels"))
    case = CachedCase("noise", image, labels, [], SCHEMES["brats2020"], (1.0, 1.0), (0, 0, side - 1, side - 1), "")
    count = steps * config.method.batch_size
    entries = [SliceEntry(case, Canvas((side, side)), number % _ON_DISK, number % 2 == 0) for number in range(count)]
    draws = BalancedSampler([entry.positive for entry in entries], len(model.views), config.method.batch_size, seed=0)
    return make_loader(entries, config.target, draws, model.hardware)


def _stepper(model: Segmenter) -> Callable[[Tensor, Tensor], None]:
    """Returns a function that makes one optimizer step on network inputs and their target."""
    optimizer, hardware = torch.optim.AdamW(model.network.parameters()), model.hardware

    def step(view: Tensor, target: Tensor) -> None:
        with torch.autocast(view.device.type, dtype=hardware.dtype, enabled=hardware.precision != "32"):
            loss = model.learn(view, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def step_share(device: str, batch: int = 64, side: int = 240) -> float:
    """Percent of a training step that goes into projecting images and labels.

    ``batch`` slices of ``side`` pixels, one random view for each, in bfloat16, channels-last. The host waits for the
    device after each part, which makes projecting seem more expensive than if the parts overlapped.
    """
    model = _model(device, Hardware(precision="bf16", channels_last=True), load_method("spu"), side, _STEPS)
    step = _stepper(model)
    image = torch.randn(batch, len(model.config.modalities), side, side, device=device)
    label, times = (image[:, :1] > 1).to(torch.uint8), list[tuple[float, float]]()
    for _ in range(2 + _STEPS):
        start = _now(device)
        seen = model.look((image, label, torch.randint(len(model.views), (batch,), device=device)))
        between = _now(device)
        step(*seen)
        times.append((between - start, _now(device) - start))
    return 100 * sum(projecting for projecting, _ in times[2:]) / sum(whole for _, whole in times[2:])


def predict_cost(models: Sequence[Path], folder: Path) -> tuple[float, float]:
    """Seconds of a patient's prediction by these models, and the percentage of ``Views.project`` and ``Views.reduce``.

    From loading the models to the last file, including first calls but not imports. The host waits for a GPU before
    and after each timed call, which makes these seem more expensive than if they overlapped.
    """
    device, spent = "cuda" if torch.cuda.is_available() else "cpu", list[float]()

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = _now(device)
            result = method(*arguments, **options)
            spent.append(_now(device) - start)
            return result

        return run

    project, reduce = (patch.object(Views, name, timed(getattr(Views, name))) for name in ("project", "reduce"))
    with tempfile.TemporaryDirectory() as out, project, reduce:
        start = _now(device)
        predict(models, folder, Path(out))
        seconds = _now(device) - start
    return seconds, 100 * sum(spent) / seconds


def _now(device: str) -> float:
    """The time after the device has finished its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    typer.run(measure_layer)
