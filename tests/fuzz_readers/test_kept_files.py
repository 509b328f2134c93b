"""The seeds of the fuzzer are read, and what it once found does no harm: every reader raises InputError or nothing."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from fuzz_readers.json_mutation import changed
from fuzz_readers.readers import FINDINGS, READERS, SEEDS
from fuzz_readers.watch import watched
from spuproj.training.runtime.errors import InputError

SECONDS, MEGABYTES = 20, 190
"""At most for a file: on a busy machine, and beside what the libraries need."""


def kept(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


def peak() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read(name: str, folder: Path, content: bytes) -> InputError | None:
    """Reads a file; checks that nothing else was done, and that it needed little time and memory."""
    folder.mkdir()
    before, began = peak(), time.process_time()
    error = None
    with watched(folder) as done:
        try:
            READERS[name](folder, content)
        except InputError as raised:
            error = raised
    assert done == []
    assert time.process_time() - began < SECONDS
    assert peak() - before < MEGABYTES
    return error


def test_every_reader_has_seeds() -> None:
    assert {Path(path).parts[0] for path in kept(SEEDS)} == set(READERS)
    assert {Path(path).parts[0] for path in kept(FINDINGS)} <= set(READERS)


@pytest.mark.parametrize("path", kept(SEEDS))
def test_a_seed_is_read(path, tmp_path):
    # So that fuzzing begins behind the first checks.
    assert read(Path(path).parts[0], tmp_path / "in", (SEEDS / path).read_bytes()) is None


@pytest.mark.parametrize("path", kept(FINDINGS))
def test_what_fuzzing_found_does_no_harm(path, tmp_path):
    error = read(Path(path).parts[0], tmp_path / "in", (FINDINGS / path).read_bytes())
    assert error is None or str(error)


@pytest.mark.parametrize("name", [name for name in READERS if name not in ("cache", "checkpoint")])
def test_seeds_with_one_change_do_no_harm(name, tmp_path):
    """A few of the fuzzer's own steps: JSON with odd values, other files cut and with bytes exchanged."""
    for number in range(24):
        seeds = sorted((SEEDS / name).iterdir())
        content = seeds[number % len(seeds)].read_bytes()
        place = number * 7919 % len(content)
        cut = content[:place] if number % 2 else content[:place] + bytes([number * 11]) + content[place + 1 :]
        read(name, tmp_path / str(number), changed(content, number) or cut)


def test_the_watch_sees_what_a_reader_must_not_do(tmp_path):
    import pickle
    import subprocess

    (tmp_path / "in").mkdir()
    with watched(tmp_path / "in") as done:
        (tmp_path / "in" / "mine").write_text("allowed")
        (tmp_path / "out").write_text("planted")
        (tmp_path / "out").rename(tmp_path / "in" / "moved")
        (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "in" / ".." / "up").mkdir()
        pickle.loads(pickle.dumps(Path(".")))
        subprocess.run(["true"], check=True)
    assert [each.split()[0] for each in done] == [
        "open",
        "os.rename",
        "os.mkdir",
        "pickle.find_class",
        "subprocess.Popen",
    ]
