"""The cache of prepared data while the garbage collector frees tables in it, and with several threads."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch

from spuproj.backends.prepared import PreparedStore
from spuproj.backends.taps import Sampling

SAMPLING = Sampling((4, 4), (4, 4), inverse=True, nearest=False, border=False, precision=torch.float32)


@dataclass
class Value:
    numbers: torch.Tensor


def make(*_):
    return Value(torch.zeros(8))


NBYTES = make().numbers.nbytes


def times_as_large(size):
    return lambda *_: Value(torch.zeros(8 * size))


def table(number):
    return torch.full((1, 19), float(number))


class InACycle:
    """Holds a table that only the garbage collector can free."""

    def __init__(self, held):
        self.held, self.itself = held, self


@pytest.fixture
def collector():
    """The garbage collector, off, and fast because it sees only objects made from here on."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.disable()
    yield gc
    gc.enable()
    gc.set_threshold(*before)
    gc.unfreeze()


def test_the_garbage_collector_may_free_tables_while_room_is_made(collector):
    for allocations in range(1, 80):
        store = PreparedStore(4 * NBYTES)
        living = [table(number) for number in range(6)]
        for number in range(20):
            store.get(InACycle(table(number)).held, SAMPLING, make)
        collector.set_threshold(collector.get_count()[0] + allocations)
        collector.enable()
        for each in living:
            store.get(each, SAMPLING, make)
        collector.disable()
        collector.collect()
        assert len(store) == len(living)
        assert [store.find(each).nbytes for each in living] == [0, 0] + 4 * [NBYTES]


@pytest.mark.parametrize(("size", "left"), [(1, [1, 1]), (2, [0, 1]), (3, [0, 0])])
def test_values_of_tables_that_have_changed_make_room_before_older_ones(size, left):
    store, oldest, changed, older, newest = PreparedStore(3 * NBYTES), *map(table, range(4))
    for each in (oldest, changed, older):
        store.get(each, SAMPLING, make)
    changed.zero_()
    store.get(newest, SAMPLING, times_as_large(size))
    assert [store.find(each).nbytes // NBYTES for each in (oldest, older, newest)] == [*left, size]


def test_a_new_value_stays_where_older_ones_of_its_table_make_room():
    store, given, other = PreparedStore(2 * NBYTES), table(0), table(1)
    for each in (given, other):
        store.get(each, SAMPLING, make)
    made = store.get(given, SAMPLING._replace(nearest=True), times_as_large(2))
    assert store.find(given).holds(made)
    assert [store.find(each).nbytes for each in (given, other)] == [2 * NBYTES, 0]


def test_threads_that_make_the_same_value_at_once_keep_one():
    given, store, together = table(0), PreparedStore(2**20), threading.Barrier(4)

    def make_together(*_):
        together.wait(30)
        return make()

    store.get(given, SAMPLING._replace(nearest=True), make)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.get(given, SAMPLING, make_together), range(4)))
    entry = store.find(given)
    assert (len(entry.values), entry.nbytes) == (2, 2 * NBYTES)
