"""The benchmark's own parts: what it compares with, its ratios, goals, tables and files."""

from __future__ import annotations

import ast
import json
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import ROOT, noise, run_python
from spuproj import Views, reference
from spuproj.benchmarks import bench, machine, measuring, timing
from spuproj.benchmarks.cases import (
    AS_CALLED,
    BACKWARD_AS_CALLED,
    BATCH,
    BATCH_AS_CALLED,
    FULL,
    HEADLINE,
    KERNEL_CASE,
    OPS,
    PEERS,
    PROJECT_CALL,
    REDUCE_AS_CALLED,
    REDUCE_CALL,
    SHORT,
    SLICE,
    SLICE_AS_CALLED,
    SMALL,
    Case,
    copied_bytes,
    read_and_written,
)
from spuproj.benchmarks.contenders import (
    BUFFERED,
    COPY,
    FIRST_CALL,
    FRESH,
    KERNEL,
    ONE_CALL,
    OP,
    OURS,
    contenders,
    moments,
    our_contenders,
    serving,
)
from spuproj.benchmarks.files import refuse_overwrite, write_whole
from spuproj.benchmarks.goals import Goal, goals
from spuproj.benchmarks.measuring import Row, checked, measure
from spuproj.benchmarks.memory import MEMORY_CASE, Memory, measure_memory
from spuproj.benchmarks.plots import ratios_picture, scaling_picture
from spuproj.benchmarks.problems import make_problem
from spuproj.benchmarks.ratios import (
    best_forms,
    gigabytes_per_second,
    ns_per_element,
    over_limit,
    select,
    speedup,
)
from spuproj.benchmarks.record import Record, to_json
from spuproj.benchmarks.scaling import points, thread_numbers
from spuproj.benchmarks.tables import aligned, goals_table, main_table, text
from spuproj.benchmarks.timing import Timing, as_called, in_turns, over_and_over, threads
from spuproj.benchmarks.truth import difference, make_truth

LITTLE = replace(SMALL, batch=2, channels=3, size=(11, 9))


def row(name: str, form: str = "", seconds: float = 1.0, case: Case = SLICE, threads: int = 1, **other) -> Row:
    timing = Timing(seconds, seconds / 2, seconds * 2, 5)
    settings = {"threaded": True, "error": None if name == COPY else 1e-6, "valid": 0.5}
    return Row(case, name, form, threads, **{**settings, **other}, timing=timing)


def some_rows(case: Case = SLICE, threads: int = 1) -> list[Row]:
    common = {"case": case, "threads": threads}
    return [
        row(OURS, FRESH, 0.02, **common),
        row(OURS, BUFFERED, 0.01, **common),
        row("scipy", "", 0.8, threaded=False, **common),
        row("grid_sample", "views as batch", 0.3, **common),
        row("grid_sample", "planes as channels", 0.2, **common),
        row(COPY, BUFFERED, 0.005, **common),
        row(COPY, FRESH, 0.016, **common),
    ]


def some_record() -> Record:
    rows = some_rows(SLICE_AS_CALLED) + some_rows() + some_rows(threads=2)
    memory = [Memory(replace(MEMORY_CASE, views=views), 0.5, 4.0) for views in (1, 4, 9)]
    places = [(point, some_rows(point.case, point.threads)) for point in points(2, short=True)]
    return Record(False, rows, goals(rows, memory, 2), places, memory)


