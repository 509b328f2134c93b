"""Code that the GPU backends share, run on the CPU: cached taps, batches in parts, order of summation."""

import gc
import math
import re
import weakref

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from backends_under_test import OpsOn, host_twin
from helpers import READS, each_op, noise, parts, random_geometry, same_bits, source_shape, target_size
from spuproj import Views, empty_cache
from spuproj.backends import gpu, taps, unchanged

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


CONTEXTS = {
    "grad": torch.enable_grad,
    "no grad": torch.no_grad,
    "inference": torch.inference_mode,
    "saved tensors on the CPU": torch.autograd.graph.save_on_cpu,
}
CHANGES = {
    "in place": lambda table: table[0, 2].add_(1),
    "through data": lambda table: setattr(table, "data", table.clone()),
    "other memory": lambda table: table.set_(TABLES[1].clone()),
    "fewer views": lambda table: table.resize_(1, 19),
}


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_table_counts_as_unwritten_until_it_changes(context, change):
    table = TABLES[0].clone()
    with context():
        seen = unchanged.witness(table)
        gc.collect()
        assert unchanged.unwritten(seen, table)
    assert unchanged.unwritten(seen, table)
    change(table)
    assert not unchanged.unwritten(seen, table)


def test_a_witness_made_while_a_checkpoint_runs_sees_writes():
    table, seen = TABLES[0].clone(), []

    def layer(image):
        seen.append(unchanged.witness(table))
        return image.exp().sin()

    checkpoint(layer, noise(2, 2).requires_grad_(), use_reentrant=False).sum().backward()
    assert [unchanged.unwritten(each, table) for each in seen] == [True] * 2
    table.add_(1)
    assert [unchanged.unwritten(each, table) for each in seen] == [False] * 2


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


def taps_made(backend, kernels, table):
    before = kernels.calls.count("taps")
    backend.project(noise(2, 3, *SIZE), table, VIEW_SIZE, "bilinear", "constant")
    return kernels.calls.count("taps") - before


ONE_TABLE = 3 * math.prod(VIEW_SIZE) * (4 + 4 + 4)
"""Bytes of the taps of one table: an index and two fractions."""


def test_the_cache_is_bounded_and_drops_what_was_prepared_longest_ago(backend, kernels):
    tables = [TABLES[seed].clone() for seed in range(4)]
    backend.backend.prepared.limit = 2 * ONE_TABLE
    assert [taps_made(backend, kernels, tables[n]) for n in (0, 1, 0, 2, 1, 3, 2)] == [1, 1, 0, 1, 0, 1, 0]


def test_tables_that_push_each_other_out_give_one_warning(backend, kernels):
    tables = [TABLES[seed].clone() for seed in range(3)]
    backend.backend.prepared.limit = 2 * ONE_TABLE
    assert [taps_made(backend, kernels, tables[n]) for n in (0, 1, 2)] == [1, 1, 1]
    with pytest.warns(UserWarning, match="the views in use need more memory for their taps than the 0 MiB"):
        assert taps_made(backend, kernels, tables[0]) == 1
    assert [taps_made(backend, kernels, tables[n]) for n in (1, 2, 0)] == [1, 1, 1]


def test_taps_beyond_the_limit_are_made_at_each_call_with_one_warning(backend, kernels):
    small, large = TABLES[0, :1].clone(), TABLES[1].clone()
    backend.backend.prepared.limit = ONE_TABLE - 1
    assert taps_made(backend, kernels, small) == 1
    with pytest.warns(UserWarning, match="are computed again and again"):
        assert taps_made(backend, kernels, large) == 1
    assert [taps_made(backend, kernels, table) for table in (large, small)] == [1, 0]


def test_a_table_whose_values_together_exceed_the_limit_keeps_the_latest(backend, kernels):
    stack, table = noise(2, 3, 3, *VIEW_SIZE), TABLES[0].clone()
    backend.backend.prepared.limit = 2 * ONE_TABLE
    assert taps_made(backend, kernels, table) == 1
    backend.unproject_reduce(stack, table, SIZE, "bilinear")
    backend.unproject_reduce(stack, table, SIZE, "bilinear")
    assert kernels.calls.count("taps") == 2


def test_taps_of_changed_tables_make_room_before_those_in_use(backend, kernels):
    used, changed, new = (TABLES[seed].clone() for seed in range(3))
    backend.backend.prepared.limit = 2 * ONE_TABLE
    for table in (used, changed):
        taps_made(backend, kernels, table)
    changed.add_(1e-3)
    assert [taps_made(backend, kernels, table) for table in (new, used)] == [1, 0]


