"""Every contender on every case: its result is checked against the reference, then pytest-benchmark times it.

``pytest benchmarks --benchmark-disable -m "not slow"`` checks all of them on small shapes and times none.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from spuproj.benchmarks.ops.cases import FULL, SHORT, Case
from spuproj.benchmarks.ops.contenders import OURS, Contender, contenders, our_forms
from spuproj.benchmarks.ops.peers import serving
from spuproj.benchmarks.ops.truth import Truth, make_problem, make_truth
from spuproj.benchmarks.timing import FEWEST_ROUNDS, checked


@lru_cache(maxsize=1)
def prepared(case: Case) -> tuple[Truth, dict[tuple[str, str], Contender]]:
    """A case's right results, and its contenders by name and form. One case is kept at a time."""
    problem = make_problem(case)
    return make_truth(problem), {(entry.name, entry.form): entry for entry in contenders(problem)}


PAIRS = [
    pytest.param(case, (name, form), id="-".join(filter(None, (case.label, name, form))),
                 marks=() if case in SHORT else pytest.mark.slow)
    for case in dict.fromkeys((*SHORT, *FULL))
    for name, form in [(OURS, form) for form in our_forms(case)] + [(peer.name, peer.form) for peer in serving(case)]
]  # fmt: skip


@pytest.mark.parametrize(("case", "entry"), PAIRS)
def test_contender(benchmark: BenchmarkFixture, case: Case, entry: tuple[str, str]) -> None:
    truth, known = prepared(case)
    benchmark.extra_info["error"], _ = checked(known[entry], truth)
    benchmark.group = case.label
    benchmark.pedantic(known[entry].call, rounds=FEWEST_ROUNDS, warmup_rounds=1)
