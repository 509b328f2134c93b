"""A benchmark's files: JSON that holds all that was measured, and pictures that are made from it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import ROOT
from made_up_rows import some_record
from spuproj.benchmarks.goals import cpu_goals
from spuproj.benchmarks.ops.cases import FULL
from spuproj.benchmarks.plots import ratios_picture, scaling_picture
from spuproj.benchmarks.record import from_json, machine, prepare_outputs, slug, to_json, write_all

STORED = ROOT / "benchmarks" / "results" / "amd-epyc-2-cores.json"


def test_the_json_holds_machine_software_and_every_row():
    record = some_record()
    content = json.loads(to_json(record))
    assert content["schema"] == 3
    assert {"cpu", "cores", "memory_bytes", "caches"} <= set(content["machine"])
    assert {"spuproj", "torch", "scipy", "scikit-image", "simd", "cpu tensors"} <= set(content["software"])
    assert len(content["rows"]) == len(record.rows)
    assert content["rows"][1] == {
        "case": "project, B=1 C=4 N=9, 240x240, as called",
        "valid": 0.5,
        "name": "spuproj",
        "form": "out=",
        "threads": 1,
        "median_s": 0.01,
        "min_s": 0.005,
        "max_s": 0.02,
        "rounds": 5,
        "error": 1e-6,
    }
    assert {row["case"] for row in content["rows"]} <= {case["label"] for case in content["cases"]}
    assert len(content["memory"]) == 3
    assert {place["axis"] for place in content["scaling"]} == {"N", "B C", "side", "threads"}


def test_a_record_is_read_back_as_it_was():
    record = some_record()
    kept = from_json(to_json(record))
    assert replace(kept, goals=record.goals) == record
    assert [(goal.row, goal.outcome) for goal in kept.goals] == [(goal.row, goal.outcome) for goal in record.goals]


def test_numbers_are_kept_to_six_digits():
    record = some_record()
    exact = replace(record, rows=[replace(row, median_s=row.median_s / 3) for row in record.rows])
    kept = from_json(to_json(exact)).rows
    assert [row.median_s for row in kept] == pytest.approx([row.median_s for row in exact.rows], rel=1e-5)
    assert kept[0].median_s == 0.00666667


def test_each_row_is_one_line_of_the_json():
    record = some_record()
    lines = to_json(record).decode().splitlines()
    assert len(lines) < len(record.rows) + len(record.scaling) + 60


def test_the_stored_record_holds_every_case_and_its_goals_follow_from_its_rows():
    record = from_json(STORED.read_bytes())
    assert list(dict.fromkeys(row.case for row in record.rows)) == list(FULL)
    found = cpu_goals(record.rows, record.memory, record.machine["torch_threads"])
    assert [goal.row for goal in found] == [goal.row for goal in record.goals]
    assert [goal.outcome for goal in found] == [goal.outcome for goal in record.goals]
    assert [goal.measured for goal in found] == pytest.approx([goal.measured for goal in record.goals], rel=1e-4)


def test_pictures_are_png():
    record = some_record()
    pictures = ratios_picture(record), scaling_picture(record), scaling_picture(replace(record, memory=[]))
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


def test_a_name_fits_a_file():
    assert slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert slug().strip("abcdefghijklmnopqrstuvwxyz0123456789-") == ""


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.json"
    write_all([path], b"older")
    monkeypatch.setattr("os.replace", _fails)
    with pytest.raises(OSError, match="disk full"):
        write_all([path], b"newer")
    assert path.read_bytes() == b"older"
    assert list(path.parent.iterdir()) == [path]


def _fails(*_: object) -> None:
    raise OSError("disk full")


def test_existing_files_are_refused_unless_forced(tmp_path):
    path = tmp_path / "new" / "a.json"
    prepare_outputs([path], force=False)
    assert list(path.parent.iterdir()) == []
    path.touch()
    prepare_outputs([path], force=True)
    with pytest.raises(ValueError, match=r"a\.json exists already; pass --force"):
        prepare_outputs([path], force=False)


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_measured(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        prepare_outputs([tmp_path / "file" / "a.json"], force=False)


def test_what_a_virtual_machine_hides_is_left_empty(monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    assert set(machine()["caches"].values()) <= {""}


def test_the_first_table_of_the_readme_is_that_of_the_stored_record():
    times: dict[tuple[str, str], float] = {}
    for row in from_json(STORED.read_bytes()).rows:
        if row.threads == 1 and row.case.label.endswith("240x240, as called") and row.form != "weights=":
            key = row.case.label.split(" N=")[0], row.name
            times[key] = min(row.median_s, times.get(key, row.median_s))

    def rounded(case: str, *peers: str) -> str:
        ratios = [times[case, peer] / times[case, "spuproj"] for peer in peers]
        return " / ".join(f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" for ratio in ratios)

    readme = (ROOT / "README.md").read_text()
    found = re.findall(r"^\| (?:gradient of )?`(?:project|reduce)`.*\| ([\d./ ]+) \|$", readme, re.MULTILINE)
    assert found == [
        rounded("project, B=16 C=4", "scipy", "grid_sample", "cv2"),
        rounded("project, B=1 C=4", "scipy", "grid_sample", "cv2"),
        rounded("project backward, B=16 C=4", "grid_sample"),
        rounded("reduce, B=16 C=1", "grid_sample, elementwise moments", "cv2, elementwise moments"),
    ]
