"""Step after step with a new geometry: what is prepared stays within its bounds, and memory stays flat."""

import gc

import pytest
import torch

from backends_under_test import OpsOn, host_twin
from helpers import random_geometry
from load.resources import held, needs_proc
from spuproj import Views, backends, empty_cache, set_cache_limit
from spuproj.backends import memory

SIZE = (40, 36)
steps = pytest.mark.parametrize("steps", [40, pytest.param(2000, marks=pytest.mark.slow)])


def step(seed):
    """A training step with views of its own: forward and backward of all that ``Views`` does. Returns the views."""
    views = Views.spherical(SIZE, grid=(2, 2), radius=20 + seed / 100, magnification=0.8)
    image = torch.rand(1, 2, *SIZE, requires_grad=True)
    stack = views.project(image)
    slices = views.unproject(stack)
    mean, variance, _ = views.reduce(stack)
    (slices.sum() + mean.sum() + variance.sum()).backward()
    return views


@pytest.fixture
def store():
    """The store of the CPU's backend, emptied before and after; its limit is set back."""
    store = backends.load("cpu").prepared
    before = store.limit
    empty_cache()
    yield store
    store.limit = before
    empty_cache()


@needs_proc
@steps
def test_what_is_prepared_goes_with_its_views_and_memory_is_flat(store, steps):
    for seed in range(20):
        step(seed)
    before = held()
    for seed in range(steps):
        step(seed)
    after = held()
    assert len(store) == 0
    # The taps of a step are 0.3 MiB: those of 2,000 steps would be 600 MiB.
    assert after.megabytes - before.megabytes < 24
    assert after[1:] == before[1:]


@needs_proc
@steps
def test_views_that_live_on_do_not_keep_more_than_the_bound(store, steps):
    store.limit = 4 * 2**20
    kept = [step(seed) for seed in range(20)]
    before = held()
    for seed in range(steps):
        kept.append(step(seed))
        if seed % 20 == 19:
            assert 0 < sum(store.find(views.geometry).nbytes for views in kept) <= store.limit
    assert held().megabytes - before.megabytes < 24 + 0.02 * steps
    assert len(store) == len(kept)
    kept.clear()
    gc.collect()
    assert len(store) == 0


@steps
def test_taps_and_transposes_of_a_gpu_backend_stay_within_their_bound(steps):
    backend = host_twin()
    backend.prepared.limit = 2**20
    ops, tables = OpsOn(backend), []
    image = torch.rand(1, 1, 24, 20)
    for seed in range(steps // 2):
        tables.append(random_geometry(seed, (24, 20), (24, 20), "gnomonic", "equidistant", views=2).table())
        stack = ops.project(image, tables[-1], (24, 20), "bilinear", "constant")
        ops.project_adjoint(stack, tables[-1], (24, 20), "bilinear", "constant")
        ops.unproject_reduce(stack, tables[-1], (24, 20), "bilinear")
    entries = [backend.prepared.find(table) for table in tables]
    assert 0 < sum(entry.nbytes for entry in entries) <= 2**20
    assert any(not entry.values for entry in entries)
    del tables, entries
    gc.collect()
    assert len(backend.prepared) == 0


@needs_proc
@steps
def test_the_memory_of_results_stays_within_its_bound_for_any_sizes(steps):
    """Results of 1 to 9 MiB, up to three of which live at the same time."""
    empty_cache()
    set_cache_limit(24)
    views, alive = Views.rigid((256, 256)), []
    image = torch.rand(1, 1, 256, 256)
    for seed in range(steps):
        if seed == steps // 2:
            before = held()
        alive.append(views.project(image.expand(4 + 7 * seed % 32, -1, -1, -1)))
        del alive[:-3]
        assert memory.kept() <= 24 * 2**20
    assert held().megabytes - before.megabytes < 40
    alive.clear()
    empty_cache()
    assert memory.kept() == 0
    set_cache_limit(256)
