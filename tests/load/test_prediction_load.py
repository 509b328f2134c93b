"""Many cases through ``spuproj predict``: memory, open files, threads and processes stay the same from case to case."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from helpers import ROOT
from spuproj.training.data.readers.case_files import MODALITIES
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.method import Method
from spuproj.training.models.network import make_network
from spuproj.training.models.run import save_run
from spuproj.training.models.view_sets import Spherical

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads what Linux says of processes")

PICTURE = ROOT / "docs" / "pictures" / "prediction_load.png"
PICTURES = """
from itertools import count
from spuproj.training.workflows import predict, write_prediction
from spuproj_cli.entry import main
draw, numbers = write_prediction.case_figure, count()
write = write_prediction
write.case_figure = lambda *given: draw(*given) if next(numbers) % 10 == 0 else given[3].write_text("picture")
main()
"""
"""The command, with every tenth picture: they take most of the time."""

SHAPE = (20, 22, 6)


class Usage(NamedTuple):
    """Of a process: resident memory in MiB, open files, threads, and processes that it has started."""

    memory: float
    files: int
    threads: int
    processes: int


def usage_of(process: int) -> Usage:
    place = Path(f"/proc/{process}")
    pages = int((place / "statm").read_text().split()[1])
    threads = list((place / "task").iterdir())
    children = [child for thread in threads for child in (thread / "children").read_text().split()]
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return Usage(memory, len(os.listdir(place / "fd")), len(threads), len(children))


def small_model(folder: Path) -> Path:
    """Untrained, with two views."""
    torch.manual_seed(0)
    method = Method("own", Spherical(grid=(1, 2)), channels=(2, 4))
    config = ModelConfig("WT", (20.0, 22.0), (16, 16), (0.1, 0.1, 0.9, 0.9), method)
    save_run(folder, config, make_network(config))
    return folder


def many_cases(folder: Path, count: int) -> Path:
    """A manifest of cases that share the images of a small patient."""
    random = np.random.default_rng(0)
    for name in MODALITIES:
        voxels = np.zeros(SHAPE, np.float32)
        voxels[3:-3, 3:-3, 1:-1] = random.uniform(50, 200, (14, 16, 4))
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"{name}.nii.gz")
    rows = [",".join([f"p{number:04d}", *(f"{name}.nii.gz" for name in MODALITIES)]) for number in range(count)]
    path = folder / "cases.csv"
    path.write_text("\n".join([",".join(["name", *MODALITIES]), *rows]))
    return path


def watched(folder: Path, count: int) -> list[Usage]:
    """Predicts so many cases in a process of its own, and what it uses after each."""
    model, data, out = small_model(folder / "model"), many_cases(folder, count), folder / "out"
    options = ["--model", str(model), "--data", str(data), "--out", str(out)]
    found = []
    with subprocess.Popen(
        [sys.executable, "-c", PICTURES, "predict", *options],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        for line in process.stderr:
            # A line says that a case is done.
            if line.startswith("Predicting"):
                found.append(usage_of(process.pid))
        last = process.stdout.read()
    assert last == f"{count} predicted, 0 skipped (finished before), 0 failed: {out}\n"
    assert len(list(out.glob("*_summary.json"))) == count
    return found


def check(found: list[Usage], count: int, growth: float) -> None:
    """From the second quarter of the cases on nothing grows, memory by less than so many MiB."""
    # The last line is read when the process may be gone.
    assert count - 1 <= len(found) <= count
    early, late = found[count // 4 : count // 2], found[-count // 4 :]
    for name in ("files", "threads", "processes"):
        # While a case is read or written, one more file is open.
        assert min(getattr(use, name) for use in late) <= min(getattr(use, name) for use in early), name
    assert median(use.memory for use in late) - median(use.memory for use in early) < growth


def test_resources_stay_constant_over_thirty_cases(tmp_path):
    # The first pictures take memory that later ones use again.
    check(watched(tmp_path, 30), 30, growth=40)


@pytest.mark.slow
def test_resources_stay_constant_over_a_thousand_cases(tmp_path):
    found = watched(tmp_path, 1000)
    draw(found)
    for at in (0, 9, 99, 249, 499, 749, len(found) - 1):
        print(f"after {at + 1} cases: {found[at]}")
    check(found, 1000, growth=6)


def draw(found: list[Usage]) -> None:
    """The picture of the documentation."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot([use.memory for use in found], color="#1f5fa8", linewidth=1)
    upper.set(ylabel="memory, MiB", ylim=(0, 1.15 * max(use.memory for use in found)))
    for name, colour in (("files", "#d9742b"), ("threads", "#3b8f5a"), ("processes", "#8a4fa3")):
        lower.plot([getattr(use, name) for use in found], color=colour, linewidth=1, label=name)
    lower.set(xlabel="cases that are done", ylabel="number", ylim=(-1, None))
    lower.legend(frameon=False, fontsize=8, ncols=3)
    figure.savefig(PICTURE, dpi=80)


def test_a_process_is_watched_as_it_is():
    """A file and a process more are seen."""
    before = usage_of(os.getpid())
    with Path(__file__).open() as _, subprocess.Popen(["sleep", "60"]) as child:
        after = usage_of(os.getpid())
        child.kill()
    assert (after.files, after.processes) == (before.files + 1, before.processes + 1)
    assert before.memory > 20
