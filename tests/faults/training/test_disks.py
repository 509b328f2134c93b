"""Disks that are full or read-only: the message says so and what is safe, and nothing half-written stays."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faults.training.processes import CHECKPOINT, left_of, start
from spuproj.training.models.method import Method
from spuproj.training.models.view_sets import Spherical
from spuproj.training.runtime.disk import DiskFullError, says_if_full
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import (
    atomic_write,
    atomic_write_folder,
    atomic_write_group,
    remove_leftovers,
    require_folder,
)
from spuproj.training.runtime.locks import held

pytest_plugins = ["training_fixtures"]

METHOD = Method("tiny", Spherical(grid=(2, 2)), channels=(4, 8), epochs=3, batch_size=4)


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs to mount a file system in memory: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of 256 kB."""
    if shutil.which("mount") is None:
        pytest.skip("needs mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=256k")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def arguments(cohort, tmp_path_factory) -> list[object]:
    folder = tmp_path_factory.mktemp("method")
    (folder / "tiny.json").write_text(json.dumps(asdict(METHOD)))
    return ["train", "--data", cohort[0].parent, "--target", "WT", "--method", folder / "tiny.json"]


@pytest.fixture(scope="module")
def unbroken(arguments, tmp_path_factory) -> Path:
    """A training on a disk with room, and the cache that all others read."""
    folder = tmp_path_factory.mktemp("unbroken")
    command = start([*arguments, "--out", folder / "run", "--cache", folder / "cache"], folder / "log")
    assert command.status() == 0, command.printed
    return folder


def hidden(folder: Path) -> list[str]:
    """What is left of a write that did not end."""
    return [path.name for path in folder.rglob(".*")]


def train_with_room(arguments: list[object], unbroken: Path, disk: Path, room: int) -> str:
    """Trains on a disk with so many bytes left; returns what it prints, or nothing where they are enough."""
    filled = shutil.disk_usage(disk).free - room
    (disk / "filler").write_bytes(bytes(filled))
    run = [*arguments, "--out", disk / "run", "--cache", unbroken / "cache"]
    first = start(run, disk.with_name("log"))
    code, printed = first.status(), first.printed
    assert hidden(disk) == []
    if code:
        assert code == 1
        if (disk / "run" / CHECKPOINT).exists():
            torch.load(disk / "run" / CHECKPOINT, weights_only=True)
        (disk / "filler").unlink()
        second = start([*run, "--resume"], disk.with_name("log"))
        assert second.status() == 0, second.printed
    assert left_of(disk / "run") == left_of(unbroken / "run")
    return printed if code else ""


@pytest.mark.parametrize(
    ("room", "safe"),
    [
        (16_000, "no epoch is complete yet: start again with --resume"),
        (60_000, "the training is safe up to its last complete epoch, in .*last.ckpt: go on with --resume"),
    ],
)
def test_a_full_disk_is_said_with_what_is_safe_and_the_training_goes_on_with_room(
    arguments, unbroken, disk, room, safe
):
    printed = train_with_room(arguments, unbroken, disk, room)
    error = [line for line in printed.splitlines() if line.startswith("error")]
    assert len(error) == 1, printed
    assert "must have room for what is written, but its disk is full (No space left on device; " in error[0]
    assert str(disk / "run") in error[0]
    assert re.search(safe, error[0])
    assert "Traceback" not in printed


@pytest.mark.slow
@pytest.mark.parametrize("room", range(0, 120_000, 8_000))
def test_a_training_on_a_disk_with_any_room_ends_or_says_what_is_safe(arguments, unbroken, disk, room):
    printed = train_with_room(arguments, unbroken, disk, room)
    assert not printed or "its disk is full" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("room", [0, 16_000])
