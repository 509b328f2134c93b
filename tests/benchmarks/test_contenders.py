"""Which cases are measured, and who takes part in them, in which way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spuproj import Views
from spuproj.benchmarks.ops.cases import (
    BATCH,
    FULL,
    GPU,
    HEADLINE,
    KERNEL_CASE,
    OPS,
    PEERS,
    PROJECT_CALL,
    REDUCE_CALL,
    SHORT,
    SMALL,
    Case,
    copied_bytes,
    read_and_written,
    scaling_points,
)
from spuproj.benchmarks.ops.contenders import (
    BUFFERED,
    FIRST_CALL,
    FRESH,
    KERNEL,
    ONE_CALL,
    OP,
    OP_BUFFERED,
    OURS,
    WEIGHTED,
    contenders,
    ours_as,
)
from spuproj.benchmarks.ops.peers import serving
from spuproj.benchmarks.ops.truth import make_problem


@pytest.mark.parametrize("plan", [FULL, SHORT, GPU])
def test_every_case_is_there_once(plan):
    assert len({case.label for case in plan}) == len(set(plan)) == len(plan)


@pytest.mark.parametrize("plan", [FULL, SHORT])
def test_every_op_and_every_peer_is_measured(plan):
    assert {case.op for case in plan} == set(OPS)
    assert {peer.name for case in plan for peer in serving(case)} == set(PEERS)


def test_calls_as_users_make_them_come_first_and_are_plain():
    assert FULL[: len(HEADLINE)] == HEADLINE
    assert [(case.op, case.batch, case.channels) for case in HEADLINE] == [
        ("project", 16, 4),
        ("project", 1, 4),
        ("project backward", 16, 4),
        ("reduce", 16, 1),
    ]
    assert {replace(case, op="project", batch=1, channels=4, way="") for case in HEADLINE} == {Case()}


@pytest.mark.parametrize("case", HEADLINE, ids=lambda case: case.label)
def test_everyone_makes_a_new_result_at_each_call_as_called(case):
    pytest.importorskip("cv2")
    entries = contenders(make_problem(replace(case, batch=2, views=4, size=(24, 20))))
    forms = [FRESH, WEIGHTED] if case.op == "reduce" else [FRESH]
    assert [entry.form for entry in entries if entry.name == OURS] == forms
    for entry in entries:
        kept = [entry.call() for _ in range(3)]
        places = [addresses(result) for result in kept]
        assert len(set().union(*places)) == 3 * len(places[0]), entry.name


def addresses(result: object) -> list[int]:
    """Where the arrays of a result begin."""
    parts = result if isinstance(result, tuple) else (result,)
    return [part.data_ptr() if isinstance(part, torch.Tensor) else part.ctypes.data for part in parts]


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (PROJECT_CALL, [(OURS, FRESH), (OURS, OP), (ONE_CALL, "")]),
        (REDUCE_CALL, [(OURS, FRESH), (ONE_CALL, "")]),
        (KERNEL_CASE, [(KERNEL, BUFFERED), (OURS, BUFFERED), (OURS, OP_BUFFERED)]),
    ],
    ids=lambda value: getattr(value, "label", None),
)
def test_a_calls_cost_and_the_kernels_share_have_their_own_contenders(case, expected):
    assert [(entry.name, entry.form) for entry in contenders(make_problem(case))] == expected


def test_the_first_call_never_meets_the_same_views(monkeypatch):
    problem = make_problem(SMALL)
    seen = []
    monkeypatch.setattr(Views, "project", lambda views, *_, **__: seen.append(views.geometry))
    entry = ours_as(FIRST_CALL, problem)
    for _ in range(3):
        entry.call()
    assert len({table.numpy().tobytes() for table in (*seen, problem.views.geometry)}) == 4
    torch.testing.assert_close(seen[-1], problem.views.geometry, rtol=1e-12, atol=0)


def test_the_bytes_are_those_of_the_tensors():
    image, stack = 4 * 16 * 4 * 240 * 240, 9 * 4 * 16 * 4 * 240 * 240
    assert read_and_written(BATCH) == (image, stack)
    assert copied_bytes(BATCH) == stack
    assert read_and_written(replace(BATCH, op="project backward")) == (stack, image)
    assert copied_bytes(replace(BATCH, op="project backward")) == (stack + image) // 2
    assert read_and_written(replace(BATCH, op="reduce")) == (stack, 3 * image)
    assert read_and_written(replace(BATCH, dtype="float16")) == (image // 2, stack // 2)


@pytest.mark.parametrize(("threads", "numbers"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_threads_are_doubled_up_to_all(threads, numbers):
    points = list(scaling_points(threads, short=False))
    assert [number for axis, case, number in points if (axis, case.op) == ("threads", "project")] == numbers
