"""Ratios compare like with like, and goals take them from their own rows."""

from __future__ import annotations

import pytest

from made_up_rows import row, some_rows
from spuproj.benchmarks.goals import Goal, best_forms, cpu_goals, ns_per_element, over, over_limit, select
from spuproj.benchmarks.memory import MEMORY_CASE, Memory
from spuproj.benchmarks.ops.cases import (
    BACKWARD_AS_CALLED,
    BATCH,
    BATCH_AS_CALLED,
    FULL,
    KERNEL_CASE,
    PROJECT_CALL,
    REDUCE_AS_CALLED,
    REDUCE_CALL,
    SLICE,
    SLICE_AS_CALLED,
)
from spuproj.benchmarks.ops.contenders import BUFFERED, COPY, FRESH, KERNEL, ONE_CALL, OP, OURS
from spuproj.benchmarks.ops.peers import serving


def test_the_fastest_form_stands_for_a_peer():
    rows = some_rows()
    assert select(rows, SLICE, 1, "grid_sample").form == "planes as channels"
    assert select(rows, SLICE, 1, "grid_sample", "views as batch").median_s == 0.3
    assert select(rows, SLICE, 2, "grid_sample") is None
    assert [entry.form for entry in best_forms(rows) if entry.name == "grid_sample"] == ["planes as channels"]
    assert len([entry for entry in best_forms(rows) if entry.name == OURS]) == 2


def test_like_is_compared_with_like():
    rows = some_rows()
    assert over(select(rows, SLICE, 1, "scipy"), rows[0]) == pytest.approx(40)
    assert over(None, rows[0]) is None
    assert over_limit(rows, select(rows, SLICE, 1, OURS, BUFFERED)) == pytest.approx(2)
    assert over_limit(rows, select(rows, SLICE, 1, OURS, FRESH)) == pytest.approx(1.25)
    only_buffer = [entry for entry in rows if (entry.name, entry.form) != (COPY, FRESH)]
    assert over_limit(only_buffer, select(rows, SLICE, 1, OURS, FRESH)) == pytest.approx(4)
    assert over_limit(rows[:4], rows[0]) is None


def test_time_is_per_element_of_the_stack():
    assert ns_per_element(row(OURS, seconds=0.002)) == pytest.approx(2e6 / (9 * 4 * 240 * 240))


@pytest.mark.parametrize(
    ("measured", "smaller", "outcome"),
    [
        (80, False, "met"),
        (79, False, "not met"),
        (54, False, "not done"),
        (1.2, True, "met"),
        (1.3, True, "not met"),
        (1.8, True, "not done"),
        (None, True, "not measured"),
    ],
)
def test_a_goal_is_met_or_not(measured, smaller, outcome):
    goal, floor = (1.2, 1.7) if smaller else (80, 55)
    assert Goal("row", measured, goal, floor, smaller_is_better=smaller).outcome == outcome


def test_goals_take_their_rows_and_leave_out_what_was_not_measured():
    rows = [*some_rows(BATCH_AS_CALLED), *some_rows(BATCH), *some_rows(BATCH, 2)]
    assert [(goal.measured, goal.goal, goal.floor, goal.outcome) for goal in cpu_goals(rows, [], 2)] == [
        (pytest.approx(40), 80, 45, "not done"),
        (pytest.approx(10), 14, 9, "not met"),
        (pytest.approx(2), 1.2, 1.7, "not done"),
    ]


def test_every_goal_has_its_row_in_the_full_benchmark():
    rows = [
        entry
        for case in FULL
        for entry in (
            *some_rows(case),
            row("cv2", case=case),
            row(ONE_CALL, case=case),
            row(OURS, OP, case=case),
            row(KERNEL, BUFFERED, case=case),
        )
    ]
    found = cpu_goals(rows + some_rows(BATCH, 2), [Memory(MEMORY_CASE, 1.0, 4.0)], 2)
    as_called = [(80, 45), (14, 9), (60, 38), (3, 1.6), (12, 4), (25, 12), (40, 20)]
    assert [(goal.goal, goal.floor) for goal in found[:7]] == as_called
    assert all("as called" in goal.row and not goal.smaller_is_better for goal in found[:7])
    assert all(goal.smaller_is_better for goal in found[7:])
    assert len(found) == 13
    names = {case: {peer.name for peer in serving(case)} for case in FULL}
    main = {"scipy", "cv2", "grid_sample"}
    assert main == names[SLICE_AS_CALLED] == names[BATCH_AS_CALLED] == names[REDUCE_AS_CALLED]
    assert names[BACKWARD_AS_CALLED] == {"grid_sample"}


def test_the_cost_of_a_call_is_that_of_views_and_of_the_op_over_one_call_of_grid_sample():
    rows = [
        row(OURS, FRESH, 10.0, PROJECT_CALL),
        row(OURS, OP, 40.0, PROJECT_CALL),
        row(ONE_CALL, "", 2.0, PROJECT_CALL),
        row(OURS, FRESH, 20.0, REDUCE_CALL),
        row(ONE_CALL, "", 2.0, REDUCE_CALL),
    ]
    assert [(goal.measured, goal.outcome) for goal in cpu_goals(rows, [], 2)] == [
        (pytest.approx(5), "met"),
        (pytest.approx(20), "not done"),
        (pytest.approx(10), "met"),
    ]


@pytest.mark.parametrize(("seconds", "outcome"), [(1.04, "met"), (1.06, "not done")])
def test_a_call_may_take_a_twentieth_longer_than_its_kernel(seconds, outcome):
    rows = [row(OURS, BUFFERED, seconds, KERNEL_CASE), row(KERNEL, BUFFERED, 1.0, KERNEL_CASE)]
    assert [(goal.measured, goal.outcome) for goal in cpu_goals(rows, [], 2)] == [(pytest.approx(seconds), outcome)]
