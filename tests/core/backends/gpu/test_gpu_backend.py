"""Code that the GPU backends share, run on the CPU: cached taps, batches in parts, order of summation."""

import gc
import math
import re

import pytest
import torch

from backends_under_test import OpsOn, host_twin
from helpers import READS, each_op, noise, parts, random_geometry, same_bits, source_shape, target_size
from spuproj import Views
from spuproj.backends import gpu, prepared, taps

SIZE, VIEW_SIZE = (9, 11), (8, 10)
TABLES = torch.stack(
    [random_geometry(seed, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=3).table() for seed in range(5)]
)


class Counted:
    """Kernels that record the names of their calls."""

    def __init__(self, kernels):
        self.kernels, self.calls = kernels, []

    def __getattr__(self, name):
        value = getattr(self.kernels, name)
        if not callable(value):
            return value

        def run(*args, **options):
            self.calls.append(name)
            return value(*args, **options)

        return run


@pytest.fixture
def kernels():
    return Counted(host_twin().kernels)


@pytest.fixture
def backend(kernels):
    return OpsOn(gpu.GpuBackend(kernels))


def run(backend, op, tensor, table):
    options = ("bilinear", "constant") if op.startswith("project") else ("bilinear",)
    return parts(getattr(backend, op)(tensor, table, target_size(op, SIZE, VIEW_SIZE), *options))


@each_op
@pytest.mark.parametrize("table", [TABLES[0], TABLES[:2]], ids=["shared", "per_sample"])
def test_taps_are_made_once_for_a_table(backend, kernels, op, table):
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE))
    first, second = run(backend, op, tensor, table), run(backend, op, tensor, table)
    assert kernels.calls.count("taps") == 1
    assert same_bits(first, second)


def test_forward_and_backward_share_taps(backend, kernels):
    image, table = noise(2, 3, *SIZE), TABLES[0]
    stack = backend.project(image, table, VIEW_SIZE, "bilinear", "constant")
    backend.project_adjoint(stack, table, SIZE, "bilinear", "constant")
    assert kernels.calls == ["taps", "gather", "gather_adjoint"]


@each_op
def test_a_table_that_changes_in_place_gets_new_taps(backend, op):
    tensor, table = noise(*source_shape(op, 3, SIZE, VIEW_SIZE)), TABLES[0].clone()
    run(backend, op, tensor, table)
    table.copy_(TABLES[1])
    assert same_bits(run(backend, op, tensor, table), run(OpsOn(host_twin()), op, tensor, TABLES[1].clone()))


def test_an_inference_tensor_that_changes_gets_new_taps(backend):
    image = noise(2, 3, *SIZE)
    with torch.inference_mode():
        table = TABLES[0].clone()
        backend.project(image, table, VIEW_SIZE, "bilinear", "constant")
        table.copy_(TABLES[1])
        changed = backend.project(image, table, VIEW_SIZE, "bilinear", "constant")
    assert torch.equal(changed, backend.project(image, TABLES[1], VIEW_SIZE, "bilinear", "constant"))


def test_a_table_that_is_written_to_is_noticed_within_an_op_too():
    table = TABLES[0].clone()
    with torch.no_grad():
        seen = prepared.witness(table)
    assert prepared.unwritten(seen)
    table[0, 2] += 1
    assert not prepared.unwritten(seen)


def test_parts_of_one_table_do_not_share_taps(backend):
    image = noise(2, 3, *SIZE)
    for table in (TABLES[0], TABLES[1], TABLES[0, :2], TABLES[0, 1:], TABLES[0].flip(0)):
        seen = backend.project(image, table, VIEW_SIZE, "bilinear", "constant")
        assert torch.equal(seen, OpsOn(host_twin()).project(image, table.clone(), VIEW_SIZE, "bilinear", "constant"))


def test_taps_go_with_their_table(backend):
    image = noise(2, 3, *SIZE)
    for seed in range(3):
        table = TABLES[seed].clone()
        backend.project(image, table, VIEW_SIZE, "bilinear", "constant")
        assert len(backend.backend.prepared) == 1
        del table
        gc.collect()
        assert len(backend.backend.prepared) == 0


def test_the_cache_is_bounded_and_drops_what_was_prepared_longest_ago(backend, kernels):
    image, tables = noise(2, 3, *SIZE), [TABLES[seed].clone() for seed in range(3)]
    one = sum(tensor.nbytes for tensor in (torch.empty(3, 80, dtype=torch.int32), *torch.empty(2, 3, 80)))
    backend.backend.prepared.limit = 2 * one

    def taps_made(table):
        before = kernels.calls.count("taps")
        backend.project(image, table, VIEW_SIZE, "bilinear", "constant")
        return kernels.calls.count("taps") - before

    assert [taps_made(tables[n]) for n in (0, 1, 0, 2, 0, 1)] == [1, 1, 0, 1, 1, 1]


