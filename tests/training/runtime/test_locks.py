"""One process at a time writes to a folder, and a lock ends with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from processes.forkserver import execute, start
from spuproj.training.runtime.errors import InputError
from spuproj.training.runtime.locks import LOCK, held

HOLDER = """
import os, sys, time
from pathlib import Path
from spuproj.training.runtime.locks import held

with held(Path(sys.argv[1])):
    child = os.fork()
    if child:
        Path(sys.argv[1], "child.new").write_text(str(child))
        Path(sys.argv[1], "child.new").rename(Path(sys.argv[1], "child"))
    time.sleep(60)
"""


def is_free(folder: Path, part: str = "") -> bool:
    try:
        with held(folder, part):
            return True
    except InputError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="kills and forks processes")
def test_a_lock_names_its_process_ends_when_that_is_killed_and_is_not_inherited_by_its_children(tmp_path):
    process = start(execute, (HOLDER, [str(tmp_path)], tmp_path / "out", tmp_path / "err"), tmp_path)
    while not (tmp_path / "child").exists():
        assert process.is_alive(), (tmp_path / "err").read_text()
        time.sleep(0.01)
    child = int((tmp_path / "child").read_text())
    try:
        message = rf"{re.escape(str(tmp_path))} must be .* but process {process.pid} on {socket.gethostname()} .*since"
        with pytest.raises(InputError, match=message), held(tmp_path):
            pass
        process.kill()
        process.join()
        assert (tmp_path / LOCK).exists()
        assert is_free(tmp_path)
    finally:
        process.kill()
        os.kill(child, signal.SIGKILL)


def test_a_held_folder_is_free_again_afterwards_also_after_an_error(tmp_path):
    for error in (None, OSError("disk full")):
        try:
            with held(tmp_path):
                assert not is_free(tmp_path)
                if error:
                    raise error
        except OSError:
            pass
        assert list(tmp_path.iterdir()) == []
        assert is_free(tmp_path)


def test_another_thread_does_not_share_the_lock(tmp_path):
    with held(tmp_path), ThreadPoolExecutor(1) as pool:
        assert not pool.submit(is_free, tmp_path).result()


def test_parts_of_a_folder_are_held_apart(tmp_path):
    with held(tmp_path, "Ä case"):
        assert is_free(tmp_path)
        assert is_free(tmp_path, "other")
        with pytest.raises(InputError, match=r"\(Ä case\) must be written by one process"), held(tmp_path, "Ä case"):
            pass


def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path):
    with held(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()
    with held(tmp_path / "used"):
        (tmp_path / "used" / "file").touch()
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["file"]


def test_the_file_of_a_killed_process_does_not_matter_whatever_it_holds(tmp_path):
    (tmp_path / LOCK).write_bytes(b"\xff\0" * 500)
    with held(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said(tmp_path, capsys, monkeypatch, code):
    def no_locks(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with held(tmp_path):
        (tmp_path / "file").touch()
    assert f"{tmp_path} cannot be locked" in capsys.readouterr().err
    assert (tmp_path / "file").exists()


def test_a_folder_that_may_not_be_written_to_is_an_error_of_its_own(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is no folder; choose another"), held(tmp_path / "file"):
        pass
