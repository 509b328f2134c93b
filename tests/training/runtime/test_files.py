"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_helpers import names_file_or_passes

from spuproj.training.runtime.files import (
    InputError,
    atomic_write,
    atomic_write_group,
    inside,
    read_json,
    refuse_overwrite,
    why_no_file,
)


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


def test_a_folder_is_not_written_into_through_a_link_and_a_file_is_replaced(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (other / "file").write_text("mine")
    (out / "folder").symlink_to(other)
    (out / "within").symlink_to(out)
    (out / "file").symlink_to(other / "file")
    with pytest.raises(InputError, match="leads out of it"):
        inside(out, "folder")
    assert inside(out, "within") == out / "within"
    with atomic_write(inside(out, "file")) as temporary:
        temporary.write_text("new")
    assert (other / "file").read_text() == "mine"
    assert (out / "file").read_text() == "new"


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a JSON file, but cannot be read"),
        (b"[" * 100_000, "must be a JSON file, but cannot be read"),
        (b"\xff\xfe{}", "must be a JSON file, but cannot be read"),
        (b'{"t1": 1, "t1": 2}', "must be a JSON file, but cannot be read: 't1' occurs twice in one object"),
        (b'{"a": {"t1": 1, "t2": 1, "t1": 2}}', "'t1' occurs twice in one object"),
        (b"[]", "must hold a JSON object, got list"),
    ],
)
def test_json_that_is_none_names_its_file(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_json(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


@given(st.binary(max_size=30))
def test_any_bytes_are_json_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    with names_file_or_passes(path):
        assert isinstance(read_json(path), dict)


def test_json_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"name": "\xc3\xa4"}')
    assert read_json(tmp_path / "a.json") == {"name": "ä"}
