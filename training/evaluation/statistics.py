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
    """One measure over patients, without NaN.

    Attributes:
        patients: number of patients with a value.
        mean, median: over these patients.
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
        first, second: names of the methods.
        patients: number of patients with both values.
        median: of the differences, first minus second.
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
    """Summary of one measure; ``seed`` is for the bootstrap."""
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
    """Compares every pair of methods, given ``{method: {patient: value}}``."""
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
    """Two-sided p; 1 where no patient differs."""
    return float(stats.wilcoxon(difference).pvalue) if np.any(difference != 0) else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for multiple tests (Holm 1979)."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's correlation over pairs without NaN; NaN for fewer than three pairs or a constant side."""
    pairs = np.array([pair for pair in zip(first, second, strict=True) if not any(map(math.isnan, pair))])
    if len(pairs) < 3 or np.ptp(pairs[:, 0]) == 0 or np.ptp(pairs[:, 1]) == 0:
        return math.nan
    return float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
