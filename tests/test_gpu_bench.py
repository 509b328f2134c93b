"""The GPU benchmark's own parts, on the CPU: what it checks, what it makes of times, and what it writes."""

import json
from dataclasses import replace

import pytest
import torch

from spuproj.benchmarks import gpu
from spuproj.benchmarks.gpu_contenders import BOTH_PASSES, contenders, place

CASES = [
    replace(case, batch=5, size=(24, 20), peers=tuple(name for name in case.peers if name != "torch.compile"))
    for case in gpu.CASES
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_every_contender_agrees_with_the_reference(case, monkeypatch):
    monkeypatch.setattr(gpu, "_TURN_SECONDS", 0.0)
    rows = gpu.measure(case, "cpu")
    names = {row.name for row in rows}
    assert {"cpu", "copy"} <= names
    assert set(case.peers) - {"cupyx"} <= names
    assert all((row.error is None) == (row.name == "copy") for row in rows)
    assert all(len(row.seconds) == gpu.ROUNDS and row.median > 0 for row in rows)


def test_a_wrong_result_is_not_timed():
    placed = place(CASES[0], "cpu")
    ours = contenders(placed)[0]
    wrong = replace(ours, call=lambda: tuple(1.01 * part for part in ours.call()))
    with pytest.raises(RuntimeError, match=r"cpu .* must agree with the reference to"):
        gpu._checked(wrong, placed)


def test_a_batch_repeats_its_first_samples():
    case = replace(CASES[0], batch=9)
    placed = place(case, "cpu")
    assert placed.planes.shape == case.image_shape
    assert torch.equal(placed.planes[4:8], placed.planes[:4])
    own = place(replace(case, per_sample=True), "cpu")
    assert torch.equal(own.table[4:8], own.table[:4])
    assert not torch.equal(own.table[0], own.table[1])


def row(case, name, milliseconds, form=""):
    return gpu.GpuRow(case, name, form, 0.0, True, (milliseconds / 1000,) * 3)


def test_goals_are_ratios_of_medians():
    headline, reduce, adjoint = (
        next(case for case in gpu.CASES if case.op == op and case.batch == 128)
        for op in ("project", "reduce", "project backward")
    )
    rows = [
        row(headline, "cuda", 2.0),
        row(headline, "triton", 2.5),
        row(headline, "copy", 1.0),
        row(headline, "grid_sample", 9.0, "views as batch"),
        row(headline, "grid_sample", 8.0, "planes as channels"),
        row(headline, "scipy, one CPU core", 3000.0),
        row(reduce, "cuda", 1.0),
        row(reduce, "copy", 0.5),
        row(adjoint, "cuda", 1.0),
        row(adjoint, "cuda", 4.0, BOTH_PASSES),
        row(adjoint, "grid_sample", 20.0, f"{BOTH_PASSES}, views as batch"),
    ]
    found = {goal.row: goal.measured for goal in gpu.goals(rows, 1.5)}
    start = "project, B=128 C=4 N=9, 240x240"
    assert found[f"{start}: bytes written per second over a copy's"] == pytest.approx(50)
    assert found["reduce, B=128 C=1 N=9, 240x240: bytes read per second over a copy's"] == pytest.approx(50)
    assert found[f"{start}: grid_sample over cuda"] == pytest.approx(4)
    assert found[f"{start}: scipy, one CPU core over cuda"] == pytest.approx(1500)
    assert found[f"{start}: triton over cuda"] == pytest.approx(1.25)
    assert found["project backward, B=128 C=4 N=9, 240x240, both passes: grid_sample over cuda"] == pytest.approx(5)
    assert found["projection's share of a training step"] == 1.5
    assert found[f"{start}: cupyx over cuda"] is None


def test_what_could_not_be_measured_is_said_so():
    assert all(goal.measured is None for goal in gpu.goals([], None))


def test_a_run_writes_its_file_and_its_picture_and_nothing_over_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_TURN_SECONDS", 0.0)
    written = gpu.run(tmp_path, CASES[:2], "cpu", force=False)
    assert [path.name for path in written] == ["cpu.json", "cpu.png"]
    content = json.loads(written[0].read_text())
    assert content["device"] == "CPU"
    assert {entry["dtype"] for entry in content["rows"]} == {"float32", "float16"}
    assert written[1].read_bytes().startswith(b"\x89PNG")
    assert "not measured" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"cpu\.json exists already; pass --force to write over it"):
        gpu.run(tmp_path, CASES[:2], "cpu", force=False)


def test_without_a_gpu_the_command_says_so(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit, match="torch sees no GPU"):
        gpu.main(tmp_path)
