"""Eight Python threads that call all ops, forward and backward, while data is evicted, get the bits of one thread."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from helpers import READS, noise, parts, random_geometry, same_bits, source_shape, target_size
from load.resources import held, needs_proc
from spuproj import backends, empty_cache, set_cache_limit

THREADS = 8
SIZE, VIEW_SIZE = (40, 50), (30, 60)
TABLES = [random_geometry(seed, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=3).table() for seed in range(6)]


def outcome(op, table):
    """The results of an op, the gradient of what it reads, and, of one geometry in two, that of the geometry."""
    source = noise(*source_shape(op, 3, SIZE, VIEW_SIZE, 2, 3)).requires_grad_()
    leaf = table.clone().requires_grad_() if table is TABLES[0] else table
    results = parts(getattr(torch.ops.spuproj, op)(source, leaf, target_size(op, SIZE, VIEW_SIZE)))
    torch.autograd.backward(results[:2], [torch.ones_like(part) for part in results[:2]])
    return *results, source.grad, *([leaf.grad] if leaf.requires_grad else [])


@pytest.fixture
def _small_bounds():
    """Taps of some of the geometries fit."""
    store = backends.load("cpu").prepared
    before, store.limit = store.limit, 2**19
    empty_cache()
    set_cache_limit(2)
    yield
    store.limit = before
    set_cache_limit(256)
    empty_cache()


@needs_proc
@pytest.mark.usefixtures("_small_bounds", "keep_threads")
@pytest.mark.parametrize("rounds", [1, pytest.param(100, marks=pytest.mark.slow)])
def test_threads_get_the_bits_of_one_thread_while_data_is_evicted(rounds):
    torch.set_num_threads(1)
    expected = {(op, n): outcome(op, table) for op in READS for n, table in enumerate(TABLES)}
    before, stop = held(), threading.Event()

    def empty_often():
        while not stop.wait(0.01):
            empty_cache()

    def call(first):
        cases = list(expected) * rounds
        order = torch.randperm(len(cases), generator=torch.Generator().manual_seed(first)).tolist()
        return [
            case
            for case in (cases[n] for n in order)
            if not same_bits(outcome(case[0], TABLES[case[1]]), expected[case])
        ]

    emptying = threading.Thread(target=empty_often)
    emptying.start()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            assert list(pool.map(call, range(THREADS))) == [[]] * THREADS
    finally:
        stop.set()
        emptying.join()
    after = held()
    assert after.descriptors == before.descriptors
    assert after.threads <= before.threads
