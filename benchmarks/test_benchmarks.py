"""Every contender on every case: its result is checked against the reference, then pytest-benchmark times it.

``pytest benchmarks --benchmark-disable -m "not slow"`` checks all of them on small shapes and times none.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from spuproj.benchmarks.cases import FULL, SHORT, Case
from spuproj.benchmarks.contenders import OURS, Contender, contenders, our_forms, serving
from spuproj.benchmarks.measuring import checked
from spuproj.benchmarks.problems import make_problem
from spuproj.benchmarks.truth import Truth, make_truth

ROUNDS = 5


@lru_cache(maxsize=1)
def prepared(case: Case) -> tuple[Truth, dict[tuple[str, str], Contender]]:
    """A case's right results, and its contenders by name and form. One case is kept at a time."""
    problem = make_problem(case)
    return make_truth(problem), {(entry.name, entry.form): entry for entry in contenders(problem)}


def entries(case: Case) -> list[tuple[str, str]]:
    return [(OURS, form) for form in our_forms(case)] + [(peer.name, peer.form) for peer in serving(case)]


@pytest.mark.parametrize(
    ("case", "entry"),
    [
        pytest.param(
            case,
            entry,
            id="-".join(filter(None, (case.label, *entry))),
            marks=() if case in SHORT else pytest.mark.slow,
        )
        for case in dict.fromkeys((*SHORT, *FULL))
        for entry in entries(case)
    ],
)
def test_contender(benchmark: BenchmarkFixture, case: Case, entry: tuple[str, str]) -> None:
    truth, known = prepared(case)
    benchmark.extra_info["error"] = checked(known[entry], truth)
    benchmark.group = case.label
    benchmark.pedantic(known[entry].call, rounds=ROUNDS, warmup_rounds=1)
