"""The GPU benchmark's own parts, on the CPU: what it checks, what it makes of times, and what it writes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from made_up_rows import row
from spuproj.benchmarks.__main__ import main, run_gpu
from spuproj.benchmarks.goals import best_forms, gpu_goals
from spuproj.benchmarks.ops.cases import GPU, GPU_BACKWARD, GPU_BATCH, GPU_REDUCE, copied_bytes, read_and_written
from spuproj.benchmarks.ops.contenders import BOTH_PASSES, COPY, contenders
from spuproj.benchmarks.ops.truth import make_problem, make_truth
from spuproj.benchmarks.timing import checked

CASES = [
    replace(case, batch=5, size=(24, 20), peers=tuple(name for name in case.peers if name != "torch.compile"))
    for case in GPU
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_every_contender_agrees_with_the_reference(case):
    problem = make_problem(case)
    truth, entries = make_truth(problem), contenders(problem)
    names = [entry.name for entry in entries]
    assert names[0] == "cpu"
    assert names[-1] == COPY
    assert set(case.peers) - {"cupyx"} <= set(names)
    for entry in entries:
        error, _ = checked(entry, truth)
        assert (error is None) == (entry.name == COPY)


def test_both_passes_are_measured_of_the_backend_of_a_user_and_of_peers():
    case = next(case for case in CASES if case.op == "project backward" and case.peers)
    forms = [(entry.name, entry.form) for entry in contenders(make_problem(case))]
    assert forms[:4] == [
        ("cpu", ""),
        ("cpu", BOTH_PASSES),
        ("grid_sample", f"{BOTH_PASSES}, views as batch"),
        ("grid_sample", f"{BOTH_PASSES}, planes as channels"),
    ]


def test_slow_peers_work_through_a_part_of_the_batch():
    entries = {entry.name: entry for entry in contenders(make_problem(CASES[0]))}
    scipy = entries["scipy, one CPU core"]
    assert (scipy.parts, scipy.on_host, len(scipy.call())) == (5, True, 1)
    assert entries["cpu"].parts == entries[COPY].parts == 1


@pytest.mark.parametrize("case", [GPU_BATCH, GPU_REDUCE, GPU_BACKWARD], ids=lambda case: case.op)
def test_the_copy_is_of_the_stack(case):
    assert copied_bytes(case) == max(read_and_written(case))


def timed(case, name, milliseconds, form=""):
    return row(name, form, milliseconds / 1000, case)


def test_goals_are_ratios_of_medians():
    rows = [
        timed(GPU_BATCH, "cuda", 2.0),
        timed(GPU_BATCH, "triton", 2.5),
        timed(GPU_BATCH, "copy", 1.0),
        timed(GPU_BATCH, "grid_sample", 9.0, "views as batch"),
        timed(GPU_BATCH, "grid_sample", 8.0, "planes as channels"),
        timed(GPU_BATCH, "scipy, one CPU core", 3000.0),
        timed(GPU_REDUCE, "cuda", 1.0),
        timed(GPU_REDUCE, "copy", 0.5),
        timed(GPU_BACKWARD, "cuda", 1.0),
        timed(GPU_BACKWARD, "cuda", 4.0, BOTH_PASSES),
        timed(GPU_BACKWARD, "grid_sample", 20.0, f"{BOTH_PASSES}, views as batch"),
    ]
    goals = {goal.row: goal for goal in gpu_goals(rows, 1.5)}
    found = {words: goal.measured for words, goal in goals.items()}
    start = "project, B=128 C=4 N=9, 240x240, on the GPU"
    assert found[f"{start}: bytes written per second over a copy's"] == pytest.approx(50)
    assert found[f"{GPU_REDUCE.label}: bytes read per second over a copy's"] == pytest.approx(50)
    assert found[f"{start}: grid_sample over cuda"] == pytest.approx(4)
    assert found[f"{start}: scipy, one CPU core over cuda"] == pytest.approx(1500)
    assert found[f"{start}: triton over cuda"] == pytest.approx(1.25)
    assert found[f"{GPU_BACKWARD.label}, both passes: grid_sample over cuda"] == pytest.approx(5)
    assert found["projection's share of a training step"] == 1.5
    assert found[f"{start}: cupyx over cuda"] is None
    assert [words for words, goal in goals.items() if goal.smaller_is_better] == [
        "projection's share of a training step",
        *(f"{case.label}: triton over cuda" for case in (GPU_BATCH, GPU_REDUCE, GPU_BACKWARD)),
    ]
    assert best_forms(rows) == rows


def test_what_could_not_be_measured_is_said_so():
    assert {goal.outcome for goal in gpu_goals([], None)} == {"not measured"}


def test_a_run_writes_its_file_and_its_picture_and_nothing_over_others(tmp_path, capsys):
    written = run_gpu(tmp_path, CASES[:2], "cpu", force=False)
    assert [path.name for path in written] == ["cpu.json", "cpu.png"]
    content = json.loads(written[0].read_text())
    assert {entry["dtype"] for entry in content["cases"]} == {"float32", "float16"}
    assert {entry["rounds"] for entry in content["rows"]} == {7}
    assert written[1].read_bytes().startswith(b"\x89PNG")
    assert "not measured" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"cpu\.json exists already; pass --force to write over it"):
        run_gpu(tmp_path, CASES[:2], "cpu", force=False)


def test_without_a_gpu_the_command_says_so(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit, match="torch sees no GPU"):
        main(tmp_path)
