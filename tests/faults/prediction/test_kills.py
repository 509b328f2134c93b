"""Predictions that are killed: what is there is whole, and the same command completes it to the same bits."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from faults.prediction.runs import run_all
from processes import forkserver
from spuproj.training.data.readers.registry import case_in
from spuproj.training.inference.outputs import DEFAULT_KINDS
from spuproj.training.runtime.errors import InputError
from spuproj.training.workflows.predict import predict, predict_cohort

pytest_plugins = ["training_fixtures"]
pytestmark = [
    pytest.mark.usefixtures("one_thread", "no_picture"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and killed"),
]

RANDOM_MOMENTS = 20
NAMES = ["Phantom_001", "Phantom_002"]


@pytest.fixture(scope="module")
def data(cohort, tmp_path_factory) -> Path:
    """Two cases."""
    folder = tmp_path_factory.mktemp("killed") / "data"
    for case in cohort[:2]:
        shutil.copytree(case, folder / case.name)
    return folder


@contextmanager
def started(data: Path, model: Path, outs: Path, runs: list[dict[str, Any]]) -> Iterator[Connection]:
    """Starts runs; yields what they send, and receive. At its end they must have ended."""
    ours, theirs = forkserver.context().Pipe()
    task = {"data": str(data), "model": str(model), "outs": str(outs), "runs": runs}
    process = forkserver.start(run_all, (task, theirs), outs)
    theirs.close()
    yield ours
    process.join()
    assert process.exitcode == 0


def forked(data: Path, model: Path, outs: Path, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """How each run ended, and the operations on files that it came to."""
    with started(data, model, outs, runs) as process:
        ends: dict[str, Any] = process.recv()
    return ends


MOMENTS = {
    "marked": ["after", f"os.rename {NAMES[1]}_summary.json (.unfinished)"],
    "moving": ["before", f"os.rename {NAMES[1]}_WT_prob.nii.gz"],
    "moved": ["after", f"os.rename {NAMES[1]}_summary.json"],
    "report": ["before", "os.rename report.html"],
}
"""The second case is marked; its files are moved into place; all are, and their temporary folder goes; the report."""


@pytest.fixture(scope="module")
def killed(data, models, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """The folders of a run that nobody kills, of those killed at ``MOMENTS``, and of a shard; and how each ended."""
    outs = tmp_path_factory.mktemp("killed")
    runs = [{"name": name, "moment": moment} for name, moment in MOMENTS.items()]
    shard = {"name": "shard", "shard": [0, 2], "moment": ["before", f"os.rename {NAMES[0]}_WT_prob.nii.gz"]}
    ends = forked(data, models["WT"], outs, [{"name": "whole"}, *runs, shard])
    assert {name: end["status"] for name, end in ends.items()} == {
        "whole": 0, "marked": -9, "moving": -9, "moved": -9, "report": -9, "shard": -9,
    }  # fmt: skip
    return outs, ends


@pytest.fixture(scope="module")
def whole(killed) -> dict[str, bytes]:
    """What a run that nobody kills writes."""
    return contents(killed[0] / "whole")


def contents(folder: Path) -> dict[str, bytes]:
    """By path, what is in the files, hidden ones among them; folders end with a slash."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")} if folder.is_dir() else {}
    return {name if path.is_file() else f"{name}/": path.read_bytes() if path.is_file() else b""
            for name, path in found.items()}  # fmt: skip


def check_and_complete(out: Path, data: Path, model: Path, wanted: dict[str, bytes]) -> str:
    """What is there is whole; the same command completes it, and nothing else is left.

    Returns how far the killed run was: the number of files that were in place.
    """
    before = {name: value for name, value in contents(out).items() if not name.startswith(".")}
    for name in [name for name in before if name.endswith("_summary.json") and b'"finished": false' in before[name]]:
        del before[name]
    assert before == {name: wanted[name] for name in before}
    finished = [name for name in NAMES if f"{name}_summary.json" in before]
    outcome = predict_cohort([model], data, out)
    assert outcome.skipped == finished
    assert outcome.failed == {}
    assert contents(out) == wanted
    return f"{len(before)} of {len(wanted)} files"


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_files_are_moved_or_written(data, models, killed, whole, tmp_path, moment):
    shutil.copytree(killed[0] / moment, tmp_path / "out")
    some = {name for name in contents(tmp_path / "out") if name.startswith(f"{NAMES[1]}_")}
    every = {name for name in whole if name.startswith(f"{NAMES[1]}_")}
    assert (set() < some < every) if moment in ("marked", "moving") else some == every
    check_and_complete(tmp_path / "out", data, models["WT"], whole)


