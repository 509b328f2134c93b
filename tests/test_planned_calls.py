"""Repeated calls go straight to the kernel, but never where the dispatcher has something to do."""

import copy
import threading

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import noise, run_python
from spuproj import Views, _cpu, backends, functional

SIZE = (9, 11)


@pytest.fixture
def views():
    return Views.spherical(SIZE, grid=(2, 2))


def twice(call):
    """The second call is the planned one."""
    call()
    return call()


@pytest.fixture
def planned(monkeypatch):
    """Counts the calls that were planned."""
    hits, original = [], backends.planned

    def count(*args):
        result = original(*args)
        hits.append(result is not None)
        return result

    monkeypatch.setattr(backends, "planned", count)
    return hits


def test_the_second_call_is_planned_and_gives_the_same(views, planned):
    image, stack = noise(2, 3, *SIZE), noise(2, 4, 3, *SIZE)
    table = views.geometry
    for call in (
        lambda: functional.project(image, table),
        lambda: functional.project(image, table, out_dtype=torch.float16, memory_format=torch.channels_last),
        lambda: functional.project(image.transpose(0, 1), table),
        lambda: functional.project_adjoint(stack, table, SIZE),
        lambda: functional.unproject(stack, table, SIZE),
        lambda: functional.unproject(stack, table, SIZE, interpolation="nearest"),
        lambda: functional.unproject_adjoint(stack, table, SIZE),
        lambda: functional.unproject_reduce(stack, table, SIZE),
    ):
        first, again = call(), call()
        assert planned[-1]
        assert_close(again, first, rtol=0, atol=0)
        first = first if isinstance(first, tuple) else (first,)
        again = again if isinstance(again, tuple) else (again,)
        for a, b in zip(first, again, strict=True):
            assert a.stride() == b.stride()
            assert a.data_ptr() != b.data_ptr()


def test_new_numbers_at_the_same_address_are_seen(views):
    image, table = noise(1, 1, *SIZE), views.geometry.clone()
    before = twice(lambda: functional.project(image, table))
    table[:, 0] += 1
    moved = functional.project(image, table)
    assert not torch.equal(moved, before)
    assert torch.equal(moved, functional.project(image, table.clone()))
    table.numpy()[:, 0] -= 1
    assert torch.equal(functional.project(image, table), before)


def test_planes_that_must_be_copied_are_read_anew(views, planned):
    image, table = noise(2, 3, *SIZE), views.geometry
    turned = image.mT.contiguous().mT
    assert torch.equal(twice(lambda: functional.project(turned, table)), functional.project(image, table))
    turned.neg_()
    assert torch.equal(functional.project(turned, table), functional.project(-image, table))
    zeros = torch._efficientzerotensor(image.shape)
    assert torch.equal(twice(lambda: functional.project(zeros, table)), functional.project(0 * image, table))


def test_the_backward_pass_of_reduce_is_planned(views, planned):
    leaf = noise(1, 4, 1, *SIZE).requires_grad_()
    weights = noise(1, 1, *SIZE, seed=1)
    first, again = (torch.autograd.grad(views.reduce(leaf)[:2], leaf, [weights, weights])[0] for _ in range(2))
    assert planned[-1]
    assert torch.equal(first, again)


def test_a_table_shared_or_per_sample_or_strided_is_not_taken_for_another(views):
    image, table = noise(1, 1, *SIZE), views.geometry
    assert torch.equal(twice(lambda: functional.project(image, table)), functional.project(image, table[None]))
    wide = torch.stack([table, torch.zeros_like(table)], -1)[..., 0]
    assert wide.stride() != table.stride()
    assert torch.equal(functional.project(image, wide), functional.project(image, table))


def test_a_table_of_another_dtype_at_the_same_address_is_refused(views):
    image, table = noise(1, 1, *SIZE), views.geometry
    twice(lambda: functional.project(image, table))
    single = table.view(torch.float32).flatten()[: table.numel()].view(table.shape)
    assert (single.data_ptr(), single.stride()) == (table.data_ptr(), table.stride())
    with pytest.raises(TypeError, match=r"geometry must be float64, got torch.float32"):
        functional.project(image, single)


def test_gradients_are_recorded(views):
    image = noise(1, 1, *SIZE)
    twice(lambda: views.project(image))
    leaf = image.clone().requires_grad_()
    assert views.project(leaf).requires_grad
    assert twice(lambda: views.project(leaf)).grad_fn is not None
    with torch.no_grad():
        assert not views.project(leaf).requires_grad
    with torch.inference_mode():
        assert views.project(image).is_inference()


def test_the_backward_pass_is_planned_and_differentiable(views, planned):
    leaf, weights = noise(1, 1, *SIZE).requires_grad_(), noise(1, 4, 1, *SIZE, seed=1)
    gradients = [torch.autograd.grad((views.project(leaf) * weights).sum(), leaf)[0] for _ in range(2)]
    assert planned[-1]
    assert torch.equal(*gradients)
    grad = weights.clone().requires_grad_()
    (first,) = torch.autograd.grad(views.project(leaf), leaf, grad, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), grad)
    assert_close(second, 2 * views.project(first.detach()))


