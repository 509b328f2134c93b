"""Statistics over patients: mean, median, bootstrap interval, paired tests, rank correlation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 9999
"""Draws of a bootstrap, whose seed is always the same: an evaluation that is repeated gives the same intervals."""

FEW = 10
"""A bootstrap of fewer patients has no meaningful interval: of normal values, 95 percent would be 80 with four."""


@dataclass(frozen=True)
class Summary:
    """One measure over patients; NaN is left out.

    Attributes:
        patients: number of patients with a value.
        mean, median: of their values.
        low, high: 95 percent bootstrap interval of the mean (percentile); NaN for fewer than ``FEW`` patients.
    """

    patients: int
    mean: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Paired comparison of two methods.

    Attributes:
        first, second: their names.
        patients: number of patients with values of both methods.
        different: number of those whose values differ; the test uses no others.
        median: of the differences, first less second.
        p: of the paired Wilcoxon signed-rank test, two-sided; NaN where no patient has both values.
        adjusted: p after Holm's correction for the number of pairs that have one.
    """

    first: str
    second: str
    patients: int
    different: int
    median: float
    p: float
    adjusted: float


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of two measures over patients.

    Attributes:
        patients: number of patients with both values.
        value: from -1 to 1; NaN for fewer than three patients, or where one of the measures is constant.
        low, high: 95 percent bootstrap interval; NaN where the value is, or with fewer than ``FEW`` patients.
        doubt: why the value says little, or is missing; "" where there is nothing to say.
    """

    patients: int
    value: float
    low: float
    high: float
    doubt: str


def mean_of_known(values: Sequence[float]) -> float:
    """The mean of the values that are not NaN; NaN where there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def summarise(values: Sequence[float]) -> Summary:
    """Summarises one measure, with a bootstrap (percentile method, Efron and Tibshirani 1993).

    Args:
        values: one for each patient; NaN is left out.
    """
    known = np.array([value for value in values if not math.isnan(value)])
    if known.size == 0:
        return Summary(0, math.nan, math.nan, math.nan, math.nan)
    mean, median = float(known.mean()), float(np.median(known))
    if known.size < FEW:
        return Summary(known.size, mean, median, math.nan, math.nan)
    if np.ptp(known) == 0:
        return Summary(known.size, mean, median, mean, mean)
    interval = stats.bootstrap(
        (known,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Summary(known.size, mean, median, float(interval.low), float(interval.high))


def compare(values: Mapping[str, Mapping[str, float]]) -> list[Difference]:
    """Compares every pair of methods, given ``{method: {patient: value}}``, on the patients that both have."""
    pairs = [(first, second, _paired(values[first], values[second])) for first, second in combinations(values, 2)]
    p = [_wilcoxon(difference) for _, _, difference in pairs]
    return [
        Difference(
            first, second, difference.size, int(np.count_nonzero(difference)), _median(difference), own, adjusted
        )
        for (first, second, difference), own, adjusted in zip(pairs, p, holm(p), strict=True)
    ]


def _paired(first: Mapping[str, float], second: Mapping[str, float]) -> NDArray[np.float64]:
    difference = np.array([first[patient] - second[patient] for patient in first if patient in second])
    return difference[~np.isnan(difference)] if difference.size else difference


def _median(difference: NDArray[np.float64]) -> float:
    return float(np.median(difference)) if difference.size else math.nan


def _wilcoxon(difference: NDArray[np.float64]) -> float:
    """The p value of the two-sided Wilcoxon signed-rank test; 1 where no patient differs, NaN without patients."""
    if difference.size == 0:
        return math.nan
    return float(stats.wilcoxon(difference).pvalue) if np.any(difference != 0) else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for multiple tests, in the same order (Holm 1979). NaN is no test, and stays NaN."""
    tests = sorted((value, index) for index, value in enumerate(p) if not math.isnan(value))
    adjusted, largest = [math.nan] * len(p), 0.0
    for rank, (value, index) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - rank) * value))
        adjusted[index] = largest
    return adjusted


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, from -1 to 1, over the patients that have both values.

    NaN for fewer than three such patients, or where one of the two measures is constant.
    """
    pairs = _pairs(first, second)
    if len(pairs) < 3 or _constant(pairs):
        return math.nan
    return float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def correlate(first: Sequence[float], second: Sequence[float]) -> Correlation:
    """The rank correlation of two measures with its interval.

    The bootstrap (percentile method) leaves out draws of patients in which a measure is constant: they have none.

    Args:
        first, second: one value for each patient, in the same order; NaN is left out.
    """
    pairs, value = _pairs(first, second), rank_correlation(first, second)
    count = len(pairs)
    if count < 3:
        doubt = f"at least 3 patients must have both values, got {count}"
        return Correlation(count, value, math.nan, math.nan, doubt)
    if _constant(pairs):
        return Correlation(count, value, math.nan, math.nan, "a measure is the same in all patients")
    if count < FEW:
        doubt = f"{count} patients are too few for an interval, at least {FEW} are needed"
        return Correlation(count, value, math.nan, math.nan, doubt)
    low, high = np.nanpercentile(_resampled(pairs), (2.5, 97.5))
    return Correlation(count, value, float(low), float(high), "")


def _pairs(first: Sequence[float], second: Sequence[float]) -> NDArray[np.float64]:
    """The values ``[patients, 2]`` of the patients that have both."""
    both = [pair for pair in zip(first, second, strict=True) if not any(map(math.isnan, pair))]
    return np.array(both, dtype=np.float64).reshape(-1, 2)


def _constant(pairs: NDArray[np.float64]) -> bool:
    return bool((np.ptp(pairs, axis=0) == 0).any())


def _resampled(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank correlation of each draw of patients, NaN where one of the two measures is constant."""

    def spearman(first: NDArray[np.float64], second: NDArray[np.float64], axis: int) -> Any:
        return stats.pearsonr(*(stats.rankdata(each, axis=axis) for each in (first, second)), axis=axis).statistic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", (stats.ConstantInputWarning, stats.DegenerateDataWarning))
        drawn: NDArray[np.float64] = stats.bootstrap(
            tuple(pairs.T), spearman, paired=True, n_resamples=RESAMPLES, method="percentile",
            rng=np.random.default_rng(0), vectorized=True, batch=1000,
        ).bootstrap_distribution  # fmt: skip
    return drawn
