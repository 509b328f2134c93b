"""Folders of runs and of data may have any name that the file system takes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from faults.training.processes import Fault, left_of, start
from spuproj.training.models.method import Method
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.files import atomic_write_folder

pytest_plugins = ["training_fixtures"]

METHOD = Method("tiny", Spherical(grid=(2, 2)), channels=(4, 8), epochs=2, batch_size=4)

LONG = "a::b Läufe 1. Monat " + "ü" * 117
NAMES = ["a  b", "Läufe 結果 🧠", r"$\frac{", "a::b", "file:", "s3:", "%d {x} [y] *?", "~", "-x", "#1;'\"", LONG]


@pytest.fixture(scope="module")
def method(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("method") / "tiny.json"
    path.write_text(json.dumps(asdict(METHOD)))
    return path


def train_in(folder: Path, name: str, cohort: list[Path], method: Path) -> None:
    """Trains and resumes on data in a folder of this name, into another one of the same name."""
    (folder / "data").mkdir()
    (folder / "data" / name).symlink_to(cohort[0].parent)
    run = folder / "runs" / name
    arguments = ["train", "--data", folder / "data" / name, "--target", "WT", "--method", method, "--out", run]
    killed = start(arguments, folder / "log", Fault(half=2, folder=run))
    assert killed.status() < 0, killed.printed
    resumed = start([*arguments, "--resume"], folder / "log")
    assert resumed.status() == 0, resumed.printed
    left = left_of(run)
    assert left["logs"]["dice"]
    assert [path.name for path in (folder / "runs").iterdir()] == [name]


def test_the_longest_name_is_as_long_as_a_file_system_takes():
    assert len(LONG.encode()) == 255


def test_a_training_runs_in_a_folder_of_an_unusual_name(tmp_path, cohort, method):
    train_in(tmp_path, LONG, cohort, method)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_training_runs_in_a_folder_of_any_name(tmp_path, cohort, method, name):
    train_in(tmp_path, name, cohort, method)


@pytest.mark.parametrize("name", [*NAMES, "old", "content", ".lock"])
def test_a_folder_of_any_name_is_replaced(tmp_path, name):
    for text in ("old", "new"):
        with atomic_write_folder(tmp_path / name) as folder:
            (folder / "file").write_text(text)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "file").read_text() == "new"
