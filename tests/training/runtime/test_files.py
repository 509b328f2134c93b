"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from spuproj.training.runtime.files import InputError, atomic_write, atomic_write_group, refuse_overwrite


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


def test_a_move_that_ends_midway_does_not_look_finished(tmp_path, monkeypatch):
    def end_at_b(source: Path, target: Path) -> None:
        if target.name == "b":
            raise OSError("killed")
        source.rename(target)

    def write() -> None:
        with atomic_write_group(tmp_path, "case", "last") as folder:
            for name in ("a", "b", "last"):
                (folder / name).write_text("new")

    (tmp_path / "last").write_text("old")
    monkeypatch.setattr("spuproj.training.runtime.files.os.replace", end_at_b)
    with pytest.raises(OSError, match="killed"):
        write()
    assert not (tmp_path / "last").exists()


def test_what_a_killed_process_left_goes_and_that_of_other_cases_stays(tmp_path):
    for name in (".spuproj-abcdefgh-A", ".spuproj-abcdefgh-B-A", ".spuproj-abcdefgh-[A]"):
        (tmp_path / name).mkdir()
    with atomic_write_group(tmp_path, "A", "last"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".spuproj-abcdefgh-B-A", ".spuproj-abcdefgh-[A]"]