@each_op
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_batch_in_parts_gives_the_bits_of_the_whole(backend, kernels, monkeypatch, op, deterministic, samples):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: deterministic)
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE, batch=5))
    whole = run(backend, op, tensor, TABLES)
    whole_calls, kernels.calls[:] = kernels.calls[:], []
    reads = VIEW_SIZE if op.startswith("project") else SIZE
    kernels.points = samples * 3 * math.prod(reads)
    assert same_bits(run(backend, op, tensor, TABLES), whole)
    assert len(kernels.calls) == len(whole_calls) * math.ceil(5 / samples)


@pytest.mark.parametrize("table", [TABLES[0], TABLES], ids=["shared", "per_sample"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_backward_of_reduce_in_parts_gives_the_bits_of_the_whole(backend, monkeypatch, table, deterministic):
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: deterministic)
    views = noise(5, 3, 2, *VIEW_SIZE)
    mean, variance, count = backend.unproject_reduce(views, table, SIZE, "bilinear")
    arguments = (mean, variance, views, table, mean, count, "bilinear")
    whole = backend.unproject_reduce_backward(*arguments)
    monkeypatch.setattr(gpu, "SLOPE_BYTES", 2 * 3 * 2 * math.prod(SIZE) * 4)
    assert torch.equal(backend.unproject_reduce_backward(*arguments), whole)


@pytest.mark.parametrize("op", [op for op in READS if op.endswith("adjoint")])
def test_per_sample_adjoints_add_in_a_fixed_order_with_deterministic_algorithms(backend, kernels, monkeypatch, op):
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE, batch=5))
    (atomic,) = run(backend, op, tensor, TABLES)
    assert kernels.calls == ["taps", "gather_adjoint_atomic"]
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    (ordered,) = run(backend, op, tensor, TABLES)
    assert kernels.calls[2:] == ["gather_adjoint"]
    torch.testing.assert_close(ordered, atomic)


def test_a_transpose_lists_the_readers_of_each_pixel_in_order():
    given = taps.Taps(
        index=torch.tensor([[0, -1, -4, -2]], dtype=torch.int32),
        fraction_y=torch.tensor([[0.25, 0.0, 0.0, 0.0]]),
        fraction_x=torch.tensor([[0.5, 0.0, 0.0, 0.0]]),
        source=(2, 2),
    )
    transpose = taps.transpose_of(given)
    assert transpose.start.tolist() == [[0, 2, 3, 5, 6]]
    assert transpose.pixel[0, :6].tolist() == [0, 3, 0, 0, 2, 0]
    assert transpose.weight[0, :6].tolist() == [0.375, 1.0, 0.375, 0.125, 1.0, 0.125]


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (torch.uint8, "a plane that is read must have at most 2147483646 pixels, got 65536 x 32768"),
        (torch.float64, "a plane that is read must be of less than 4 GiB here, got 32768 x 32767 of torch.float64"),
    ],
    ids=str,
)
def test_a_plane_beyond_the_reach_of_32_bits_is_refused(backend, dtype, message):
    size = (2**16, 2**15) if dtype == torch.uint8 else (2**15, 2**15 - 1)
    image = torch.zeros(1, dtype=dtype).expand(1, 1, *size)
    table = Views.zoom(size, centers=[(0, 0)], factor=2.0, view_size=(4, 4)).geometry
    with pytest.raises(ValueError, match=re.escape(message)):
        backend.project(image, table, (4, 4), "nearest", "constant")


def test_a_transpose_of_more_entries_than_32_bits_count_is_refused(monkeypatch):
    monkeypatch.setattr(taps, "ENTRIES", 11)
    given = taps.Taps(torch.zeros(1, 3, dtype=torch.int32), torch.zeros(1, 3), torch.zeros(1, 3), (2, 2))
    with pytest.raises(ValueError, match="views must have at most 2 pixels here, got 3"):
        taps.transpose_of(given)


def test_planes_that_span_too_many_bytes_are_copied(backend, monkeypatch):
    image = noise(1, 3, *SIZE).movedim(1, -1).contiguous().movedim(-1, 1)
    direct = backend.project(image, TABLES[0], VIEW_SIZE, "bilinear", "constant")
    monkeypatch.setattr(gpu, "PLANE_BYTES", 2 * 4 * math.prod(SIZE))
    assert torch.equal(backend.project(image, TABLES[0], VIEW_SIZE, "bilinear", "constant"), direct)
