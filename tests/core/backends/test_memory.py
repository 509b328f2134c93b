"""Memory of large results is reused within a limit and never shared by two results; otherwise ordinary tensors."""

import io
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.multiprocessing import get_context

from helpers import noise
from processes.forked import run_forked
from spuproj import Views, empty_cache, set_cache_limit
from spuproj.backends import memory

SIZE = (256, 512)
# Two views of one channel in float32: 1 MiB, so that every result lies in a block. A single plane needs no temporary
# memory, which would lie in another.
VIEWS = Views.spherical(SIZE, grid=(1, 2))
IMAGE = noise(1, 1, *SIZE)

pytestmark = pytest.mark.skipif(not memory.AVAILABLE, reason="this torch lacks DLPack's C exchange interface")

if not VIEWS.project(IMAGE).nbytes >= memory.SMALLEST:
    raise AssertionError("these results must be large enough to lie in blocks")


@pytest.fixture(autouse=True)
def _no_blocks():
    """Each test starts with no blocks and the default limit."""
    set_cache_limit(0)
    set_cache_limit(256)
    yield
    set_cache_limit(256)


def test_a_freed_result_gives_its_memory_to_the_next_one():
    first = VIEWS.project(IMAGE).data_ptr()
    assert [VIEWS.project(IMAGE).data_ptr() for _ in range(3)] == [first] * 3


def test_a_limit_of_zero_keeps_no_temporary_memory():
    channels = noise(1, 4, *SIZE)
    expected = VIEWS.project(channels)
    set_cache_limit(0)
    assert torch.equal(VIEWS.project(channels), expected)
    assert memory.kept() == 0


def test_temporary_memory_displaces_no_results():
    channels = noise(1, 4, *SIZE)  # interleaved in 2 MiB; a result of them takes 4
    set_cache_limit(8)
    results = [VIEWS.project(channels) for _ in range(2)]
    assert memory.kept() == 2 * 4 * 2**20
    assert torch.equal(*results)


def test_temporary_memory_is_kept_and_leaves_blocks_of_results_to_results():
    channels = noise(1, 2, *SIZE)  # interleaved in 2 MiB; a result of them takes a block of 2 MiB as well
    first = VIEWS.project(channels).data_ptr()
    assert [VIEWS.project(channels).data_ptr() for _ in range(3)] == [first] * 3
    assert memory.kept() == 2 * 2 * 2**20
    assert torch.equal(VIEWS.project(channels)[:, :, :1], VIEWS.project(channels[:, :1]))


def test_results_that_live_have_memory_of_their_own():
    results = [VIEWS.project(IMAGE * n) for n in range(4)]
    assert len({result.data_ptr() for result in results}) == 4
    for n, result in enumerate(results):
        assert torch.equal(result, VIEWS.project(IMAGE * n))


@pytest.mark.parametrize(
    "hold",
    [
        lambda result: result[0, 1],
        lambda result: result.numpy(),
        lambda result: result.detach(),
        lambda result: result.untyped_storage(),
        lambda result: memoryview(result.numpy()),
        lambda result: result.mul(2) if result.requires_grad else nn.Parameter(result),
    ],
    ids=["view", "numpy", "detach", "storage", "memoryview", "parameter"],
)
def test_whatever_refers_to_a_result_keeps_its_memory(hold):
    result = VIEWS.project(IMAGE)
    address = result.data_ptr()
    held = hold(result)
    del result
    assert VIEWS.project(IMAGE).data_ptr() != address
    del held
    assert address in [each.data_ptr() for each in [VIEWS.project(IMAGE), VIEWS.project(IMAGE)]]


def test_what_a_graph_has_saved_keeps_its_memory():
    leaf = IMAGE.clone().requires_grad_()
    loss = VIEWS.project(leaf).square().sum()
    for _ in range(3):
        VIEWS.project(-IMAGE)
    loss.backward()
    expected = IMAGE.clone().requires_grad_()
    with torch.no_grad():
        stack = VIEWS.project(expected)
    assert torch.equal(leaf.grad, torch.ops.spuproj.project_adjoint(2 * stack, VIEWS.geometry, SIZE))


def test_blocks_begin_with_a_large_page():
    assert VIEWS.project(IMAGE).data_ptr() % 2**21 == 0


def test_a_storage_is_as_large_as_its_result_so_that_saving_it_saves_no_more():
    result = VIEWS.project(IMAGE)
    assert result.untyped_storage().nbytes() == result.nbytes
    file = io.BytesIO()
    torch.save(result, file)
    assert file.tell() < result.nbytes + 4096
    file.seek(0)
    assert torch.equal(torch.load(file), result)
    assert torch.equal(pickle.loads(pickle.dumps(result)), result)


def test_small_results_are_ordinary_tensors():
    views = Views.rigid((32, 32))
    assert views.project(torch.ones(1, 1, 32, 32)).untyped_storage().resizable()
    assert memory.kept() == 0


def test_a_result_of_another_size_takes_a_block_that_it_fills_by_half():
    large = Views.rigid((1024, 1024)).project(torch.ones(1, 2, 1024, 1024))
    address = large.data_ptr()
    del large
    half = Views.rigid((1024, 1024)).project(torch.ones(1, 1, 1024, 1024))
    assert half.data_ptr() == address
    del half
    assert VIEWS.project(IMAGE).data_ptr() != address


def test_no_more_than_the_limit_is_kept():
    set_cache_limit(4)
    results = [VIEWS.project(IMAGE * n) for n in range(5)]
    assert memory.kept() == 4 * 2**20
    assert all(torch.equal(result, VIEWS.project(IMAGE * n)) for n, result in enumerate(results))
    set_cache_limit(2)
    assert memory.kept() == 2 * 2**20