def test_a_full_disk_of_the_cache_is_said_whichever_disk_the_run_is_on(arguments, disk, tmp_path, room):
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - room))
    run, cache = tmp_path / "run", disk / "cache"
    elsewhere = start([*arguments, "--out", run, "--cache", cache], disk.with_name("log"))
    assert elsewhere.status() == 1
    assert re.search(
        rf"error: {cache} must have room for what is written, but its disk is full \(No space left on device; 0\.\d MB "
        r"are free\); make room on it; no epoch is complete yet: start again with --resume\n",
        elsewhere.printed,
    )
    assert hidden(disk) == hidden(run) == []
    together = start([*arguments, "--out", disk / "run"], disk.with_name("log"))
    assert together.status() == 1
    assert f"error: {disk / 'run'} must have room for what is written, but its disk is full" in together.printed


def group(path: Path) -> AbstractContextManager[Path]:
    return atomic_write_group(path.parent, "name", path.name)


@pytest.mark.parametrize("write", [atomic_write, atomic_write_folder, group])
def test_a_write_that_fills_the_disk_leaves_nothing_and_keeps_what_was_there(disk, write):
    def fill() -> None:
        with write(disk / "file") as temporary:
            (temporary / "file" if temporary.is_dir() else temporary).write_bytes(bytes(10**6))

    (disk / "file").mkdir()
    (disk / "file" / "old").write_text("old")
    with pytest.raises(DiskFullError, match=rf"{disk} must have room .* disk is full \(No space .* make room on it"):
        fill()
    assert [path.name for path in disk.iterdir()] == ["file"]
    assert (disk / "file" / "old").read_text() == "old"


@pytest.mark.parametrize("room", range(0, 4 * 4096, 4096))
def test_a_disk_without_room_for_a_folder_or_a_lock_is_said(disk, room):
    (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - room))

    def use(context: Callable[[Path], AbstractContextManager[Path | None]]) -> None:
        with context(disk / "new" / "file") as temporary:
            (temporary or disk / "new" / "held").write_bytes(bytes(10**6))

    with pytest.raises(DiskFullError):
        use(atomic_write)
    with pytest.raises((DiskFullError, OSError), match=r"full|space"):
        use(lambda path: held(path.parent))
    assert hidden(disk) == []


@given(st.sampled_from([errno.ENOSPC, errno.EDQUOT]), st.sampled_from(["errno", "words", "cause", "context"]))
def test_a_full_disk_is_recognised_in_any_error(code, form):
    class RustError(Exception):
        pass

    system = OSError(code, os.strerror(code))
    errors = {"errno": system, "words": RustError(f"I/O error: {os.strerror(code)} (os error {code})")}

    def fail() -> None:
        with says_if_full(Path("/nowhere/at all")):
            if form in errors:
                raise errors[form]
            try:
                raise system
            except OSError as error:
                if form == "cause":
                    raise RustError from error
                raise RustError  # noqa: B904

    with pytest.raises(DiskFullError, match="/nowhere/at all must have room"):
        fail()


def test_any_other_error_stays_what_it_is(tmp_path):
    with pytest.raises(KeyError), says_if_full(tmp_path):
        raise KeyError("a")


def test_leftovers_of_killed_processes_go_and_folders_in_use_stay(tmp_path):
    left = tmp_path / ".spuproj-abcdefgh"
    (left / "content").mkdir(parents=True)
    (left / ".lock").touch()
    with atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("whole")
        remove_leftovers(tmp_path)
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_is_written_whole_removes_what_a_killed_process_left_of_it(tmp_path):
    left = tmp_path / ".spuproj-abcdefgh"
    (left / "content" / "folder").mkdir(parents=True)
    (left / ".lock").touch()
    with atomic_write_folder(tmp_path / "folder") as folder:
        (folder / "file").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_may_not_be_written_to_is_said(arguments, disk):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(InputError, match=rf"but {disk} may not be written to; choose another"):
        require_folder(disk / "run")
    command = start([*arguments, "--out", disk / "run"], disk.with_name("log"))
    assert command.status() == 1
    assert f"error: {disk / 'run'} must be a folder to write to, but {disk} may not be written to" in command.printed
    command = start([*arguments, "--out", disk.with_name("run"), "--cache", disk / "cache"], disk.with_name("log"))
    assert command.status() == 1
    assert f"error: {disk / 'cache'} must be a folder to write to, but {disk} may not be written to" in command.printed
