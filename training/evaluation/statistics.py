"""Per-patient summaries: mean, median, bootstrap interval, paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 9999


@dataclass(frozen=True)
class Summary:
    """One measure over patients; NaN is left out.

    Attributes:
        patients: number of patients with a value.
        mean, median: of their values.
        low, high: 95 percent bootstrap interval of the mean (percentile); NaN for fewer than two patients.
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
        median: of the differences, first less second.
        p: of the paired Wilcoxon signed-rank test, two-sided.
        adjusted: p after Holm's correction for the number of pairs.
    """

    first: str
    second: str
    patients: int
    median: float
    p: float
    adjusted: float


def summarise(values: Sequence[float], seed: int = 0) -> Summary:
    """Summarises one measure.

    Args:
        values: one for each patient; NaN is left out.
        seed: of the bootstrap, which draws ``RESAMPLES`` times (percentile method, Efron and Tibshirani 1993).
    """
    known = np.array([value for value in values if not math.isnan(value)])
    if known.size == 0:
        return Summary(0, math.nan, math.nan, math.nan, math.nan)
    mean, median = float(known.mean()), float(np.median(known))
    if known.size == 1:
        return Summary(1, mean, median, math.nan, math.nan)
    if np.ptp(known) == 0:
        return Summary(known.size, mean, median, mean, mean)
    interval = stats.bootstrap(
        (known,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return Summary(known.size, mean, median, float(interval.low), float(interval.high))


def compare(values: Mapping[str, Mapping[str, float]]) -> list[Difference]:
    """Compares every pair of methods, given ``{method: {patient: value}}``, on the patients that both have."""
    pairs = [(first, second, _paired(values[first], values[second])) for first, second in combinations(values, 2)]
    p = [_wilcoxon(difference) for _, _, difference in pairs]
    return [
        Difference(first, second, difference.size, _median(difference), own, adjusted)
        for (first, second, difference), own, adjusted in zip(pairs, p, holm(p), strict=True)
    ]


def _paired(first: Mapping[str, float], second: Mapping[str, float]) -> NDArray[np.float64]:
    difference = np.array([first[patient] - second[patient] for patient in first if patient in second])
    return difference[~np.isnan(difference)] if difference.size else difference


def _median(difference: NDArray[np.float64]) -> float:
    return float(np.median(difference)) if difference.size else math.nan


def _wilcoxon(difference: NDArray[np.float64]) -> float:
    """The p value of the two-sided Wilcoxon signed-rank test; 1 where no patient differs."""
    return float(stats.wilcoxon(difference).pvalue) if np.any(difference != 0) else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for multiple tests, in the same order (Holm 1979)."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, from -1 to 1, over the patients that have both values.

    NaN for fewer than three such patients, or where one of the two measures is constant.
    """
    pairs = np.array([pair for pair in zip(first, second, strict=True) if not any(map(math.isnan, pair))])
    if len(pairs) < 3 or np.ptp(pairs[:, 0]) == 0 or np.ptp(pairs[:, 1]) == 0:
        return math.nan
    return float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