class Names(TorchDispatchMode):
    """Records the names of the ops that it sees."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_modes_and_the_profiler_see_the_op(views):
    image = noise(1, 1, *SIZE)
    twice(lambda: views.project(image))
    with Names() as mode:
        views.project(image)
    assert "spuproj.project.default" in mode.names
    with torch.profiler.profile() as profile:
        views.project(image)
    assert "spuproj::project" in {event.name for event in profile.events()}


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_vmap_autocast_and_tracing_see_the_op(views):
    image = noise(1, 1, *SIZE)
    plain = twice(lambda: views.project(image))
    assert torch.equal(torch.vmap(views.project)(image[None])[0], plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert views.project(image.bfloat16()).dtype == torch.float32
    traced = torch.jit.trace(lambda image: views.project(image), image, check_trace=False)
    assert "spuproj::project" in str(traced.graph)


def test_lazily_negated_and_meta_tensors_are_not_read_as_they_lie(views):
    image = noise(1, 1, *SIZE)
    plain = twice(lambda: views.project(image))
    negated = torch.complex(torch.zeros_like(image), image).conj().imag
    assert negated.is_neg()
    assert_close(views.project(negated), -plain)
    meta = copy.deepcopy(views).to("meta").project(image.to("meta"))
    assert meta.device.type == "meta"
    assert meta.shape == plain.shape


def test_threads_may_share_plans(views):
    stack = noise(2, 4, 2, *SIZE)
    expected, failures = twice(lambda: views.reduce(stack)), []

    def work():
        for _ in range(200):
            if not all(map(torch.equal, views.reduce(stack), expected)):
                failures.append("different")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


MANY = """
import torch
from spuproj import functional, Views
from spuproj.backends.cpu_plans import LIMIT, plans
image, table = torch.ones(1, 1, 8, 8), Views.rigid((8, 8)).geometry
for height in range(1, 2 * LIMIT):
    functional.project(image, table, (height, 4))
assert 0 < len(plans) <= LIMIT, len(plans)
"""


def test_plans_are_bounded():
    run = run_python(MANY)
    assert run.returncode == 0, run.stderr


FULL = """
import torch
from spuproj import functional, Views
from spuproj.backends.cpu_plans import LIMIT, plans
image, table = torch.ones(1, 1, 8, 8), Views.rigid((8, 8)).geometry
for height in range(1, 1 + LIMIT):
    functional.project(image, table, (height, 4))
assert len(plans) == LIMIT, len(plans)
functional.project(image.requires_grad_(), table, (1, 4))
assert len(plans) == LIMIT, len(plans)
"""


def test_a_call_planned_again_makes_no_room_for_itself():
    run = run_python(FULL)
    assert run.returncode == 0, run.stderr


EVICTED = """
import gc
import weakref
import torch
from spuproj import functional, Views
from spuproj.backends import cpu_taps
image, table = torch.rand(1, 1, 32, 32), Views.spherical((32, 32), grid=(2, 2)).geometry
before = functional.project(image, table)
kept = weakref.ref(next(iter(cpu_taps._cache.values())))
cpu_taps.CACHE_BYTES = kept().nbytes
functional.project(image, table + 0.125)
gc.collect()
assert kept() is None, "a plan keeps taps that the cache has dropped"
assert torch.equal(functional.project(image, table), before)
"""


def test_where_torch_has_no_exchange_interface_nothing_is_planned(views):
    class Bare:
        pass

    plans = _cpu.Plans(Bare, torch.empty_like, torch.is_grad_enabled, torch.get_num_threads, (), "SPUPROJ_BACKEND", 8)
    image, options = noise(1, 1, *SIZE), (SIZE, "bilinear", "zeros", None, None)
    strides = _cpu.Strides(1, 1, 1, 1)
    kernel = _cpu.copy(4, _cpu.Shape(1, 1, 1), _cpu.Taps(0, 0, 0, 0, 0, 1, 0), strides, strides)
    plans.keep("project", (image,), views.geometry, options, None, lambda: plans, kernel, 1, None, None)
    assert len(plans) == 0
    assert plans.call("project", (image,), views.geometry, options, None) is None


def test_a_plan_does_not_keep_taps_beyond_their_cache():
    run = run_python(EVICTED)
    assert run.returncode == 0, run.stderr


CHANGED = """
import os
import torch
from spuproj import Views
views, image = Views.rigid((8, 8)), torch.ones(1, 1, 8, 8)
views.project(image), views.project(image)
os.environ["SPUPROJ_BACKEND"] = "nonsense"
try:
    views.project(image)
except RuntimeError as error:
    print(error)
"""


def test_the_backend_variable_is_heeded_between_planned_calls():
    run = run_python(CHANGED)
    assert "SPUPROJ_BACKEND must be one of cpu, cuda, triton, torch, got 'nonsense'" in run.stdout, run.stderr