# What results are compared with.


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("op", ["project", "unproject", "reduce"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_the_truth_of_a_forward_op_is_the_reference(op, interpolation, per_sample):
    problem = make_problem(replace(LITTLE, op=op, interpolation=interpolation, per_sample=per_sample))
    function = {"reduce": "unproject_reduce"}.get(op, op)
    for sample in range(LITTLE.batch):
        table = problem.views.geometry[sample] if per_sample else problem.views.geometry
        right = getattr(reference, function)(
            problem.planes[sample : sample + 1].double().numpy(), table.numpy(), LITTLE.size, interpolation
        )
        for part, expected in zip(make_truth(problem).results, right if op == "reduce" else [right], strict=True):
            np.testing.assert_allclose(part[sample], expected[0], atol=1e-12)


@pytest.mark.parametrize("op", ["project", "unproject"])
def test_the_truth_of_a_backward_op_is_the_references_adjoint(op):
    problem = make_problem(replace(LITTLE, op=f"{op} backward"))
    (gradient,) = problem.gradients
    right = getattr(reference, f"{op}_adjoint")(gradient.double().numpy(), problem.views.geometry.numpy(), LITTLE.size)
    np.testing.assert_allclose(make_truth(problem).results[0], right, atol=1e-12)


def test_the_truth_of_the_gradient_of_reduce_is_the_slope_of_the_reference():
    problem = make_problem(replace(LITTLE, op="reduce backward"))
    planes, table = problem.planes.double().numpy(), problem.views.geometry.numpy()
    step = 1e-6 * noise(*problem.planes.shape, seed=1, dtype=torch.float64).numpy()

    def weighted(stack: np.ndarray) -> float:
        mean, variance, _ = reference.unproject_reduce(stack, table, LITTLE.size)
        return sum(
            (part * gradient.numpy()).sum() for part, gradient in zip((mean, variance), problem.gradients, strict=True)
        )

    slope = (weighted(planes + step) - weighted(planes - step)) / 2
    assert (make_truth(problem).results[0] * step).sum() == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_peers_mean_and_variance_are_the_references(as_tensor):
    problem = make_problem(replace(LITTLE, op="reduce", geometry="magnified"))
    assert 0 < problem.valid.mean() < 1
    stack, table = problem.planes.double().numpy(), problem.views.geometry.numpy()
    slices, valid = reference.unproject(stack, table, LITTLE.size), problem.valid[:, :, None].astype(np.float64)
    if as_tensor:
        slices, valid = torch.from_numpy(slices), torch.from_numpy(valid)
    for found, right in zip(moments(slices, valid), reference.unproject_reduce(stack, table, LITTLE.size), strict=True):
        np.testing.assert_allclose(np.broadcast_to(found, right.shape), right, atol=1e-12)


@pytest.mark.parametrize("wrong", [1e-3, float("nan"), float("inf")])
def test_one_wrong_value_is_seen(wrong):
    problem = make_problem(LITTLE)
    truth = make_truth(problem)
    result = truth.results[0].copy()
    assert difference([result], truth, 0) == 0
    result[1, 2, 0, 5, 5] += wrong
    assert difference([result], truth, 0) >= 1e-4
    entry = replace(contenders(problem)[0], call=lambda: result, results=lambda stack: (stack,))
    with pytest.raises(
        RuntimeError, match=r"spuproj \(new tensor\) must agree with the reference to .* on project, B=2"
    ):
        checked(entry, truth)


def test_a_neighbour_may_be_either_only_where_a_point_lies_half_way():
    truth = make_truth(make_problem(replace(LITTLE, interpolation="nearest")))
    distance = np.minimum(*(np.abs(axis[0] % 1 - 0.5) for axis in (truth.problem.y, truth.problem.x)))
    nearest = np.nanmin(distance[distance > 0])
    n, row, column = np.argwhere(distance == nearest)[0]
    result = truth.results[0].copy()
    result[0, n, 0, row, column] += 1
    assert difference([result], truth, nearest) == 0
    assert difference([result], truth, nearest / 2) > 0


# Cases.


def test_every_case_is_there_once():
    assert len(set(FULL)) == len(FULL)
    assert len(set(SHORT)) == len(SHORT)


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
    for case in HEADLINE:
        assert replace(case, op="project", batch=1, channels=4, peers=(), way="") == Case(peers=())


@pytest.mark.parametrize("case", HEADLINE, ids=lambda case: case.label)
def test_everyone_makes_a_new_result_at_each_call_as_called(case):
    problem = make_problem(replace(case, batch=2, views=4, size=(24, 20)))
    entries = contenders(problem)
    assert [entry.form for entry in entries if entry.name == OURS] == [FRESH]
    for entry in entries:
        kept = [entry.call() for _ in range(3)]
        places = [addresses(result) for result in kept]
        assert len(set().union(*places)) == 3 * len(places[0]), entry.name


def addresses(result: object) -> list[int]:
    """Where the arrays of a result begin."""
    parts = result if isinstance(result, tuple) else (result,)
    return [part.data_ptr() if isinstance(part, torch.Tensor) else part.ctypes.data for part in parts]


def test_the_bytes_are_those_of_the_tensors():
    image, stack = 4 * 16 * 4 * 240 * 240, 9 * 4 * 16 * 4 * 240 * 240
    assert read_and_written(BATCH) == (image, stack)
    assert copied_bytes(BATCH) == stack
    assert read_and_written(replace(BATCH, op="project backward")) == (stack, image)
    assert copied_bytes(replace(BATCH, op="project backward")) == (stack + image) // 2
    assert read_and_written(replace(BATCH, op="reduce")) == (stack, 3 * image)
    assert read_and_written(replace(BATCH, dtype="float16")) == (image // 2, stack // 2)


def test_views_of_samples_differ_and_magnified_views_have_no_empty_parts():
    own = make_problem(replace(LITTLE, per_sample=True))
    assert own.y.shape[0] == LITTLE.batch
    assert not np.array_equal(own.y[0], own.y[1], equal_nan=True)
    assert make_problem(replace(LITTLE, geometry="magnified")).valid.mean() > 0.95 > make_problem(LITTLE).valid.mean()


def test_the_first_call_never_meets_the_same_views(monkeypatch):
    problem = make_problem(LITTLE)
    seen = []
    monkeypatch.setattr(Views, "project", lambda views, *_, **__: seen.append(views.geometry))
    entry = next(entry for entry in our_contenders(problem) if entry.form == FIRST_CALL)
    for _ in range(3):
        entry.call()
    assert len({table.numpy().tobytes() for table in (*seen, problem.views.geometry)}) == 4
    torch.testing.assert_close(seen[-1], problem.views.geometry, rtol=1e-12, atol=0)


# Timing.


@pytest.mark.parametrize("turn_of", [as_called, over_and_over])
def test_calls_take_turns_for_at_least_five_rounds(turn_of, monkeypatch):
    monkeypatch.setattr(timing, "touch_other_memory", lambda: None)
    order = []
    timings = in_turns([turn_of(lambda: order.append("a")), turn_of(lambda: order.append("b"))], budget=0)
    assert all(timing.rounds == 5 for timing in timings)
    assert all(0 < timing.minimum <= timing.median <= timing.maximum for timing in timings)
    turns = [name for place, name in enumerate(order) if place == 0 or order[place - 1] != name]
    assert turns == ["a", "b"] * (5 if turn_of is as_called else 6)


def test_other_memory_is_touched_before_every_call_as_called():
    other = timing._other_memory()
    before, seen = other.clone(), []
    assert other.numel() == 24_000_000
    in_turns([as_called(lambda: seen.append((other - before).aminmax()))], budget=0)
    assert [(low.item(), high.item()) for low, high in seen] == [(step, step) for step in (1, 2, 3, 4, 5)]


def test_a_result_is_dropped_before_the_next_one_is_made():
    results = []

    def call() -> torch.Tensor:
        assert all(result() is None for result in results)
        made = torch.empty(1)
        results.append(weakref.ref(made))
        return made

    in_turns([as_called(call), over_and_over(call)], budget=0)
    assert len(results) > 10


def test_only_headline_cases_are_measured_as_called(monkeypatch):
    used = []
    for name in ("as_called", "over_and_over"):
        monkeypatch.setattr(measuring, name, lambda call, name=name: used.append(name) or (lambda: 1.0))
    for way, turns in ((AS_CALLED, "as_called"), ("", "over_and_over")):
        used.clear()
        measure(replace(LITTLE, way=way, peers=()), [1], 0)
        assert set(used) == {turns}


@pytest.mark.usefixtures("keep_threads")
def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_threads_are_doubled_up_to_all():
    assert thread_numbers(1) == [1]
    assert thread_numbers(2) == [1, 2]
    assert thread_numbers(6) == [1, 2, 4, 6]
    assert thread_numbers(8) == [1, 2, 4, 8]


# Ratios.


def test_the_fastest_form_stands_for_a_peer():
    rows = some_rows()
    assert select(rows, SLICE, 1, "grid_sample").form == "planes as channels"
    assert select(rows, SLICE, 1, "grid_sample", "views as batch").timing.median == 0.3
    assert select(rows, SLICE, 2, "grid_sample") is None
    assert [entry.form for entry in best_forms(rows) if entry.name == "grid_sample"] == ["planes as channels"]
    assert len([entry for entry in best_forms(rows) if entry.name == OURS]) == 2


def test_like_is_compared_with_like():
    rows = some_rows()
    assert speedup(rows, select(rows, SLICE, 1, "scipy")) == pytest.approx(40)
    assert over_limit(rows, select(rows, SLICE, 1, OURS, BUFFERED)) == pytest.approx(2)
    assert over_limit(rows, select(rows, SLICE, 1, OURS, FRESH)) == pytest.approx(1.25)
    only_buffer = [entry for entry in rows if (entry.name, entry.form) != (COPY, FRESH)]
    assert over_limit(only_buffer, select(rows, SLICE, 1, OURS, FRESH)) == pytest.approx(4)
    assert over_limit(rows[:4], rows[0]) is None


def test_time_and_bytes_are_per_element_of_the_stack():
    entry = row(OURS, seconds=0.002)
    elements = 9 * 4 * 240 * 240
    assert ns_per_element(entry) == pytest.approx(2e6 / elements)
    assert gigabytes_per_second(entry) == pytest.approx(4 * elements * (1 + 1 / 9) / 0.002 / 1e9)


# Goals.


@pytest.mark.parametrize(
    ("measured", "smaller", "outcome"),
    [
        (80, False, "met"),
        (79, False, "not met"),
        (54, False, "not done"),
        (1.2, True, "met"),
        (1.3, True, "not met"),
        (1.8, True, "not done"),
    ],
)
def test_a_goal_is_met_or_not(measured, smaller, outcome):
    goal, floor = (1.2, 1.7) if smaller else (80, 55)
    assert Goal("row", measured, goal, floor, smaller_is_better=smaller).outcome == outcome


def test_goals_take_their_rows_and_leave_out_what_was_not_measured():
    rows = [*some_rows(BATCH_AS_CALLED), *some_rows(BATCH), *some_rows(BATCH, 2)]
    assert [(goal.measured, goal.goal, goal.floor, goal.outcome) for goal in goals(rows, [], 2)] == [
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
    found = goals(rows + some_rows(BATCH, 2), [Memory(MEMORY_CASE, 1.0, 4.0)], 2)
    assert [(goal.goal, goal.floor) for goal in found[:7]] == [
        (80, 45),
        (14, 9),
        (60, 38),
        (3, 1.6),
        (12, 4),
        (25, 12),
        (40, 20),
    ]
    assert all("as called" in goal.row for goal in found[:7])
    assert len(found) == 13
    names = {case: {peer.name for peer in serving(case)} for case in FULL}
    assert (
        {"scipy", "cv2", "grid_sample"} == names[SLICE_AS_CALLED] == names[BATCH_AS_CALLED] == names[REDUCE_AS_CALLED]
    )
    assert names[BACKWARD_AS_CALLED] == {"grid_sample"}


def test_the_cost_of_a_call_is_that_of_views_and_of_the_op_over_one_call_of_grid_sample():
    rows = [
        row(OURS, FRESH, 10.0, PROJECT_CALL),
        row(OURS, OP, 40.0, PROJECT_CALL),
        row(ONE_CALL, "", 2.0, PROJECT_CALL),
        row(OURS, FRESH, 20.0, REDUCE_CALL),
        row(ONE_CALL, "", 2.0, REDUCE_CALL),
    ]
    assert [(goal.measured, goal.outcome) for goal in goals(rows, [], 2)] == [
        (pytest.approx(5), "met"),
        (pytest.approx(20), "not done"),
        (pytest.approx(10), "met"),
    ]
    for case, forms in ((PROJECT_CALL, [FRESH, OP]), (REDUCE_CALL, [FRESH])):
        entries = [(entry.name, entry.form) for entry in contenders(make_problem(case))]
        assert entries == [*((OURS, form) for form in forms), (ONE_CALL, "")]


@pytest.mark.parametrize(("seconds", "outcome"), [(1.04, "met"), (1.06, "not done")])
def test_a_call_may_take_a_twentieth_longer_than_its_kernel(seconds, outcome):
    rows = [row(OURS, BUFFERED, seconds, KERNEL_CASE), row(KERNEL, BUFFERED, 1.0, KERNEL_CASE)]
    assert [(goal.measured, goal.outcome) for goal in goals(rows, [], 2)] == [(pytest.approx(seconds), outcome)]


# Memory.


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process so far")
def test_reduce_makes_no_stack():
    (entry,) = measure_memory(replace(MEMORY_CASE, batch=4))
    assert -1 < entry.percent < 50
    assert entry.first_percent < 100


# Tables and files.


def test_the_table_shows_each_peer_once_and_names_who_is_missing():
    lines = main_table(some_rows()).splitlines()
    assert lines[2] == (
        "project, B=1 C=4 N=9, 240x240: 1 thread, 50 % of the points valid; "
        "without skimage, cv2, kornia, MONAI Warp, MONAI Resample, torch.compile"
    )
    assert [line.split(",")[0].split()[0] for line in lines[3:]] == [OURS, OURS, "scipy", "grid_sample", COPY, COPY]
    scipy = lines[5].split()
    assert scipy[:2] == ["scipy", "800"]
    assert scipy[-2:] == ["50x", "40x"]


def test_columns_are_aligned():
    assert aligned([("a", "bb"), ("ccc", "d")]) == ["a    bb", "ccc   d"]


def test_the_goals_table_tells_goal_floor_and_outcome():
    line = goals_table([Goal("ours over copy", 1.5, 1.2, 1.7, smaller_is_better=True)]).splitlines()[1]
    assert line.split() == ["ours", "over", "copy", "1.5x", "<=", "1.2x", "<=", "1.7x", "not", "met"]


def test_the_text_holds_all_tables():
    printed = text(some_record())
    assert "/spuproj" in printed
    assert "first call" in printed
    assert "memory beyond input and outputs" in printed
    assert "floor" in printed


def test_the_json_holds_machine_software_and_every_row():
    record = some_record()
    content = json.loads(to_json(record))
    assert content["schema"] == 2
    assert {"cpu", "cores", "memory_bytes", "caches"} <= set(content["machine"])
    assert {"spuproj", "torch", "scipy", "scikit-image", "simd", "backend"} <= set(content["software"])
    assert len(content["rows"]) == len(record.rows)
    assert [content["rows"][place]["way"] for place in (0, -1)] == ["as called", ""]
    ours = content["rows"][1]
    assert ours["peers_over_this"] == {"scipy": pytest.approx(80), "grid_sample": pytest.approx(20)}
    assert {"op", "batch", "median_s", "rounds", "ns_per_element", "gb_per_s", "over_limit", "error"} <= set(ours)
    assert content["rows"][2]["over_spuproj"] == pytest.approx(40)
    assert len(content["memory"]) == 3
    assert {place["axis"] for place in content["scaling"]} == {"N", "B C", "side", "threads"}


def test_pictures_are_png():
    record = some_record()
    for picture in (
        ratios_picture(record.rows, "machine"),
        scaling_picture(record.scaling, record.memory, "machine"),
        scaling_picture(record.scaling, [], "machine"),
    ):
        assert picture.startswith(b"\x89PNG")


def test_the_machines_name_fits_a_file():
    assert machine.slug().strip("abcdefghijklmnopqrstuvwxyz0123456789-") == ""


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.json"
    write_whole(path, b"older")
    monkeypatch.setattr("os.replace", _fails)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"newer")
    assert path.read_bytes() == b"older"
    assert list(path.parent.iterdir()) == [path]


def _fails(*_: object) -> None:
    raise OSError("disk full")


def test_existing_files_are_refused_unless_forced(tmp_path):
    path = tmp_path / "a.json"
    refuse_overwrite([path], force=False)
    path.touch()
    refuse_overwrite([path], force=True)
    with pytest.raises(ValueError, match=r"a\.json exists already; pass --force"):
        refuse_overwrite([path], force=False)


def test_the_command_prints_the_tables_writes_three_files_and_overwrites_only_when_forced(
    tmp_path, monkeypatch, capsys
):
    measured = []
    monkeypatch.setattr(bench, "collect", lambda short: measured.append(short) or some_record())
    out = tmp_path / "bench"
    paths = bench.run_bench(out, short=True, force=False)
    assert "/spuproj" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in paths)
    assert [path.suffix for path in paths] == [".json", ".png", ".png"]
    with pytest.raises(ValueError, match="exists already"):
        bench.run_bench(out, short=True, force=False)
    bench.run_bench(out, short=False, force=True)
    assert measured == [True, False]


TRAINING_LAYER = {"training_layer", "throughput", "predict_cost", "step_share"}


def test_the_benchmark_of_the_ops_never_imports_the_training_layer():
    sources = {path.stem: path for path in (ROOT / "benchmarks").glob("*.py")}
    assert TRAINING_LAYER | {"bench", "gpu"} <= set(sources)
    of_the_ops = [path for name, path in sources.items() if name not in TRAINING_LAYER]
    assert [path.name for path in of_the_ops if _imported(path) & {"training", *TRAINING_LAYER}] == []


def _imported(path: Path) -> set[str]:
    """All parts of the names of the modules that a file imports."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [getattr(node, "module", None) or "" for node in nodes] + [a.name for node in nodes for a in node.names]
    return {part for name in names for part in name.split(".")}


WITHOUT = """
import sys
sys.modules["cv2"] = None
sys.argv = ["spuproj", "bench", "--out", "nowhere"]
from spuproj_cli import entry
entry.main()
"""


def test_without_a_part_of_the_bench_extra_the_command_says_what_to_install():
    run = run_python(WITHOUT)
    assert run.returncode == 1
    assert "pip install 'spuproj[bench]'" in run.stderr
