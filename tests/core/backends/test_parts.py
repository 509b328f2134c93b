"""On the CPU a batch with its own views for each sample is processed in parts, whose taps take a bounded memory."""

import weakref
from functools import partial

import pytest
import torch

from helpers import each_op, noise, random_geometry, same_bits, source_shape, target_size
from spuproj.backends import cpu

SIZE, VIEW_SIZE, BATCH, VIEWS = (21, 70), (18, 66), 5, 3
TABLES = torch.stack(
    [random_geometry(seed, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=VIEWS).table() for seed in range(BATCH)]
)


@pytest.fixture
def computed(monkeypatch):
    """The number of samples of each computation of taps; taps of two samples fit."""
    samples: list[int] = []
    kept: list[weakref.ref[cpu.CpuTaps]] = []
    monkeypatch.setattr(cpu, "POINTS", 2 * VIEWS * max(SIZE[0] * SIZE[1], VIEW_SIZE[0] * VIEW_SIZE[1]))
    for name in ("flat_taps", "tiled_taps"):

        def make(geometry, sampling, original):
            assert all(earlier() is None for earlier in kept), "the taps of the part before must be freed by now"
            samples.append(len(geometry))
            made = original(geometry, sampling)
            kept.append(weakref.ref(made))
            return made

        monkeypatch.setattr(cpu, name, partial(make, original=getattr(cpu, name)))
    return samples


def whole_and_parts(request, call):
    """The results of a call on a batch as a whole, and in parts of two samples."""
    whole = call(TABLES.clone())
    samples = request.getfixturevalue("computed")
    in_parts = call(TABLES.clone())
    assert samples == [2, 2, 1]
    return whole, in_parts


def tensors(results):
    return results if isinstance(results, tuple) else (results,)


@each_op
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_a_batch_in_parts_gives_the_bits_of_the_whole(request, op, interpolation):
    tensor = noise(*source_shape(op, VIEWS, SIZE, VIEW_SIZE, batch=BATCH))
    run, size = getattr(torch.ops.spuproj, op), target_size(op, SIZE, VIEW_SIZE)
    whole, in_parts = whole_and_parts(request, lambda table: tensors(run(tensor, table, size, interpolation)))
    assert same_bits(in_parts, whole)


@pytest.mark.parametrize("shape", [(VIEWS, *SIZE), (BATCH, VIEWS, *SIZE)], ids=["shared", "per_sample"])
def test_weights_and_the_gradient_of_reduce_are_divided_like_the_batch(request, shape):
    stack, weights = noise(BATCH, VIEWS, 2, *VIEW_SIZE), noise(*shape, seed=1).abs()
    ops = torch.ops.spuproj
    mean, _, count = ops.unproject_reduce(stack, TABLES, SIZE, "bilinear", weights)
    grads = noise(*mean.shape, seed=2), noise(*mean.shape, seed=3)

    def backward(table):
        return (ops.unproject_reduce_backward(*grads, stack, table, mean, count, "bilinear", weights),)

    whole, in_parts = whole_and_parts(request, backward)
    assert same_bits(in_parts, whole)


@pytest.mark.parametrize("shape", [(VIEWS, *SIZE), (BATCH, VIEWS, *SIZE)], ids=["shared", "per_sample"])
def test_a_weighted_batch_in_parts_gives_the_bits_of_the_whole(request, shape):
    stack, weights = noise(BATCH, VIEWS, 2, *VIEW_SIZE), noise(*shape, seed=1).abs()
    reduce = torch.ops.spuproj.unproject_reduce
    whole, in_parts = whole_and_parts(request, lambda table: reduce(stack, table, SIZE, "bilinear", weights))
    assert same_bits(in_parts, whole)


def test_views_that_the_batch_shares_are_processed_at_once(computed):
    torch.ops.spuproj.project(noise(BATCH, 1, *SIZE), TABLES[0].clone(), VIEW_SIZE)
    assert computed == [VIEWS]
