"""Trains the models that come with the package, on phantoms alone (``python -m`` this module, or ``make models``).

Everything follows from the numbers below. A run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from spuproj.training.data.cache import cached_case
from spuproj.training.data.labels import TARGETS
from spuproj.training.data.readers.registry import case_in
from spuproj.training.fit.train import train
from spuproj.training.models.card import CARD, model_card
from spuproj.training.models.method import load_method
from spuproj.training.models.run import CONFIG, WEIGHTS, load_run
from spuproj.training.models.trained_models import FOLDER
from spuproj.training.models.training_record import Record, read_record
from spuproj.training.phantom.cohort import case_folders, make_phantom, write_case
from spuproj.training.runtime.execution import Hardware
from spuproj.training.runtime.files import remove_leftovers
from spuproj.training.runtime.json_file import read_json
from spuproj.training.runtime.locks import held
from spuproj.training.runtime.progress import progress_bar

SEED = 2026
CASES = 384
VALIDATION = 4
SPACING = 2.0
EPOCHS = 7
DATA = (
    f"{CASES} phantoms (made-up patients on a deformed atlas; no real patient), seed {SEED}, voxels of {SPACING:g} mm; "
    f"{VALIDATION} of them for validation. `make models` makes phantoms and model anew."
)
CORES = os.cpu_count() or 1
COHORT, CACHE = "cohort", "cache"


def make_models(out: Path) -> list[Path]:
    """Trains one model for each target and returns their folders.

    Phantoms grow on all cores. Where there is a GPU, the targets train on it together, else one after the other.

    Args:
        out: folder of the phantoms, the cache and the runs; what is there already is kept.
    """
    with held(out):
        remove_leftovers(out / COHORT)
        grow_cohort(out)
        at_once = len(TARGETS) if torch.cuda.is_available() else 1
        with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
            return list(pool.map(train_target, repeat(out), TARGETS))


def grow_cohort(out: Path) -> None:
    """Writes the phantoms that are not there yet, and their slices to the cache."""
    one_thread = {"initializer": threadpool_limits, "initargs": (1,)}
    with progress_bar("Growing phantoms", CASES) as advance, ProcessPoolExecutor(CORES, **one_thread) as pool:
        for name in pool.map(grow_case, repeat(out), range(CASES)):
            advance(name)


def grow_case(out: Path, index: int) -> str:
    """Writes one phantom, unless it is there, and its slices to the cache; returns its name."""
    folder = case_folders(out / COHORT, CASES)[index]
    if not folder.exists():
        write_case(folder, make_phantom(SEED, index, SPACING))
    files = case_in(folder)
    cached_case(files, tuple(files.images), out / CACHE)
    return folder.name


def train_target(out: Path, target: str) -> Path:
    """Trains the model of one target."""
    return train(
        out / COHORT,
        target,
        out / target,
        method=load_method("spu", epochs=EPOCHS),
        validation=VALIDATION,
        seed=SEED,
        resume=True,
        cache=out / CACHE,
        hardware=Hardware(workers=max(CORES // len(TARGETS), 1)),
    )


def install(runs: Sequence[Path], real: Path | None) -> None:
    """Copies what prediction needs of each run into the package, and writes the models' cards.

    Args:
        runs: folders of the runs.
        real: file of ``python -m spuproj.benchmarks.real --out``, whose medians the cards then tell.
    """
    measured = None if real is None else read_json(real)
    for run in runs:
        config, _ = load_run(run)
        folder = FOLDER / run.name
        folder.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(run / name, folder / name)
        record = read_record(run)
        card = model_card(config, record, DATA, _numbers(config.target, record, measured))
        (folder / CARD).write_text(card, encoding="utf-8")


def _numbers(target: str, record: Record, real: Mapping[str, Any] | None) -> str:
    """How good a model is on the phantoms that it was validated on, and on real patients if they were measured."""
    lines = ["| patients | Dice | AUROC of wrong voxels |", "|---|---|---|"]
    lines.append(f"| {VALIDATION} phantoms, their slices that show the target | {record.metrics.dice:.3f} | |")
    if real is not None:
        found = real["medians"][target]
        patients = f"{real['patients']} real patients (medians), not trained on, but looked at in development"
        lines.append(f"| {patients} | {found['dice']:.3f} | {found['auroc']:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/models"), help="folder of phantoms and runs")
    parser.add_argument("--real", type=Path, help="what 'python -m spuproj.benchmarks.real --out' wrote, for the cards")
    given = parser.parse_args()
    install(make_models(given.out), given.real)
