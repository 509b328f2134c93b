"""Files that appear whole or not at all, and names and places that cannot be written to."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.files import (
    NO_LOCKS,
    UNFINISHED,
    atomic_write,
    atomic_write_folder,
    atomic_write_group,
    inside,
    refuse_overwrite,
    require_folder,
    why_no_file,
)
from spuproj.training.runtime.json_file import write_json
from spuproj.training.runtime.locks import held


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "maps.nii.gz"
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.name == "maps.nii.gz"
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["maps.nii.gz"]


def write_half(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise OSError("disk full")


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError, match="disk full"):
        write_half(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_older_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("older")
    with pytest.raises(OSError, match="disk full"):
        write_half(path)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_successful_write_replaces_the_older_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("older")
    with atomic_write(path) as temporary:
        temporary.write_text("newer")
    assert path.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]


def test_existing_files_are_refused_unless_forced(tmp_path):
    missing, present = tmp_path / "missing", tmp_path / "present"
    present.touch()
    refuse_overwrite([missing], force=False)
    refuse_overwrite([missing, present], force=True)
    with pytest.raises(InputError, match=r"present exists already; pass --force"):
        refuse_overwrite([missing, present], force=False)


def test_files_that_are_written_together_replace_older_ones(tmp_path):
    (tmp_path / "a").write_text("old")
    with atomic_write_group(tmp_path, "case", "a") as folder:
        for name in ("a", "b"):
            (folder / name).write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def test_of_files_that_are_written_together_none_appears_on_an_error(tmp_path):
    def fail(out: Path) -> None:
        with atomic_write_group(out, "case", "a") as folder:
            (folder / "b").write_text("new")
            raise OSError("disk full")

    (tmp_path / "a").write_text("old")
    for out in (tmp_path, tmp_path / "new"):
        with pytest.raises(OSError, match="disk full"):
            fail(out)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


OLDER = {"a": "old", "gone": "old", "last": "old", "other": "mine"}


def group_of_three(out: Path) -> None:
    """Writes a, b and last, and removes gone."""
    with atomic_write_group(out, "case", "last", ["gone", "not there"]) as folder:
        for name in ("a", "b", "last"):
            (folder / name).write_text("new")
        (folder / UNFINISHED).write_text("unfinished")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("older", [{}, OLDER], ids=["empty", "older"])
@pytest.mark.parametrize("fault", [OSError("immutable"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_move_that_fails_puts_older_files_back(tmp_path, monkeypatch, older, fault):
    real = os.replace
    for number in range(20):
        moves = itertools.count()

        def fail_once(source: Path, target: Path, moves=moves, number=number) -> None:
            if next(moves) == number:
                raise fault
            real(source, target)

        out = tmp_path / str(number)
        out.mkdir()
        for name, text in older.items():
            (out / name).write_text(text)
        with monkeypatch.context() as patch:
            patch.setattr("spuproj.training.runtime.files.os.replace", fail_once)
            if number >= (6 if older else 4):
                group_of_three(out)
                break
            with pytest.raises(type(fault)):
                group_of_three(out)
        assert contents(out) == older
    assert contents(out) == {"a": "new", "b": "new", "last": "new"} | ({"other": "mine"} if older else {})


def test_while_files_are_moved_the_group_is_marked_as_unfinished(tmp_path, monkeypatch):
    real, seen = os.replace, []

    def look(source: Path, target: Path) -> None:
        seen.append(contents(tmp_path).get("last"))
        real(source, target)

    (tmp_path / "last").write_text("old")
    monkeypatch.setattr("spuproj.training.runtime.files.os.replace", look)
    group_of_three(tmp_path)
    assert seen == ["old", "unfinished", "unfinished", "unfinished"]


def test_files_that_are_put_back_are_marked_as_unfinished_until_all_are_there(tmp_path, monkeypatch):
    real, seen = os.replace, []

    def fail_at_the_end(source: Path, target: Path) -> None:
        seen.append(contents(tmp_path))
        if Path(source).name == "last" and len(seen) == 6:
            raise OSError("immutable")
        real(source, target)

    for name, text in OLDER.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("spuproj.training.runtime.files.os.replace", fail_at_the_end)
    with pytest.raises(OSError, match="immutable"):
        group_of_three(tmp_path)
    assert [each["last"] for each in seen[1:]] == ["unfinished"] * (len(seen) - 1)
    assert seen[-1] == OLDER | {"last": "unfinished"}
    assert contents(tmp_path) == OLDER


def test_a_group_that_is_being_written_stays_where_another_of_its_name_begins(tmp_path):
    with atomic_write_group(tmp_path, "case", "last") as first, atomic_write_group(tmp_path, "case", "last") as second:
        assert first.is_dir()
        (second / "last").write_text("second")
        (first / "last").write_text("first")
    assert (tmp_path / "last").read_text() == "first"


def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_moved(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("old")
    with pytest.raises(InputError, match="b must be a file to write, but it is a folder"):
        group_of_three(tmp_path)
    assert contents(tmp_path) == {"a": "old"}


@pytest.mark.parametrize("code", NO_LOCKS)
def test_a_file_system_without_locks_takes_files_and_keeps_what_other_processes_may_be_writing(
    tmp_path, monkeypatch, code
):
    def no_locks(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    (tmp_path / ".spuproj-abcdefgh-case").mkdir()
    monkeypatch.setattr(fcntl, "flock", no_locks)
    group_of_three(tmp_path)
    assert contents(tmp_path) == {"a": "new", "b": "new", "last": "new"}
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [".spuproj-abcdefgh-case"]


def test_a_disk_that_fails_when_it_is_locked_keeps_no_folder(tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        group_of_three(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_outdated_by_name_and_written_anew_is_the_new_one(tmp_path):
    (tmp_path / "a").write_text("old")
    with atomic_write_group(tmp_path, "case", "last", ["a"]) as folder:
        (folder / "a").write_text("new")
        (folder / "last").touch()
    assert (tmp_path / "a").read_text() == "new"


def test_what_a_killed_process_left_goes_and_that_of_other_cases_stays(tmp_path):
    for name in (".spuproj-abcdefgh-A", ".spuproj-abcdefgh-B-A", ".spuproj-abcdefgh-[A]"):
        (tmp_path / name).mkdir()
    with atomic_write_group(tmp_path, "A", "last") as folder:
        (folder / "last").touch()
    left = [".spuproj-abcdefgh-B-A", ".spuproj-abcdefgh-[A]", "last"]
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_what_a_killed_process_left_beside_a_file_goes_and_what_is_in_use_stays(tmp_path):
    for name in (".spuproj-abcdefgh", ".spuproj-abcdefgh-A"):
        (tmp_path / name).mkdir()
    with atomic_write(tmp_path / "a.txt") as first:
        first.write_text("first")
        with atomic_write(tmp_path / "b.txt") as second:
            second.write_text("second")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".spuproj-abcdefgh-A", "a.txt", "b.txt"]


@pytest.mark.parametrize("name", ["../evil", "..", ".", "", "/etc/passwd", "a/b", "a/../../b", "a/", "a\0b"])
def test_a_name_that_leads_out_of_a_folder_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"must be the name of an entry of .*, but leads out of it"):
        inside(tmp_path, name)


@given(st.text(max_size=12))
def test_a_joined_name_is_that_of_an_entry_of_the_folder_or_refused(tmp_path_factory, name):
    folder = tmp_path_factory.getbasetemp()
    try:
        path = inside(folder, name)
    except InputError:
        return
    assert path.parent == folder
    assert os.path.normpath(path) == str(path)


def test_why_there_is_no_file(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert why_no_file(tmp_path / "none") == "there is no such file"
    assert why_no_file(tmp_path) == "it is a folder"
    assert why_no_file(tmp_path / "link") == "it is a link to nowhere, which is not there"
    assert why_no_file(tmp_path / "pipe") == "it is not a regular file"


def test_a_link_to_nothing_is_not_written_over_unasked(tmp_path):
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(InputError, match="link exists already"):
        refuse_overwrite([tmp_path / "link"], force=False)


def test_a_file_is_no_folder_to_write_to(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"must be a folder to write to, but .*file is no folder; choose another"):
            require_folder(path)
    require_folder(tmp_path)
    require_folder(tmp_path / "new" / "one")


def replaced(path: Path) -> None:
    with atomic_write_folder(path) as folder:
        (folder / "file").write_text("new")


@pytest.mark.parametrize("there", [True, False])
def test_behind_a_link_to_a_folder_the_folder_is_replaced(tmp_path, there):
    disk, link = tmp_path / "disk", tmp_path / "link"
    disk.mkdir()
    link.symlink_to(disk / "data")
    if there:
        replaced(disk / "data")
    replaced(link)
    assert link.is_symlink()
    assert (disk / "data" / "file").read_text() == "new"
    assert {path.name for path in (*tmp_path.iterdir(), *disk.iterdir())} == {"disk", "link", "data"}


def test_a_process_killed_while_a_folder_is_replaced_leaves_the_older_one_in_sight(tmp_path, monkeypatch):
    path, real = tmp_path / "data", os.replace
    path.mkdir()
    (path / "file").write_text("old")

    def killed(source: Path, target: Path) -> None:
        if Path(target) == path:
            # A killed process puts nothing back.
            monkeypatch.undo()
            monkeypatch.setattr(os, "replace", lambda *_: None)
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replaced(path)
    monkeypatch.undo()
    assert [each.name for each in tmp_path.iterdir()] == ["data.replaced"]
    assert (tmp_path / "data.replaced" / "file").read_text() == "old"
    replaced(path)
    with pytest.raises(InputError, match=r"data\.replaced must not be there: it is what data was before an"):
        replaced(path)
    assert (tmp_path / "data.replaced" / "file").read_text() == "old"
    assert (path / "file").read_text() == "new"
    # Once it is out of the way, nothing else is left.
    shutil.rmtree(tmp_path / "data.replaced")
    (tmp_path / ".spuproj-abcdefgh").mkdir()
    replaced(path)
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("fault", [OSError("busy"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_replaced_is_put_back(tmp_path, monkeypatch, fault):
    path, real = tmp_path / "data", os.replace
    path.mkdir()
    (path / "file").write_text("old")

    def fail(source: Path, target: Path) -> None:
        if Path(target) == path and ".spuproj-" in str(source):
            raise fault
        real(source, target)

    monkeypatch.setattr("spuproj.training.runtime.files.os.replace", fail)
    with pytest.raises(type(fault)):
        replaced(path)
    assert [each.name for each in tmp_path.iterdir()] == ["data"]
    assert (path / "file").read_text() == "old"


@pytest.mark.parametrize(
    "write",
    [
        lambda out: write_json(out / "file.json", {}),
        lambda out: replaced(out / "folder"),
        group_of_three,
        lambda out: held(out).__enter__(),
    ],
)
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path, monkeypatch, write):
    """Root may write anywhere, so that a closed folder is played."""
    monkeypatch.setattr("spuproj.training.runtime.files.os.access", lambda *_: False)
    with pytest.raises(InputError, match=rf"{tmp_path} must be a folder to write to, but .* may not be written to"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []
