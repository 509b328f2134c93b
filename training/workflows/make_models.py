"""Trains the models that come with the package, on phantoms alone (``python -m`` this module, or ``make models``).

Everything follows from the numbers below. A run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from spuproj.training.data.labels import TARGETS
from spuproj.training.fit.train import train
from spuproj.training.models.method import load_method
from spuproj.training.models.run import CONFIG, RECORD, WEIGHTS
from spuproj.training.models.trained_models import FOLDER
from spuproj.training.phantom.cohort import case_folders, make_phantom, write_case
from spuproj.training.runtime.execution import Hardware
from spuproj.training.runtime.progress import progress_bar

SEED = 2026
CASES = 128
VALIDATION = 4
SPACING = 2.0
EPOCHS = 7


def make_models(out: Path) -> list[Path]:
    """Trains one model for each target and returns their folders.

    Args:
        out: folder of the phantoms, the cache and the runs; what is there already is kept.
    """
    cohort = out / "cohort"
    with progress_bar("Growing phantoms", CASES) as advance:
        for index, folder in enumerate(case_folders(cohort, CASES)):
            if not folder.exists():
                write_case(folder, make_phantom(SEED, index, SPACING))
            advance(folder.name)
    method, hardware = load_method("spu", epochs=EPOCHS), Hardware(workers=1)
    return [
        train(
            cohort,
            target,
            out / target,
            method=method,
            validation=VALIDATION,
            seed=SEED,
            resume=True,
            cache=out / "cache",
            hardware=hardware,
        )
        for target in TARGETS
    ]


def install(runs: list[Path], package: Path = FOLDER) -> None:
    """Copies what prediction needs of each run into the package."""
    for run in runs:
        target = package / run.name
        target.mkdir(parents=True, exist_ok=True)
        for name in (CONFIG, WEIGHTS, RECORD):
            shutil.copyfile(run / name, target / name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/models"), help="folder of phantoms and runs")
    install(make_models(parser.parse_args().out))
