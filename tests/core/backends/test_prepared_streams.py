"""What a side stream of a GPU does before it uses a cached value, with stand-ins for streams, events and tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from spuproj.backends import prepared
from spuproj.backends.prepared import PreparedStore
from spuproj.backends.taps import Sampling


@dataclass(eq=False)
class Stream:
    cuda_stream: int
    waits: list[str] = field(default_factory=list)
    recorded: int = 0

    def wait_event(self, event: str) -> None:
        self.waits.append(event)

    def record_event(self) -> str:
        self.recorded += 1
        return f"event {self.recorded}"


@dataclass(eq=False)
class Taps:
    nbytes: int
    read_on: list[Stream] = field(default_factory=list)

    def record_stream(self, stream: Stream) -> None:
        self.read_on.append(stream)

    def rows(self, numbers: torch.Tensor) -> Taps:
        return Taps(len(numbers))


class Table:
    """What the cache asks of a table."""

    is_cuda, device, shape = True, torch.device("cuda", 0), torch.Size([4, 19])

    def is_inference(self) -> bool:
        return False


def table_on_gpu() -> Any:
    return Table()


A: Any = Sampling((4, 4), (4, 4), inverse=True, nearest=False, border=False, precision=torch.float32)
B: Any = A._replace(nearest=True)
"""Samplings: keys of the values."""


@pytest.fixture
def gpu(monkeypatch) -> dict[str, Any]:
    """A GPU whose current stream is ``gpu["stream"]``, and whose default stream is ``gpu["default"]``."""
    default = Stream(0)
    state: dict[str, Any] = {"stream": default, "default": default}
    monkeypatch.setattr(prepared, "side_stream", lambda _: None if state["stream"] is default else state["stream"])
    monkeypatch.setattr(prepared, "unchanged_since", lambda _: lambda _: True)
    monkeypatch.setattr(prepared, "_tensors", lambda value: [value])
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda *_: state["stream"])
    return state


def make(*_: object) -> Taps:
    return Taps(600)


def test_a_side_stream_waits_once_for_each_value(gpu):
    store, table, side = PreparedStore(2000), table_on_gpu(), Stream(7)
    first, second = store.get(table, A, make), store.get(table, B, make)
    gpu["stream"] = side
    for _ in range(2):
        assert store.get(table, A, make) is first
        assert store.get(table, B, make) is second
    assert side.waits == ["event 1", "event 2"]
    assert first.read_on == second.read_on == [side]


def test_a_side_stream_waits_for_a_value_that_was_dropped_and_made_again(gpu):
    store, table, side = PreparedStore(1000), table_on_gpu(), Stream(7)
    first = store.get(table, A, make)
    gpu["stream"] = side
    store.get(table, A, make)
    gpu["stream"] = gpu["default"]
    store.get(table, B, make)
    again = store.get(table, A, make)
    assert again is not first
    gpu["stream"] = side
    assert store.get(table, A, make) is again
    assert side.waits == ["event 1", "event 3"]
    assert again.read_on == [side]


def test_no_thread_finds_a_value_before_its_event(gpu, monkeypatch):
    store, table, seen = PreparedStore(2000), table_on_gpu(), []

    def record_event(stream: Stream) -> str:
        entry = store.find(table)
        seen.append([] if entry is None else list(entry.values))
        return "event"

    monkeypatch.setattr(Stream, "record_event", record_event)
    store.get(table, A, make)
    store.get(table, B, make)
    assert [len(keys) for keys in seen] == [0, 1]


def test_a_side_stream_waits_for_the_value_from_which_it_takes_that_of_chosen_views(gpu):
    store, table, two = PreparedStore(2000), table_on_gpu(), table_on_gpu()
    store.get(table, A, make)
    store.choose(table, torch.tensor([3, 0]), two)
    gpu["stream"] = side = Stream(7)
    assert store.get(two, A, make).nbytes == 2
    assert side.waits == ["event 1"]
    gpu["stream"] = gpu["default"]
    assert store.get(table, A, make).read_on == [side]


def test_a_captured_graph_does_not_compute_all_views_for_the_chosen_ones(gpu, monkeypatch):
    store, table, two, computed = PreparedStore(2000), table_on_gpu(), table_on_gpu(), []

    def compute(views: Any, _: object) -> Taps:
        computed.append(views)
        return Taps(600)

    store.get(table, A, compute)
    store.choose(table, torch.tensor([3, 0]), two)
    gpu["stream"] = Stream(7)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    store.get(two, A, compute)
    assert computed == [table, two]
    store.pin(table)
    assert store.get(two, A, compute).nbytes == 2
    assert computed == [table, two]