def test_the_block_that_was_used_longest_ago_goes_first():
    set_cache_limit(4)
    first, second = VIEWS.project(IMAGE), VIEWS.project(IMAGE)
    addresses = first.data_ptr(), second.data_ptr()
    third = VIEWS.project(IMAGE)
    del first, second
    assert VIEWS.project(IMAGE).data_ptr() == addresses[1]
    assert third.data_ptr() not in addresses


@pytest.mark.parametrize("limit", [0, 1])
def test_a_result_beyond_the_limit_is_made_and_not_kept(limit):
    set_cache_limit(limit)
    assert torch.equal(VIEWS.project(IMAGE), VIEWS.project(IMAGE))
    assert memory.kept() == 0


def test_a_result_beyond_the_limit_displaces_nothing():
    address = VIEWS.project(IMAGE).data_ptr()
    set_cache_limit(2)
    VIEWS.project(IMAGE.repeat(4, 1, 1, 1))
    assert memory.kept() == 2 * 2**20
    assert VIEWS.project(IMAGE).data_ptr() == address


def test_empty_cache_drops_what_no_tensor_uses():
    used, freed = VIEWS.project(IMAGE), VIEWS.project(IMAGE)
    del freed
    empty_cache()
    assert memory.kept() == 2 * 2**20
    assert torch.equal(used, VIEWS.project(IMAGE))
    del used
    empty_cache()
    assert memory.kept() == 0


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf")])
def test_a_limit_that_is_no_size_is_refused(limit):
    with pytest.raises(ValueError, match="mebibytes must be a number of MiB, finite and not negative, got"):
        set_cache_limit(limit)


@pytest.mark.parametrize("limit", [1e30, 1e308])
def test_a_limit_beyond_all_memory_is_none(limit):
    set_cache_limit(limit)
    VIEWS.project(IMAGE)
    assert memory.kept() == 2 * 2**20


def test_a_limit_too_large_for_a_float_is_refused():
    with pytest.raises(ValueError, match="mebibytes must be a number of MiB"):
        set_cache_limit(10**400)


KEPT = """
import torch
from spuproj import Views
from spuproj.backends import memory
Views.rigid((1024, 1024)).project(torch.ones(1, 1, 1024, 1024))
print(memory.kept())
"""


@pytest.mark.parametrize(("limit", "kept"), [("", "4194304"), ("0", "0"), ("3.9", "0"), ("4", "4194304")])
def test_the_variable_sets_the_limit(limit, kept):
    run = run_forked(KEPT, SPUPROJ_CACHE_LIMIT=limit)
    assert run.stdout.split() == [kept], run.stderr


def test_a_larger_size_is_refused_and_a_smaller_one_is_a_part():
    result = VIEWS.project(IMAGE)
    with pytest.raises(RuntimeError, match="not resizable"):
        result.resize_(4 * result.numel())
    expected = result.flatten()[:10].clone()
    assert torch.equal(result.resize_(10), expected)


def test_a_result_can_be_moved_to_shared_memory():
    result = VIEWS.project(IMAGE)
    expected, address = result.clone(), result.data_ptr()
    assert result.share_memory_().is_shared()
    assert torch.equal(result, expected)
    assert VIEWS.project(IMAGE).data_ptr() == address


@pytest.mark.parametrize("channels_last", [False, True])
def test_results_of_either_format_lie_in_blocks(channels_last):
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    first = VIEWS.project(IMAGE, memory_format=memory_format)
    address = first.data_ptr()
    assert first.flatten(0, 1).is_contiguous(memory_format=memory_format)
    del first
    assert VIEWS.project(IMAGE, memory_format=memory_format).data_ptr() == address


def test_threads_never_share_memory():
    expected = [VIEWS.project(IMAGE * n) for n in range(8)]

    def call(n):
        return all(torch.equal(VIEWS.project(IMAGE * n), expected[n]) for _ in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(8)))


def _in_child(queue, held):
    images = [VIEWS.project(IMAGE * n) for n in range(3)]
    queue.put([float(image.double().sum()) for image in images] + [float(held.double().sum())])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_child_writes_into_memory_of_its_own_and_finds_the_lock_free():
    """While the parent forks, its threads take and give back blocks, so that one of them may hold the lock."""
    torch.set_num_threads(1)
    held = VIEWS.project(IMAGE * 5)
    before, context, stop = held.clone(), get_context("fork"), threading.Event()

    def take_blocks():
        while not stop.is_set():
            memory.in_block(torch.empty(memory.SMALLEST, dtype=torch.uint8))

    threads = [threading.Thread(target=take_blocks) for _ in range(3)]
    for thread in threads:
        thread.start()
    queues = []
    for _ in range(5):
        queues.append(context.SimpleQueue())
        context.Process(target=_in_child, args=(queues[-1], held)).start()
    sums = [queue.get() for queue in queues]
    stop.set()
    for thread in threads:
        thread.join()
    expected = [float(VIEWS.project(IMAGE * n).double().sum()) for n in range(3)]
    assert sums == [[*expected, float(before.double().sum())]] * 5
    assert torch.equal(held, before)


def test_a_result_that_dies_in_another_thread_gives_its_block_back():
    results = [VIEWS.project(IMAGE)]
    address = results[0].data_ptr()
    worker = threading.Thread(target=results.clear)
    worker.start()
    worker.join()
    assert VIEWS.project(IMAGE).data_ptr() == address
