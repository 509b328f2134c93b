"""JSON that is made to hurt: every reader of JSON refuses it, or reads it, soon and with little memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest

from fuzz_readers.readers import READERS, SEEDS
from spuproj.training.runtime.errors import InputError

JSON = [name for name in READERS if all(each.read_bytes()[:1] == b"{" for each in (SEEDS / name).iterdir())]
SECONDS, MEGABYTES = 10, 200

BOMBS = {
    "deep lists": "[" * 200_000,
    "deep objects": '{"a":' * 200_000,
    "deep and whole": '{"a":' + "[" * 900 + "]" * 900 + "}",
    "a number of a million digits": '{"a":' + "9" * 1_000_000 + "}",
    "a number above all": '{"a": 1e99999}',
    "a text of 4 MB": '{"a": "' + "x" * 4_000_000 + '"}',
    "a name of 4 MB": '{"' + "x" * 4_000_000 + '": 1}',
    "a name twice": '{"a": 1, "a": 2}',
    "no text": '{"a": "\\ud800"}',
    "a list": "[1]",
    "a number": "1",
    "NaN alone": "NaN",
    "ten thousand names": json.dumps({f"n{number}": number for number in range(10_000)}),
}
ODD: tuple[Any, ...] = (
    float("nan"),
    float("inf"),
    10**4000,
    "x" * 1_000_000,
    [[]] * 10_000,
    {str(n): n for n in range(10_000)},
)
"""In place of each field of a good file."""


def read(name, folder, content):
    """Reads, or raises InputError, within the bounds; the error is short."""
    folder.mkdir()
    told, began = "", time.process_time()
    tracemalloc.start()
    try:
        READERS[name](folder, content)
    except InputError as error:
        told = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(told) < 5000, told[:300]
    assert time.process_time() - began < SECONDS
    assert peak < MEGABYTES * 2**20


def test_the_readers_of_json_are_these() -> None:
    assert set(JSON) == {"manifest_json", "dataset_json", "split", "method", "model_config", "record", "summary"}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_or_harmless(bomb, tmp_path):
    for name in JSON:
        read(name, tmp_path / name, BOMBS[bomb].encode())


@pytest.mark.parametrize("name", JSON)
def test_a_bomb_in_any_field_is_refused_or_harmless(name, tmp_path):
    good = json.loads(next(iter(sorted((SEEDS / name).iterdir()))).read_bytes())
    for number, key in enumerate(good):
        for place, value in enumerate(ODD):
            content = json.dumps({**good, key: value})
            # Python does not write numbers of more than 4300 digits.
            read(name, tmp_path / f"{number}_{place}", content.encode())


MANY = 4_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("split", {"splits": [{"train": [f"c{n}" for n in range(5 * MANY)], "validation": [], "test": []}]}),
        ("dataset_json", {"channel_names": {str(n): f"c{n}" for n in range(MANY)}}),
        ("manifest_json", {"cases": [{"name": f"c{n}", "images": {"t1": "a"}} for n in range(MANY)]}),
        ("manifest_json", {"cases": [{"name": "a", "images": {f"m{n}": "a" for n in range(MANY)}}]}),
        ("manifest_csv", "name," + ",".join(f"c{n}" for n in range(4 * MANY)) + "\na,b\n"),
        ("manifest_csv", "name," + "x" * 200_000 + "\na,b\n"),
    ],
)
def test_many_entries_are_read_in_a_time_that_grows_with_their_number(name, content, tmp_path):
    read(name, tmp_path / "in", (content if isinstance(content, str) else json.dumps(content)).encode())
