"""Temperature scaling (Guo et al. 2017): one number for a model's logits, fitted on validation cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar
from torch import nn

from spuproj.training.data.case import Case, load_case
from spuproj.training.data.readers.case_files import CaseFiles
from spuproj.training.data.splits import chosen
from spuproj.training.evaluation.calibration import negative_log_likelihood
from spuproj.training.inference.case_prediction import mean_probabilities
from spuproj.training.models.config import ModelConfig
from spuproj.training.models.run import RECORD, load_run, write_config
from spuproj.training.models.training_record import read_record
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.json_file import read_json, write_json
from spuproj.training.runtime.progress import print_status, progress_bar

TEMPERATURES = 2.0 ** np.linspace(-3, 3, 25)
"""At which the likelihood is computed; between them it is interpolated. The middle one is 1."""

Curve = NDArray[np.float64]


@dataclass(frozen=True)
class Temperature:
    """The temperature of a model.

    Attributes:
        value: that the logits are divided by.
        nll_before, nll_after: negative log-likelihood of the cases at 1 and at this temperature, in nats.
    """

    value: float
    nll_before: float
    nll_after: float


def calibrate_run(run: Path, cases: Sequence[CaseFiles]) -> Temperature:
    """Fits the temperature of a finished run on its validation cases, and writes it to configuration and record.

    Args:
        run: folder of the run. Its record names the validation cases; no others are read.
        cases: of the data set that it was trained on.

    Raises:
        InputError: where the run or one of the cases cannot be used.
    """
    config, network = load_run(run)
    names = validation_cases(run)
    watched = chosen(cases, names, run / RECORD)
    curves = []
    with progress_bar(f"Calibrating {config.target}", len(watched)) as advance:
        for files in watched:
            case = load_case(files, config.modalities, with_labels=True, clip=config.clip)
            curves.append(likelihoods(config, network, case))
            advance(files.name)
    found = best_temperature(curves)
    if not TEMPERATURES[0] * 1.01 < found.value < TEMPERATURES[-1] / 1.01:
        print_status(
            f"warning: the temperature of {config.target} is at the end of its range, {TEMPERATURES[0]:g} to "
            f"{TEMPERATURES[-1]:g}: the validation cases are too few, or the model does not fit them"
        )
    # The record comes last: it says that the configuration is complete.
    write_config(run, replace(config, temperature=found.value))
    calibration = {"temperature": found.value, "nll": {"before": found.nll_before, "after": found.nll_after}}
    write_json(run / RECORD, {**read_json(run / RECORD), "calibration": {**calibration, "cases": names}})
    return found


def validation_cases(run: Path) -> list[str]:
    """The names of a run's validation cases. Raises InputError where its record has none."""
    names = read_record(run).data.validation.cases
    if not names:
        raise InputError(f"{run / RECORD} must name the validation cases of 'spuproj train', but does not; train again")
    return names


def is_calibrated(run: Path) -> bool:
    """Whether a finished run has a fitted temperature."""
    return read_record(run).calibration is not None


def likelihoods(config: ModelConfig, network: nn.Module, case: Case) -> Curve:
    """Negative log-likelihood of a case at each of ``TEMPERATURES``, over the brain, see ``best_temperature``.

    Args:
        config, network: of the model; a temperature that it already has plays no part.
        case: with labels, and with the model's modalities in their order.

    Raises:
        InputError: where the case's labels do not know the model's target, or as ``predict_case`` raises it.
    """
    truth, total = case.target(config.target), np.zeros(len(TEMPERATURES))
    for slices, means in mean_probabilities(config, network, case, TEMPERATURES.tolist()):
        brain = case.brain[slices]
        wanted = truth[slices][brain]
        total += [wanted.size * negative_log_likelihood(mean[brain].astype(float), wanted) for mean in means]
    mean: Curve = total / case.brain.sum()
    return mean


def best_temperature(curves: Sequence[Curve]) -> Temperature:
    """The temperature with the lowest negative log-likelihood, on average over cases.

    The likelihood is that of the mean over views of sigmoid(logit / T), because that mean is what prediction writes and
    evaluation measures. If instead each view were calibrated by itself, their mean would not be: averaging moves
    probabilities towards 1/2, the more the views disagree (Rahaman and Thiery 2021, Wu and Gales 2021).

    Args:
        curves: of each case, from ``likelihoods``.
    """
    mean = np.mean(curves, axis=0)
    steps, lowest = np.log(TEMPERATURES), int(mean.argmin())
    curve = CubicSpline(steps, mean)
    ends = float(steps[max(lowest - 1, 0)]), float(steps[min(lowest + 1, len(steps) - 1)])
    step = float(minimize_scalar(lambda at: float(curve(at)), bounds=ends, method="bounded", options={"xatol": 1e-6}).x)
    return Temperature(float(np.exp(step)), float(curve(0.0)), float(curve(step)))
