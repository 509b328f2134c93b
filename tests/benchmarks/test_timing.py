"""Contenders take turns, each as its case is to be measured."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from spuproj.benchmarks import timing
from spuproj.benchmarks.ops.cases import AS_CALLED, SMALL
from spuproj.benchmarks.ops.contenders import Contender
from spuproj.benchmarks.timing import as_called, in_turns, measure, over_and_over, threads

OTHER_MEMORY = torch.zeros(1)


def turn_as_called(call):
    return as_called(OTHER_MEMORY, Contender("", "", call))


def repeated_turn(call):
    return over_and_over("cpu", Contender("", "", call))


@pytest.mark.parametrize(("turn_of", "groups"), [(turn_as_called, 5), (repeated_turn, 6)])
def test_calls_take_turns_for_at_least_five_rounds(turn_of, groups):
    order = []
    seconds = in_turns([turn_of(lambda: order.append("a")), turn_of(lambda: order.append("b"))], budget=0)
    assert [len(times) for times in seconds] == [5, 5]
    assert all(time > 0 for times in seconds for time in times)
    turns = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    assert turns == ["a", "b"] * groups


def test_no_other_round_begins_after_the_limit():
    rounds = []
    seconds = in_turns([lambda: rounds.append(1) or 1.0], budget=0, rounds=7, limit=0)
    assert (seconds, len(rounds)) == ([(1.0,)], 1)


def test_other_memory_is_touched_before_every_call_as_called():
    other, seen = torch.zeros(3), []
    in_turns([as_called(other, Contender("", "", lambda: seen.append(other.tolist())))], budget=0)
    assert seen == [[step] * 3 for step in (1, 2, 3, 4, 5)]


def test_a_result_is_dropped_before_the_next_one_is_made():
    results: list[Callable[[], object]] = []

    def call() -> torch.Tensor:
        assert all(result() is None for result in results)
        made = torch.empty(1)
        results.append(weakref.ref(made))
        return made

    in_turns([turn_as_called(call), repeated_turn(call)], budget=0)
    assert len(results) > 10


def test_a_call_on_a_part_of_the_batch_counts_as_often_as_it_would_take():
    def call() -> None:
        torch.zeros(100_000).sin()

    whole, part = (Contender("", "", call, parts=parts) for parts in (1, 1000))
    seconds = in_turns([over_and_over("cpu", whole), over_and_over("cpu", part)], budget=0)
    assert min(seconds[1]) > 20 * min(seconds[0])  # Other processes only make a call slower.


def test_only_headline_cases_are_measured_as_called(monkeypatch):
    used = []
    for name in ("as_called", "over_and_over"):
        monkeypatch.setattr(timing, name, lambda given, entry, name=name: used.append((name, given)) or (lambda: 1.0))
    little = replace(SMALL, size=(11, 9), peers=())
    measure(replace(little, way=AS_CALLED))
    (kinds, others) = zip(*used, strict=True)
    assert set(kinds) == {"as_called"}
    assert {(other.data_ptr(), other.numel()) for other in others} == {(others[0].data_ptr(), 24_000_000)}
    used.clear()
    measure(little)
    assert set(used) == {("over_and_over", "cpu")}


def test_rows_hold_median_range_and_number_of_rounds(monkeypatch):
    times = iter([3.0, 1.0, 2.0, 9.0, 4.0])
    monkeypatch.setattr(timing, "contenders", lambda problem: [Contender("one", "form", lambda: None)])
    monkeypatch.setattr(timing, "over_and_over", lambda device, entry: lambda: next(times))
    (row,) = measure(SMALL)
    assert (row.name, row.form, row.threads, row.error) == ("one", "form", 1, None)
    assert (row.median_s, row.min_s, row.max_s, row.rounds) == (3.0, 1.0, 9.0, 5)
    assert 0 < row.valid < 1


@pytest.mark.usefixtures("keep_threads")
def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
