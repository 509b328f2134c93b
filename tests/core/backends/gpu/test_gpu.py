"""Behaviour that only a GPU shows: streams, CUDA graphs, large tensors, memory, calls that do not synchronise."""

import gc

import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from backends_under_test import GPU
from helpers import READS, each_op, each_variant, noise, parts, random_geometry, same_bits, source_shape, target_size
from spuproj import Geometry, Views, backends, functional
from spuproj.backends.gpu import GpuBackend

pytestmark = pytest.mark.skipif(not GPU, reason="torch sees no GPU")

SIZE, VIEW_SIZE = (40, 50), (36, 60)
SHARED = random_geometry(4, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=3).table()
PER_SAMPLE = torch.stack(
    [random_geometry(seed, SIZE, VIEW_SIZE, "stereographic", "equal_area", views=3).table() for seed in (5, 6)]
)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
OPS = torch.ops.spuproj


def keep_the_stream_busy():
    """Queues work of some ten milliseconds, longer than the host needs to go on."""
    large = torch.ones(8192, 8192, device="cuda")
    return large @ large


LARGEST = 40 * 2**30
"""Bytes of device memory that the tests of more than 2^31 elements need."""


@pytest.fixture
def most_of_the_memory():
    """For tests that need most of the device's memory: they are in one process, which gives it back afterwards."""
    if torch.cuda.mem_get_info()[0] < LARGEST:
        pytest.skip(f"needs {LARGEST / 2**30:.0f} GiB of free device memory")
    yield
    gc.collect()
    torch.cuda.empty_cache()


of_large_tensors = pytest.mark.xdist_group("device memory")


@pytest.fixture(params=["cuda", "triton", "torch"])
def served_by(request, monkeypatch):
    """Each backend that serves GPU tensors, in turn."""
    if (why := backends.missing(request.param)) is not None:
        pytest.skip(why)
    use_backend(request.param, monkeypatch)
    yield request.param
    backends.backend_for.cache_clear()


def use_backend(name, monkeypatch):
    """Selects a backend again, which a process otherwise does once."""
    monkeypatch.setenv("SPUPROJ_BACKEND", name)
    backends.backend_for.cache_clear()


def run(op, tensor, table, *options):
    return parts(getattr(OPS, op)(tensor, table, target_size(op, SIZE, VIEW_SIZE), *options))


@each_variant
@pytest.mark.parametrize("table", [SHARED, PER_SAMPLE], ids=["shared", "per_sample"])
def test_results_and_gradients_are_those_of_the_cpu(served_by, op, options, table, monkeypatch):
    host = noise(*source_shape(op, 3, SIZE, VIEW_SIZE)).requires_grad_()
    device = host.detach().cuda().requires_grad_()
    there = run(op, device, table.cuda(), *options)
    use_backend("cpu", monkeypatch)
    here = run(op, host, table, *options)
    assert_close(tuple(part.cpu() for part in there), here, rtol=1e-5, atol=1e-5)
    gradients = [noise(*part.shape, seed=1) for part in here[:2]]
    (expected,) = torch.autograd.grad(here[:2], host, gradients)
    use_backend(served_by, monkeypatch)
    (found,) = torch.autograd.grad(there[:2], device, [gradient.cuda() for gradient in gradients])
    assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


@each_op
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("table", [SHARED, PER_SAMPLE], ids=["shared", "per_sample"])
def test_ops_keep_the_contract_of_registered_ops(op, dtype, table):
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE), dtype=dtype).cuda().requires_grad_()
    arguments = (tensor, table.cuda(), target_size(op, SIZE, VIEW_SIZE))
    tests = ("test_schema", "test_faketensor", "test_autograd_registration", "test_aot_dispatch_dynamic")
    torch.library.opcheck(getattr(OPS, op).default, arguments, test_utils=tests, rtol=1e-2, atol=1e-2)


@each_op
@pytest.mark.parametrize("table", [SHARED, PER_SAMPLE], ids=["shared", "per_sample"])
def test_results_are_equal_bits_from_run_to_run(served_by, op, table):
    if served_by == "torch" or (table is PER_SAMPLE and op.endswith("adjoint")):
        pytest.skip("adds in any order")
    tensor, table = noise(*source_shape(op, 3, SIZE, VIEW_SIZE)).cuda(), table.cuda()
    assert same_bits(run(op, tensor, table), run(op, tensor, table.clone()))


@pytest.mark.parametrize("op", [op for op in READS if op.endswith("adjoint")])
def test_deterministic_algorithms_are_heeded(op):
    tensor, table = noise(*source_shape(op, 3, SIZE, VIEW_SIZE)).cuda(), PER_SAMPLE.cuda()
    torch.use_deterministic_algorithms(True)
    try:
        assert same_bits(run(op, tensor, table), run(op, tensor, table.clone()))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