@pytest.mark.parametrize("force", [False, True])
def test_killed_in_the_folder_of_the_patient_no_map_is_read_as_data(data, cohort, models, tmp_path, force):
    """Before each file that is moved; where ``force`` is set, over older maps of another model and of more kinds."""
    patient = tmp_path / "patient" / NAMES[0]
    shutil.copytree(data / NAMES[0], patient)
    (patient / f"{NAMES[0]}_seg.nii.gz").unlink()
    images = case_in(patient).images.keys()
    if force:
        predict([models["ET"]], patient, patient, maps=[*DEFAULT_KINDS, "mi"])
        predict([models["WT"]], patient, patient, maps=[*DEFAULT_KINDS, "mi"], force=True)
    given = {"case": str(patient), "force": force}
    ends = forked(data, models["TC"], tmp_path, [{"name": "whole", **given}])
    renames = [each for each in ends["whole"]["operations"] if each.startswith(f"os.rename {NAMES[0]}")]
    assert len(renames) >= 8
    runs = [{"name": f"k{k}", "moment": ["before", each], **given} for k, each in enumerate(renames)]
    ends = forked(data, models["TC"], tmp_path, runs)
    assert {end["status"] for end in ends.values()} == {-9}
    for run in runs:
        out = tmp_path / run["name"] / NAMES[0]
        found = case_in(out)
        assert (found.label, found.images.keys()) == (None, images)
        predict([models["TC"]], out, out, force=force)
        assert contents(out) == contents(tmp_path / "whole" / NAMES[0])


def test_what_a_killed_process_left_of_another_case_goes_too(data, models, killed, whole, tmp_path):
    """Its case may be finished, or not be in the data set any more."""
    shutil.copytree(killed[0] / "moved", tmp_path / "out")
    assert any(name.endswith("/") for name in contents(tmp_path / "out"))
    predict([models["WT"]], data / NAMES[0], tmp_path / "out", force=True)
    left = contents(tmp_path / "out")
    assert [name for name in left if name.startswith(".")] == []
    assert left == {name: whole[name] for name in left}


@pytest.mark.slow
def test_killed_before_each_operation_on_a_file(data, models, killed, whole, tmp_path):
    """Of the second case and of the report; those of the first case are the same."""
    operations = killed[1]["whole"]["operations"]
    first = operations.index(f"os.rename {NAMES[0]}_summary.json")
    runs = [{"name": f"at{at}", "moment": ["operation", at]} for at in range(first, len(operations))]
    ends = forked(data, models["WT"], tmp_path, runs)
    found = [check_and_complete(tmp_path / run["name"], data, models["WT"], whole) for run in runs]
    assert {end["status"] for end in ends.values()} == {-9}
    print(f"\n{len(found)} kills, one before each operation; in place were {', '.join(dict.fromkeys(found))}")


@pytest.mark.slow
def test_killed_at_random_moments(data, models, whole, tmp_path):
    seed = random.randrange(2**32)
    parts = random.Random(seed)
    runs: list[dict[str, Any]] = [{"name": "first"}]
    # One in each twentieth of the time.
    runs += [
        {"name": f"kill{number}", "moment": ["time", (number + parts.random()) / RANDOM_MOMENTS]}
        for number in range(RANDOM_MOMENTS)
    ]
    ends = forked(data, models["WT"], tmp_path, runs)
    assert {ends[run["name"]]["status"] for run in runs[1:]} == {-9}
    found = [check_and_complete(tmp_path / run["name"], data, models["WT"], whole) for run in runs[1:]]
    print(f"\nseed {seed}: {len(found)} runs were killed; in place were {', '.join(found)}")


def test_a_shard_that_dies_does_not_disturb_the_others_and_is_completed(data, models, killed, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(killed[0] / "shard", out)
    assert predict_cohort([models["WT"]], data, out, shard=(1, 2)).predicted == [NAMES[1]]
    assert f"that of {NAMES[0]} is being written, or was interrupted then" in (out / "report.html").read_text()
    assert predict_cohort([models["WT"]], data, out, shard=(0, 2)).predicted == [NAMES[0]]
    assert contents(out) == whole


def test_a_second_process_is_told_who_writes_there_and_disturbs_nothing(data, models, whole, tmp_path):
    out, model = tmp_path / "out", models["WT"]
    runs = [{"name": "out", "moment": MOMENTS["moving"], "stop": True}]
    with started(data, model, tmp_path, runs) as first:
        number: int = first.recv()
        before = contents(out)
        others = [
            lambda: predict_cohort([model], data, out),
            lambda: predict_cohort([model], data, out, force=True),
            lambda: predict([model], data / NAMES[1], out, force=True),
        ]
        for other in others:
            with pytest.raises(InputError, match=rf"must be written by one process at a time, but process {number} on"):
                other()
        # Another shard takes the cases that are free.
        outcome = predict_cohort([model], data, out, shard=(1, 2))
        assert list(outcome.failed) == [NAMES[1]]
        assert f"process {number} on" in outcome.failed[NAMES[1]]
        after = contents(out)
        assert {name: after.get(name) for name in before} == before
        assert set(after) - set(before) == {"report.html"}
        os.kill(number, 0)
        first.send("end")
    assert predict_cohort([model], data, out).failed == {}
    assert contents(out) == whole
