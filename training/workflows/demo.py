"""Demo: a phantom cohort, three models, and the maps, table and figure of an unseen phantom."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

from rich.table import Table

from spuproj.training.data.case import load_case, load_slices
from spuproj.training.data.labels import TARGETS
from spuproj.training.evaluation.metrics import ErrorUncertainty, error_uncertainty
from spuproj.training.fit.train import train
from spuproj.training.inference.outputs import map_name
from spuproj.training.models.method import load_method
from spuproj.training.phantom.cohort import write_cohort
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import inside
from spuproj.training.runtime.json_file import write_json
from spuproj.training.runtime.locks import LOCK, held
from spuproj.training.runtime.progress import progress_bar, show
from spuproj.training.workflows.predict import predict

# Chosen so that the demo takes less than six minutes on two cores; augmentation would take half of them.
TRAINING_CASES = 14
SPACING = 2.0
EPOCHS = 12
UNSEEN_SEED = 1005
MARK = ".spuproj-demo"
PARTS = ("cohort", "models", "patient", "prediction")


def run_demo(out: Path, *, seed: int = 0, force: bool = False) -> Path:
    """Writes a phantom cohort, trains a model per target, predicts an unseen phantom and prints a table.

    The table measures the written maps, in which outer targets include the inner ones, as ``spuproj evaluate`` does.

    Args:
        out: folder for everything: ``cohort``, ``models``, ``patient`` and ``prediction``.
        seed: of the cohort and the training.
        force: remove an earlier demo in ``out`` first.

    Returns:
        The figure of the predicted phantom.

    Raises:
        InputError: where ``out`` is not empty and ``force`` is not set, it is not an earlier demo, or another process
            writes to it.
    """
    with held(out):
        _prepare(out, force)
        start = time.monotonic()
        with progress_bar("Growing phantoms", TRAINING_CASES + 1) as advance:
            write_cohort(out / "cohort", TRAINING_CASES, seed, SPACING, on_case=advance)
            (patient,) = write_cohort(out / "patient", 1, seed + UNSEEN_SEED, SPACING, on_case=advance)
        method = replace(load_method("spu"), epochs=EPOCHS, oversampling=1.0)
        models = [
            train(out / "cohort", target, out / "models" / target, method=method, seed=seed, augment=False)
            for target in TARGETS
        ]
        written = predict(models, patient, out / "prediction")
        scores = _scores(patient, out / "prediction")
        write_json(out / "scores.json", {target: asdict(value) for target, value in scores.items()})
    show(_table(patient.name, scores))
    print(f"picture      {written[-1]}")
    print(f"NIfTI maps   {out / 'prediction'}")
    print(f"models       {out / 'models'}")
    print(f"cohort       {out / 'cohort'}")
    print(f"took {time.monotonic() - start:.0f} s")
    return written[-1]


def _prepare(out: Path, force: bool) -> None:
    """Makes an empty folder with a marker file, without which ``force`` removes nothing."""
    if any(path.name != LOCK for path in out.iterdir()):
        if not force:
            raise InputError(f"{out} exists already; pass --force to write over it")
        if not (out / MARK).is_file():
            raise InputError(f"{out} must be empty or hold an earlier demo to be replaced, but holds something else")
        for part in PARTS:
            shutil.rmtree(out / part, ignore_errors=True)
    (out / MARK).touch()


def _scores(patient: Path, prediction: Path) -> dict[str, ErrorUncertainty]:
    """Metrics of each target, from the written files."""
    case = load_case(patient, with_labels=True)
    scores = {}
    for target in TARGETS:
        segmentation, variance = (
            load_slices(inside(prediction, map_name(patient.name, target, kind))) for kind in ("seg", "var")
        )
        scores[target] = error_uncertainty(case.target(target), segmentation > 0, variance, case.brain)
    return scores


def _table(name: str, scores: dict[str, ErrorUncertainty]) -> Table:
    table = Table(title=f"{name}, not seen in training: Dice, and mean variance over views")
    for heading in ("target", "Dice", "correct", "correct, in target", "wrong", "wrong / correct"):
        table.add_column(heading, justify="left" if heading == "target" else "right")
    for target, value in scores.items():
        means = (value.uncertainty_correct, value.uncertainty_inside, value.uncertainty_wrong)
        ratio = value.uncertainty_wrong / value.uncertainty_correct if value.uncertainty_correct > 0 else float("nan")
        table.add_row(target, f"{value.dice:.3f}", *(f"{mean:.5f}" for mean in means), f"{ratio:.0f}")
    return table