@each_op
@pytest.mark.parametrize("table", [SHARED, PER_SAMPLE], ids=["shared", "per_sample"])
def test_nothing_waits_for_the_device(served_by, op, table):
    tensor, table = noise(*source_shape(op, 3, SIZE, VIEW_SIZE)).cuda(), table.cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(op, tensor, table)
        run(op, tensor, table)
    finally:
        torch.cuda.set_sync_debug_mode("default")


VIEW_USES = {
    "made": lambda views: Views.spherical(SIZE, grid=(2, 2)),
    "from parameters": lambda views: Views(Geometry.from_table(views.geometry), views.size),
    "an integer": lambda views: views[-1],
    "a slice": lambda views: views[1:],
    "a list": lambda views: views[[0, -1]],
    "a mask": lambda views: views[torch.tensor([True, False, True, False], device="cpu")],
    "integers on the GPU": lambda views: views[torch.arange(2, device="cuda")],
    "one for each sample": lambda views: views.pick([0, 3, 1]),
    "added": lambda views: views + views,
}


@pytest.mark.parametrize("use", VIEW_USES.values(), ids=VIEW_USES)
def test_views_are_made_selected_and_added_without_waiting(use):
    views = Views.spherical(SIZE, grid=(2, 2)).cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.device("cuda"):
            made = use(views)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert made.geometry.is_cuda
    assert torch.isfinite(made.geometry).all()


def test_work_waits_for_what_its_stream_waits_for():
    table, image = SHARED.cuda(), noise(2, 3, *SIZE).cuda()
    expected = functional.project(image, table.clone(), VIEW_SIZE)
    late, stream = torch.zeros_like(image), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        keep_the_stream_busy()
        late.copy_(image)
        seen = functional.project(late, table, VIEW_SIZE)
    stream.synchronize()
    assert torch.equal(seen, expected)


