"""Several processes that train together: the loss curve of one, its validation, and one run on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from spuproj.training.data.dataset import SliceDataset, cache_cohort
from spuproj.training.data.readers.registry import cases_in
from spuproj.training.data.sampler import Draw
from spuproj.training.fit.module import Segmenter
from spuproj.training.fit.train import train
from spuproj.training.models.method import Method
from spuproj.training.models.run import load_run
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.execution import Hardware

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

METHOD = Method("tiny", Spherical(grid=(2, 2)), channels=(4, 8), epochs=10, batch_size=8)


@pytest.fixture(scope="module")
def pair(cohort, tmp_path_factory) -> Path:
    """The run of two processes that share batches of 8."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "tiny.json").write_text(json.dumps(asdict(METHOD)))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "spuproj"]
    arguments = ["train", "--data", cohort[0].parent, "--target", "WT", "--out", folder / "run", "--devices", "2"]
    process = subprocess.run(
        [sys.executable, *launcher, *map(str, arguments), "--method", str(folder / "tiny.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("model ") == 1
    return folder / "run"


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "training.json").read_text())


def test_two_processes_follow_the_loss_curve_of_one(pair, cohort, tmp_path):
    """Normalisation and the Dice in the loss see half a batch in each: the curves differ a little."""
    alone = train(cohort[0].parent, "WT", tmp_path / "alone", method=METHOD)
    one, two = record(alone)["loss"], record(pair)["loss"]
    assert len(one) == len(two) == METHOD.epochs
    assert two == pytest.approx(one, rel=0.05)
    assert min(one) < 0.95 * max(one)
    assert record(pair)["data"] == record(alone)["data"]


def test_two_processes_validate_every_slice_once(pair, cohort, tmp_path):
    config, network = load_run(pair)
    cached = cache_cohort(cases_in(cohort[0].parent), config.modalities, "WT", tmp_path, lambda _: None)
    names = record(pair)["data"]["validation"]["cases"]
    entries = [entry for name in names for entry in cached.entries[name] if entry.positive]
    model = Segmenter(config, cached.size, 1, Hardware()).eval()
    model.network = network
    with torch.inference_mode():
        model.validation_step(SliceDataset(entries, "WT")[[Draw(index, 0, 0) for index in range(len(entries))]], 0)
    assert record(pair)["metrics"]["dice"] == pytest.approx(float(model.overlap[0] / model.overlap[1]), abs=1e-5)


def test_one_of_two_processes_writes_the_run(pair):
    names = {"config.json", "model.safetensors", "training.json", "checkpoints", "logs"}
    assert {path.name for path in pair.iterdir()} == names
    assert len(list((pair / "logs").glob("events.out.tfevents.*"))) == 1
