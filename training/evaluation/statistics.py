"""Numbers of many patients: their middle, how sure of it one can be, and whether methods differ."""

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
    """One measure over patients; NaN left out.

    Attributes:
        patients: how many had a number.
        mean, median: of theirs.
        low, high: 95 percent bootstrap interval of the mean (percentile); NaN for fewer than two patients.
    """

    patients: int
    mean: float
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Two methods on the same patients.

    Attributes:
        first, second: their names.
        patients: that have both numbers.
        median: of the differences, first less second.
        p: of the paired Wilcoxon signed-rank test, two-sided.
        adjusted: the same after Holm's correction for all pairs that were compared.
    """

    first: str
    second: str
    patients: int
    median: float
    p: float
    adjusted: float


def summarise(values: Sequence[float], seed: int = 0) -> Summary:
    """The summary of one measure; the seed is the bootstrap's."""
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
    """Every pair of methods, by their numbers ``{method: {patient: number}}``."""
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
    """1 where no patient differs."""
    return float(stats.wilcoxon(difference).pvalue) if np.any(difference != 0) else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for as many tests (Holm 1979)."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = largest
    return adjusted


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's, of the patients that have both numbers; NaN for fewer than three or where either never changes."""
    pairs = np.array([pair for pair in zip(first, second, strict=True) if not any(map(math.isnan, pair))])
    if len(pairs) < 3 or np.ptp(pairs[:, 0]) == 0 or np.ptp(pairs[:, 1]) == 0:
        return math.nan
    return float(stats.spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
