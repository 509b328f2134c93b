"""Folders that cannot be written to: a full disk, a disk that can only be read, a folder of somebody else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from processes.forkserver import run_with_libraries

WRITING = "spuproj.training.workflows.write_prediction"

pytest_plugins = ["training_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread", "no_picture")

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path) -> Iterator[Mount]:
    """Mounts a small file system in memory; skips where only an administrator may."""
    mounted: list[Path] = []

    def make(name: str, options: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "spuproj-test", str(folder)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip(f"cannot mount a file system in memory: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    if not sys.platform.startswith("linux"):
        pytest.skip("mounts a file system as Linux does")
    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def visible(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_full_disk_is_said_and_the_same_command_goes_on(spuproj, cohort, models, tmp_path, mount):
    data, options = cohort[0].parent, ("predict", "--model", models["WT"], "--out")
    assert spuproj(*options, tmp_path / "whole", "--data", data)[0] == 0
    sizes = {path.name: -(-path.stat().st_size // 4096) * 4 for path in (tmp_path / "whole").iterdir()}
    first = sum(size for name, size in sizes.items() if name.startswith(cohort[0].name))
    # The first case and a half.
    out = mount("small", f"size={first + first // 2}k")
    status, printed = spuproj(*options, out, "--data", data)
    assert re.fullmatch(
        rf"error: {out} must have room for what is written, but its disk is full \(No space left on device; .* are "
        r"free\); make room on it; 1 finished cases are safe, and the same command goes on with the others",
        str(status),
    )
    assert "Traceback" not in printed
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert visible(out) == {name for name in whole if name.startswith(cohort[0].name)}
    assert all((out / name).read_bytes() == whole[name] for name in visible(out))
    subprocess.run(["mount", "-o", "remount,size=100m", str(out)], check=True)
    status, printed = spuproj(*options, out, "--data", data)
    assert (status, "2 predicted, 1 skipped" in printed) == (0, True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


def test_a_disk_that_is_full_from_the_start_is_said_before_anything_is_computed(
    spuproj, cohort, models, mount, monkeypatch
):
    out = mount("full", "size=40k,nr_inodes=3")
    for number in range(2):
        (out / f"mine{number}").touch()
    monkeypatch.setattr(f"{WRITING}.load_case", lambda *_, **__: pytest.fail("a case is read"))
    for source in (("--case", cohort[0]), ("--data", cohort[0].parent)):
        status, _ = spuproj("predict", "--model", models["WT"], "--out", out, *source)
        assert str(status).startswith(f"error: {out} must have room for what is written, but its disk is full")
    assert visible(out) == {"mine0", "mine1"}


def test_a_disk_that_can_only_be_read_is_refused_before_any_work(spuproj, cohort, models, mount):
    out = mount("readable", "size=1m,ro")
    for folder in (out, out / "new"):
        status, _ = spuproj("predict", "--model", models["WT"], "--out", folder, "--data", cohort[0].parent)
        assert status == (
            f"error: {folder} must be a folder to write to, but {out} may not be written to; choose another"
        )


def test_a_case_on_a_full_disk_says_that_nothing_of_it_was_written(spuproj, cohort, models, mount):
    out = mount("small", "size=64k")
    status, _ = spuproj("predict", "--model", models["WT"], "--out", out, "--case", cohort[0])
    assert str(status).startswith(f"error: {out} must have room for what is written, but its disk is full (No space")
    assert str(status).endswith(f"; nothing of {cohort[0].name} was written, and what was there is safe")
    assert visible(out) == set()


CLOSED = """
import os, sys
from pathlib import Path
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import require_folder

# Nobody's number.
os.setresuid(65534, 65534, 65534)
try:
    require_folder(Path(sys.argv[1]) / "new")
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only an administrator can be somebody else")
def test_a_folder_of_somebody_else_is_refused_before_any_work():
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        done = run_with_libraries(CLOSED, folder)
        message = f"{folder}/new must be a folder to write to, but {folder} may not be written to; choose another\n"
        assert (done.stdout, done.stderr) == (message, "")
