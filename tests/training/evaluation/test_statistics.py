"""Statistics over patients, against scipy and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spuproj.training.evaluation.statistics import FEW, compare, correlate, holm, rank_correlation, summarise


def test_a_summary_leaves_out_nan_and_brackets_the_mean():
    values = [*np.random.default_rng(0).normal(5, 1, 40), math.nan]
    found = summarise(values)
    assert found.patients == 40
    assert found.mean == pytest.approx(np.mean(values[:-1]))
    assert found.median == pytest.approx(np.median(values[:-1]))
    error = np.std(values[:-1], ddof=1) / math.sqrt(40)
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.3 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.3 * error)
    assert summarise(values) == found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (0, math.nan, math.nan, math.nan, math.nan)),
        ([math.nan], (0, math.nan, math.nan, math.nan, math.nan)),
        ([2.0], (1, 2.0, 2.0, math.nan, math.nan)),
        ([1.0, 2.0, 6.0], (3, 3.0, 2.0, math.nan, math.nan)),
        ([*range(FEW - 1)], (FEW - 1, 4.0, 4.0, math.nan, math.nan)),
        ([2.0] * FEW, (FEW, 2.0, 2.0, 2.0, 2.0)),
    ],
)
def test_summaries_of_few_or_equal_numbers(values, expected):
    found = summarise(values)
    assert (found.patients, found.mean, found.median, found.low, found.high) == pytest.approx(expected, nan_ok=True)


def test_pairs_are_compared_on_the_patients_that_both_have():
    random = np.random.default_rng(1)
    first = {f"p{n}": float(value) for n, value in enumerate(random.normal(1, 1, 20))}
    second = {name: value - 0.4 + float(random.normal(0, 0.3)) for name, value in first.items() if name != "p3"}
    second["p5"] = math.nan
    third = {name: value + float(random.normal(0, 0.5)) for name, value in first.items()}
    found = compare({"a": first, "b": second, "c": third})
    assert [(each.first, each.second, each.patients) for each in found] == [
        ("a", "b", 18),
        ("a", "c", 20),
        ("b", "c", 18),
    ]
    common = [name for name in second if name != "p5"]
    own = stats.wilcoxon([first[name] for name in common], [second[name] for name in common]).pvalue
    assert found[0].p == pytest.approx(own)
    assert found[0].adjusted == pytest.approx(min(1, 3 * own))
    assert found[0].median == pytest.approx(np.median([first[name] - second[name] for name in common]))


def test_methods_that_agree_everywhere_do_not_differ():
    (found,) = compare({"a": {"x": 1.0, "y": 2.0}, "b": {"x": 1.0, "y": 2.0}})
    assert (found.p, found.adjusted, found.median) == (1.0, 1.0, 0.0)


def test_methods_without_a_common_patient():
    (found,) = compare({"a": {"x": 1.0}, "b": {"y": 2.0}})
    assert found.patients == found.different == 0
    assert all(math.isnan(value) for value in (found.median, found.p, found.adjusted))


def test_pairs_without_a_common_patient_are_no_tests_to_correct_for():
    random = np.random.default_rng(2)
    values = {name: {f"p{n}": float(value) for n, value in enumerate(random.normal(size=12))} for name in "ab"}
    (alone,) = compare(values)
    both, *others = compare(values | {"c": {"other": 1.0}})
    assert both == alone
    assert both.adjusted == both.p
    assert [(each.patients, math.isnan(each.adjusted)) for each in others] == [(0, True), (0, True)]


def test_the_number_of_differences_leaves_out_those_of_zero():
    (found,) = compare({"a": {"x": 1.0, "y": 2.0, "z": 0.5}, "b": {"x": 1.0, "y": 3.0, "z": 0.0}})
    assert (found.patients, found.different) == (3, 2)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_value_nor_changes_the_order(p):
    adjusted = holm(p)
    assert all(own <= wider <= 1 for own, wider in zip(p, adjusted, strict=True))
    order = sorted(range(len(p)), key=lambda index: p[index])
    assert [adjusted[index] for index in order] == sorted(adjusted)


def test_rank_correlation_is_that_of_scipy_without_nan():
    first, second = [1.0, 2.0, math.nan, 4.0, 3.0], [2.0, 1.0, 5.0, 9.0, 4.0]
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr([1, 2, 4, 3], [2, 1, 9, 4]).statistic)
    assert rank_correlation([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == pytest.approx(0.5)
    assert math.isnan(rank_correlation([1.0, 2.0], [1.0, 2.0]))
    assert math.isnan(rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))


def test_a_correlation_has_the_interval_of_a_bootstrap_over_patients():
    random = np.random.default_rng(2)
    first = random.normal(size=40)
    second = first + random.normal(size=40)
    found = correlate([*first, math.nan], [*second, 1.0])
    assert (found.patients, found.doubt) == (40, "")
    assert found.value == rank_correlation(list(first), list(second))
    drawn = [random.integers(0, 40, 40) for _ in range(4000)]
    expected = np.percentile([stats.spearmanr(first[each], second[each]).statistic for each in drawn], (2.5, 97.5))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.02)
    assert correlate([*first, math.nan], [*second, 1.0]) == found


@pytest.mark.parametrize(
    ("first", "value", "doubt"),
    [
        ([], math.nan, "at least 3 patients must have both values, got 0"),
        ([1.0, 2.0, math.nan], math.nan, "at least 3 patients must have both values, got 2"),
        ([1.0] * 12, math.nan, "a measure is the same in all patients"),
        ([3.0, 2.0, 1.0, 0.0], -1.0, f"4 patients are too few for an interval, at least {FEW} are needed"),
    ],
)
def test_too_few_patients_are_said_and_get_no_interval(first, value, doubt):
    found = correlate(first, [float(place) for place in range(len(first))])
    assert (found.value, found.low, found.high) == pytest.approx((value, math.nan, math.nan), nan_ok=True)
    assert found.doubt == doubt


def test_a_correlation_of_patients_that_mostly_agree_leaves_out_draws_of_equals():
    found = correlate([0.0] * 9 + [1.0], [float(place) for place in range(10)])
    assert -1 <= found.low < found.high <= 1