def test_taps_that_one_stream_makes_serve_another():
    image, table = noise(2, 3, *SIZE).cuda(), SHARED.cuda()
    expected = functional.project(image, table.clone(), VIEW_SIZE)
    first, second = torch.cuda.Stream(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(first):
        keep_the_stream_busy()
        functional.project(image, table, VIEW_SIZE)
    with torch.cuda.stream(second):
        seen = functional.project(image, table, VIEW_SIZE)
    second.synchronize()
    assert torch.equal(seen, expected)


def test_memory_of_dropped_taps_is_not_reused_while_another_stream_reads_it():
    image, table = noise(2, 3, *SIZE).cuda(), SHARED.cuda()
    expected = functional.project(image, table.clone(), VIEW_SIZE)
    functional.project(image, table, VIEW_SIZE)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        keep_the_stream_busy()
        seen = functional.project(image, table, VIEW_SIZE)
    del table
    gc.collect()
    functional.project(image, PER_SAMPLE.cuda(), VIEW_SIZE)
    clutter = [torch.full((3, 1, 2160), -7, dtype=torch.int32, device="cuda") for _ in range(50)]
    stream.synchronize()
    assert torch.equal(seen, expected)
    assert len(clutter) == 50


@pytest.mark.parametrize("table", [SHARED, PER_SAMPLE], ids=["shared", "per_sample"])
def test_a_captured_graph_reads_the_image_and_the_geometry_anew(served_by, table):
    image, places = noise(2, 3, *SIZE).cuda(), table.cuda()

    def step():
        views = functional.project(image, places, VIEW_SIZE)
        return views, *functional.unproject_reduce(views, places, SIZE)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    image.copy_(noise(2, 3, *SIZE, seed=1))
    places[..., :2] += 3.0
    graph.replay()
    assert_close(captured, step(), rtol=0, atol=0)


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_graph_of_prepared_views_runs_no_kernel_for_taps(served_by, per_sample, monkeypatch):
    if served_by == "torch":
        pytest.skip("prepares nothing")
    views = Views.from_table((PER_SAMPLE if per_sample else SHARED).cuda(), SIZE, VIEW_SIZE).prepare(backward=True)
    image = noise(2, 3, *SIZE).cuda()

    def step():
        # A leaf of its own: autograd runs on the stream on which a leaf was first used.
        given = image.detach().requires_grad_()
        mean, variance, _ = views.reduce(views.project(given))
        return torch.autograd.grad(mean.sum() + variance.sum(), given)[0], mean.detach()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        expected = step()
    torch.cuda.current_stream().wait_stream(side)
    backend, graph, made = backends.backend_for("cuda"), torch.cuda.CUDAGraph(), []
    assert isinstance(backend, GpuBackend)
    make = backend.kernels.taps
    monkeypatch.setattr(backend.kernels, "taps", lambda *given: made.append(1) or make(*given))
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    assert made == []
    assert_close(captured, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("table", [SHARED, PER_SAMPLE], ids=["shared", "per_sample"])
@each_op
def test_a_second_call_computes_no_taps(served_by, op, table):
    if served_by == "torch":
        pytest.skip("keeps nothing")
    tensor, table = noise(*source_shape(op, 3, SIZE, VIEW_SIZE)).cuda(), table.cuda()
    first, prepared = run(op, tensor, table), backends.backend_for("cuda").prepared
    kept = dict(prepared.find(table).values)
    second = run(op, tensor, table)
    assert kept
    assert all(prepared.find(table).values[key] is value for key, value in kept.items())
    assert_close(first, second, rtol=1e-5, atol=1e-5)
    table.add_(0)
    assert prepared.find(table) is None


def test_compiled_code_runs_through_graphs():
    views = Views.spherical(SIZE, grid=(2, 2), magnification=1.5).cuda()

    @torch.compile(fullgraph=True, mode="reduce-overhead")
    def step(image):
        mean, variance, _ = views.reduce(torch.sigmoid(views.project(image)))
        return mean.sum() + variance.sum(), mean.clone()

    for seed in range(4):
        image = noise(2, 3, *SIZE, seed=seed).cuda().requires_grad_()
        torch.compiler.cudagraph_mark_step_begin()
        total, mean = step(image)
        (gradient,) = torch.autograd.grad(total, image)
        plain = image.detach().clone().requires_grad_()
        expected, variance, _ = views.reduce(torch.sigmoid(views.project(plain)))
        (plain_gradient,) = torch.autograd.grad(expected.sum() + variance.sum(), plain)
        assert_close(mean, expected, rtol=1e-4, atol=1e-5)
        assert_close(gradient, plain_gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_takes_float32(dtype):
    views, image = Views.spherical(SIZE, grid=(2, 2)).cuda(), noise(2, 3, *SIZE, dtype=dtype).cuda()
    with torch.autocast("cuda", dtype=dtype):
        assert views.project(image).dtype == torch.float32


@each_op
def test_empty_batches_give_empty_results(served_by, op):
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE))[:0].cuda()
    assert all(part.numel() == 0 and part.is_cuda for part in run(op, tensor, SHARED.cuda()))


def test_pinned_batches_of_a_loader():
    images = noise(6, 3, *SIZE)
    views = Views.spherical(SIZE, grid=(2, 2))
    expected = views.project(images)
    there = views.to("cuda")
    loader = DataLoader(TensorDataset(images), batch_size=2, pin_memory=True, num_workers=1)
    seen = torch.cat([there.project(batch.cuda(non_blocking=True)).cpu() for (batch,) in loader])
    assert_close(seen, expected, rtol=1e-5, atol=1e-5)


@of_large_tensors
@pytest.mark.usefixtures("most_of_the_memory")
def test_results_beyond_2_to_the_31_elements(served_by):
    if served_by == "torch":
        pytest.skip("needs many times the memory")
    size, table = (256, 256), Views.rigid((256, 256), angles=[0.0]).geometry.cuda()
    image = torch.zeros(2**15 + 3, 1, *size, dtype=torch.uint8, device="cuda")
    image[-1, 0, -1, -1], image[0, 0, 0, 0] = 7, 5
    seen = functional.project(image, table, size, interpolation="nearest")
    assert seen.numel() > 2**31
    assert torch.equal(seen[-1], image[-1:])
    assert torch.equal(seen[0], image[:1])
    assert int((seen != 0).sum()) == 2


@of_large_tensors
@pytest.mark.usefixtures("most_of_the_memory")
def test_sources_beyond_2_to_the_31_elements(served_by):
    if served_by == "torch":
        pytest.skip("needs many times the memory")
    size, table = (256, 256), Views.rigid((256, 256), angles=[0.0]).geometry.cuda()
    stack = torch.zeros(2**15 + 3, 1, 1, *size, dtype=torch.float16, device="cuda")
    stack[-1, 0, 0, -1, -1] = 7
    mean, _, count = functional.unproject_reduce(stack, table, size)
    assert float(mean[-1, 0, -1, -1]) == 7
    assert int(mean.count_nonzero()) == 1
    assert bool((count == 1).all())
    del count
    image = functional.project_adjoint(stack, table, size)
    assert float(image[-1, 0, -1, -1]) == 7
    assert int(image.count_nonzero()) == 1


def test_reduce_allocates_no_stack_of_slices(served_by):
    if served_by == "torch":
        pytest.skip("holds a view at a time in float32")
    views = Views.spherical((128, 128), grid=(5, 5), magnification=0.7).cuda()
    stack = torch.ones(4, 25, 16, 128, 128, device="cuda")
    views.reduce(stack)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    results = views.reduce(stack)
    extra = torch.cuda.max_memory_allocated() - before - sum(part.nbytes for part in results)
    assert extra < 0.01 * stack.nbytes


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second GPU")
def test_a_second_device_is_used_while_the_first_is_current(served_by):
    image, table = noise(2, 3, *SIZE), SHARED
    expected = functional.project(image.cuda(0), table.cuda(0), VIEW_SIZE).cpu()
    assert torch.cuda.current_device() == 0
    seen = functional.project(image.to("cuda:1"), table.to("cuda:1"), VIEW_SIZE)
    assert seen.device == torch.device("cuda:1")
    assert torch.equal(seen.cpu(), expected)
    assert torch.cuda.current_device() == 0
