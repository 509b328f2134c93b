"""The GPU benchmark's own parts, on the CPU: what it checks, what it makes of times, and what it writes."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
import torch

from made_up_rows import row
from spuproj.benchmarks import __main__ as command
from spuproj.benchmarks.__main__ import main, run_gpu
from spuproj.benchmarks.goals import best_forms, gpu_goals
from spuproj.benchmarks.ops.cases import GPU, GPU_BACKWARD, GPU_BATCH, GPU_REDUCE, copied_bytes, read_and_written
from spuproj.benchmarks.ops.contenders import BOTH_PASSES, COPY, contenders
from spuproj.benchmarks.ops.truth import make_problem, make_truth
from spuproj.benchmarks.record import from_json
from spuproj.benchmarks.timing import checked, measure

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
    written, failed = run_gpu(tmp_path, CASES[:2], "cpu", force=False)
    assert failed == []
    assert [path.name for path in written] == ["cpu.json", "cpu.png"]
    content = json.loads(written[0].read_text())
    assert {entry["dtype"] for entry in content["cases"]} == {"float32", "float16"}
    assert {entry["rounds"] for entry in content["rows"]} == {7}
    assert written[1].read_bytes().startswith(b"\x89PNG")
    assert "not measured" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"cpu\.json exists already; pass --force to write over it"):
        run_gpu(tmp_path, CASES[:2], "cpu", force=False)


def test_each_case_is_written_as_soon_as_it_is_measured(tmp_path, monkeypatch):
    measured = list[str]()

    def until_cut_off(case, **options):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(case.label)
        return measure(case, **options)

    monkeypatch.setattr(command, "measure", until_cut_off)
    with pytest.raises(KeyboardInterrupt):
        run_gpu(tmp_path, CASES[:3], "cpu", force=False)
    assert [path.name for path in tmp_path.iterdir()] == ["cpu.json"]
    kept = from_json((tmp_path / "cpu.json").read_bytes())
    assert [case.label for case in dict.fromkeys(row.case for row in kept.rows)] == measured
    assert kept.machine["gpu"] == (torch.cuda.get_device_name() if torch.cuda.is_available() else None)


def test_a_case_that_fails_is_named_and_measured_without_peers_and_the_others_are_measured(
    tmp_path, monkeypatch, capsys
):
    def failing(case, **options):
        if case.peers or case.dtype == "float16":
            raise torch.OutOfMemoryError("out of memory")
        return measure(case, **options)

    monkeypatch.setattr(command, "measure", failing)
    (path, _), failed = run_gpu(tmp_path, CASES[:3], "cpu", force=False)
    assert failed == [
        f"{CASES[0].label}, with {', '.join(CASES[0].peers)}: OutOfMemoryError: out of memory",
        f"{CASES[1].label}, with no peers: OutOfMemoryError: out of memory",
    ]
    said = capsys.readouterr().err
    assert all(f"failed: {why}" in said for why in failed)
    assert {row.case.dtype for row in from_json(path.read_bytes()).rows} == {"float32", "bfloat16"}


def test_a_run_whose_cases_all_fail_says_why_and_writes_nothing(tmp_path, monkeypatch):
    def failing(case, **options):
        raise RuntimeError("illegal memory access\nCompile with debugging")

    monkeypatch.setattr(command, "measure", failing)
    assert run_gpu(tmp_path, CASES[1:2], "cpu", force=False) == (
        [],
        [f"{CASES[1].label}, with no peers: RuntimeError: illegal memory access"],
    )
    assert not any(tmp_path.iterdir())


def test_a_peer_that_is_missing_or_fails_is_named_and_left_out(monkeypatch, capsys):
    problem = make_problem(CASES[0])

    def broken(*_, **__):
        raise RuntimeError("no kernel image\nfor this device")

    monkeypatch.setitem(sys.modules, "cupyx", None)
    monkeypatch.setattr(torch.nn.functional, "grid_sample", broken)
    names = [entry.name for entry in contenders(problem)]
    assert names == ["cpu", "scipy, one CPU core", COPY]
    said = capsys.readouterr().err
    assert f"cupyx is left out of {problem.case.label}: ModuleNotFoundError: No module named 'cupyx" in said
    assert f"grid_sample is left out of {problem.case.label}: RuntimeError: no kernel image" in said


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16"])
def test_the_copied_bytes_are_random(dtype):
    problem = make_problem(replace(CASES[0], dtype=dtype, interpolation="nearest", peers=()))
    copied = contenders(problem)[-1].call().view(torch.uint8)
    counts = torch.bincount(copied.int(), minlength=256)
    assert counts.min() > 0
    assert counts.max() < 2 * counts.double().mean()


def test_without_a_gpu_the_command_says_so(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit, match="torch sees no GPU"):
        main(tmp_path)