def test_a_changed_table_frees_its_taps_when_it_is_used_again(backend, kernels):
    table = TABLES[0].clone()
    taps_made(backend, kernels, table)
    entry = backend.backend.prepared.find(table)
    table.copy_(TABLES[1])
    assert backend.backend.prepared.find(table) is None
    assert len(backend.backend.prepared) == 0
    assert entry.nbytes == ONE_TABLE


def test_empty_cache_drops_taps_of_every_backend(backend, kernels):
    table = TABLES[0].clone()
    taps_made(backend, kernels, table)
    empty_cache()
    assert len(backend.backend.prepared) == 0
    assert taps_made(backend, kernels, table) == 1


def samplings(nearest=False):
    return (
        taps.Sampling(VIEW_SIZE, SIZE, False, nearest, False, torch.float32),
        taps.Sampling(SIZE, VIEW_SIZE, True, nearest, False, torch.float32),
    )


@each_op
@pytest.mark.parametrize("table", [TABLES[0], TABLES[:2]], ids=["shared", "per_sample"])
@pytest.mark.parametrize("limit", [0, 2**20])
def test_what_is_prepared_is_not_made_again_whatever_its_size(backend, kernels, op, table, limit):
    table = table.clone()
    backend.backend.prepared.limit = limit
    backend.backend.prepare(table, samplings(), backward=True)
    made = kernels.calls.count("taps")
    kernels.calls.clear()
    run(backend, op, noise(*source_shape(op, 3, SIZE, VIEW_SIZE)), table)
    assert (made, kernels.calls.count("taps")) == (2, 0)


def test_what_is_prepared_stays_while_others_come_and_go_and_is_freed_with_its_table(backend, kernels):
    prepared_one, others = TABLES[0].clone(), [TABLES[seed].clone() for seed in (1, 2, 3)]
    backend.backend.prepared.limit = 2 * ONE_TABLE
    backend.backend.prepare(prepared_one, samplings()[:1], backward=False)
    assert [taps_made(backend, kernels, each) for each in (*others, prepared_one)] == [1, 1, 1, 0]
    values = [weakref.ref(each.value.index) for each in backend.backend.prepared.find(prepared_one).values.values()]
    prepared_one.add_(1e-3)
    taps_made(backend, kernels, prepared_one)
    assert all(value() is not None for value in values)
    del prepared_one
    gc.collect()
    assert all(value() is None for value in values)


@each_op
def test_a_call_like_an_earlier_one_runs_its_kernel_alone(backend, kernels, op):
    table = TABLES[0].clone()
    first, second = (noise(*source_shape(op, 3, SIZE, VIEW_SIZE), seed=seed) for seed in (0, 1))
    results = [run(backend, op, tensor, table) for tensor in (first, second, first)]
    once = len(kernels.calls) - 2
    assert same_bits(results[0], results[2])
    assert same_bits(results[1], run(OpsOn(host_twin()), op, second, table.clone()))
    assert once == (2 if kernels.calls[1] != "slopes" else 3)


@pytest.mark.parametrize("fill", [0.0, -0.0, 1, float("nan")])
def test_calls_with_other_options_are_calls_of_their_own(backend, fill):
    image, table = noise(2, 3, *SIZE), TABLES[0].clone()
    for given in (fill, 2.0, fill):
        seen = backend.project(image, table, VIEW_SIZE, "bilinear", "constant", given)
        afresh = OpsOn(host_twin()).project(image, table.clone(), VIEW_SIZE, "bilinear", "constant", given)
        assert torch.equal(seen.view(torch.int32), afresh.view(torch.int32))


def test_repeated_calls_keep_layout_and_write_into_out(backend):
    image, table = noise(2, 3, *SIZE), TABLES[0].clone()
    stacks = [
        backend.project(image, table, VIEW_SIZE, "bilinear", "constant", 0, torch.float16, torch.channels_last)
        for _ in range(2)
    ]
    assert stacks[0].stride() == stacks[1].stride()
    assert torch.equal(*stacks)
    for _ in range(2):
        out = torch.full((2, 3, 3, *VIEW_SIZE), -7.0)
        backend.project_out(image, table, out)
        assert torch.equal(out, backend.project(image, table, VIEW_SIZE))


def test_a_repeated_call_refuses_to_overwrite_what_it_reads(backend):
    memory, views = noise(2, 1, *SIZE), Views.rigid(SIZE)
    for _ in range(2):
        with pytest.raises(ValueError, match="out must not share its memory with image"):
            backend.project_out(memory[:1], views.geometry, memory[:1].unsqueeze(1))
        backend.project_out(memory[:1], views.geometry, memory[1:].unsqueeze(1))
    assert torch.equal(*memory)


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
    assert same_bits(run(backend, op, tensor, TABLES.clone()), whole)
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
    assert torch.equal(backend.project(image, TABLES[0].clone(), VIEW_SIZE, "bilinear", "constant"), direct)
