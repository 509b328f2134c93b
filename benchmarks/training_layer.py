"""Ratios of the training layer: ``python -m spuproj.benchmarks.training_layer CASE MODEL ... --out FOLDER``."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from spuproj.benchmarks.machine import machine, slug, software
from spuproj.benchmarks.predict_cost import Cost, predict_cost
from spuproj.benchmarks.throughput import Rates, measure
from spuproj.training.models.method import load_method
from spuproj.training.runtime.execution import Hardware
from spuproj.training.runtime.files import atomic_write

SHARE_GOAL = 3.0
GPU_SECONDS_GOAL = 3.0
TRAINING_GOAL = 90.0


def summary(cost: Cost, rates: Rates) -> dict[str, Any]:
    """What is printed and kept: seconds of a prediction, percentages beside their goals, and slices per second."""
    return {
        "a prediction, from files to files, in seconds": cost.seconds,
        "its goal on an H200, at most": GPU_SECONDS_GOAL,
        "projecting and reducing, percent of a prediction": cost.share,
        "its goal, at most": SHARE_GOAL,
        "training through views, percent of training on tensors that lie ready": 100 * rates.training / rates.ready,
        "its goal, at least": TRAINING_GOAL,
        "slices per second": asdict(rates),
    }


def run(
    case: Annotated[Path, typer.Argument(help="BraTS case folder.")],
    models: Annotated[list[Path], typer.Argument(help="Runs of 'spuproj train', one per target.")],
    out: Annotated[Path, typer.Option(help="Folder of the JSON file.")],
) -> None:
    """Measure what projecting costs in prediction and in training; print it and write training-<machine>.json."""
    if torch.cuda.is_available():
        rates = measure("cuda", Hardware(precision="bf16", channels_last=True, workers=4), load_method("spu"))
    else:
        rates = measure("cpu", Hardware(), load_method("spu"), steps=2, rounds=9)
    values = summary(predict_cost(models, case), rates)
    print(json.dumps(values, indent=1))
    content = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "software": software(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        **values,
    }
    path = out / f"training-{slug()}.json"
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    typer.run(run)
