"""Cached data of a geometry is computed once, found again, limited in size, and dropped if the values change."""

import ctypes
import gc

import pytest
import torch

from helpers import noise, random_geometry
from processes.forked import run_forked
from small_views import four_views, used
from spuproj import backends, functional
from spuproj.backends import cpu
from spuproj.backends.base import CALLS
from spuproj.backends.memory import AVAILABLE
from spuproj.ops import registration
from spuproj.ops.checks import INTERPOLATIONS

SIZE, VIEW_SIZE = (13, 17), (11, 15)
IMAGE = noise(2, 3, *SIZE)


@pytest.fixture
def backend(monkeypatch):
    """A separate CPU backend that counts how often taps are built."""

    class Counted(cpu.CpuBackend):
        made: list[int]

    fresh, made = Counted(), []
    monkeypatch.setattr(registration, "backend_for", lambda _: fresh)
    build = cpu.flat_taps
    monkeypatch.setattr(cpu, "flat_taps", lambda *given: made.append(1) or build(*given))
    fresh.made = made
    return fresh


def table(seed=0):
    return random_geometry(seed, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=2).table()


def project(given, image=IMAGE, view_size=VIEW_SIZE, **options):
    return functional.project(image, given, view_size, **options)


def projected_afresh(given, image=IMAGE):
    """The same call with a copy of the table, for which nothing is cached."""
    return project(given.clone(), image)


def calls(backend, given):
    if not AVAILABLE:
        pytest.skip("this torch lacks DLPack's C exchange interface, without which calls are not repeated")
    return len(backend.prepared.find(given).calls)


def test_a_second_call_builds_nothing_and_gives_the_same(backend):
    given = table()
    first, second = project(given), project(given)
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()
    assert (len(backend.made), calls(backend, given)) == (1, 1)


def test_a_call_of_another_shape_dtype_stride_or_option_is_a_call_of_its_own(backend):
    given = table()
    for n, image in enumerate(
        [IMAGE, IMAGE[:1], IMAGE[:, :2], IMAGE.flip(1), IMAGE.movedim(0, 1).contiguous().movedim(0, 1)]
    ):
        expected = projected_afresh(given, image)
        assert torch.equal(project(given, image), expected)
        assert torch.equal(project(given, image), expected), n
    assert project(given, IMAGE.double()).dtype == torch.float64
    assert not torch.equal(project(given, fill=2), project(given, fill=3))


def test_what_is_copied_before_it_is_read_is_not_kept(backend):
    given, image = table(), IMAGE.mT.contiguous().mT
    assert torch.equal(project(given, image), project(given))
    assert calls(backend, given) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given[0, 2].mul_(1.5),
        lambda given: given.numpy().__setitem__((0, 0), 3.0),
        lambda given: given.copy_(table(5)),
        lambda given: given.set_(table(6)),
        lambda given: given.resize_(1, 19),
    ],
    ids=["in place", "through numpy", "copied", "other memory", "fewer views"],
)
def test_a_changed_table_is_prepared_anew(backend, change):
    given = table()
    project(given)
    change(given)
    assert torch.equal(project(given), projected_afresh(given))
    assert len(backend.made) == 3


def test_a_table_that_dies_takes_everything_with_it(backend):
    given, other = table(), table(1)
    project(given), project(other)
    del given
    gc.collect()
    assert len(backend.prepared) == 1
    project(other)
    assert len(backend.made) == 2


def test_a_backward_pass_that_is_to_come_keeps_what_is_prepared():
    stored = backends.load("cpu").prepared
    gc.collect()
    before, given = len(stored), table()
    stack = functional.project(IMAGE.clone().requires_grad_(), given, VIEW_SIZE)
    del given
    gc.collect()
    assert len(stored) == before + 1
    stack.sum().backward()
    del stack
    gc.collect()
    assert len(stored) == before


def test_views_leave_nothing_behind():
    stored = backends.load("cpu").prepared
    gc.collect()
    before = len(stored)
    for _ in range(3):
        used(four_views()[[0, 1]])
        four_views().pick([0, 1]).project(noise(2, 1, *four_views().size))
    gc.collect()
    assert len(stored) == before


def test_the_geometry_that_was_prepared_longest_ago_goes_first(backend):
    tables = [table(seed) for seed in range(3)]
    project(tables[0])
    backend.prepared.limit = 2 * backend.prepared.find(tables[0]).nbytes
    for n in (1, 0, 0, 2):
        project(tables[n])
    assert [len(backend.prepared.find(each).values) for each in tables] == [0, 1, 1]


def test_taps_beyond_the_limit_are_made_each_time_and_displace_nothing(backend):
    small, given = table(), table(1)
    project(small)
    backend.prepared.limit = backend.prepared.find(small).nbytes
    large = noise(1, 1, *SIZE)
    for _ in range(2):
        project(given, large, (40, 40))
    assert len(backend.made) == 3
    assert backend.prepared.find(small) is not None


def test_taps_beyond_the_limit_are_not_kept_by_a_call_either(backend):
    given = table()
    project(given)
    backend.prepared.limit = backend.prepared.find(given).nbytes
    for _ in range(2):
        project(given, view_size=(40, 40))
    assert (len(backend.made), calls(backend, given)) == (3, 1)


ALLOCATED = """
import ctypes, torch
from spuproj import Views

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]

info = ctypes.CDLL(None).mallinfo2
info.restype = Info
table, image = Views.rigid((16, 16)).geometry, torch.ones(1000, 1, 16, 16)
tables = [table.clone() for _ in range(100)]
torch.ops.spuproj.project(image, table, (16, 16))
before = info()
for each in tables:
    torch.ops.spuproj.project(image, each, (16, 16))
after = info()
print(after.e + after.h - before.e - before.h)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_kept_calls_hold_no_memory_of_their_results():
    """100 tables, for each a result of 1000 KiB that is freed at once: as examples of results they were 100 MB."""
    run = run_forked(ALLOCATED)
    assert int(run.stdout) < 20_000_000, run.stderr


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_fills_that_are_equal_but_have_other_bits_are_calls_of_their_own(backend, interpolation):
    given = table()
    for fill in (0.0, -0.0, 0.0, -0.0):
        stack = project(given, fill=fill, interpolation=interpolation)
        afresh = project(given.clone(), fill=fill, interpolation=interpolation)
        assert torch.equal(stack, afresh)
        assert torch.equal(stack.signbit(), afresh.signbit())


def test_a_call_with_nan_as_fill_is_repeated(backend):
    given = table()
    stacks = [project(given, fill=float("nan")) for _ in range(3)]
    assert calls(backend, given) == 1
    assert stacks[0].isnan().any()
    assert all(torch.equal(stack.isnan(), stacks[0].isnan()) for stack in stacks)


def test_a_complex_fill_is_refused_before_and_after_a_call_was_kept(backend):
    given = table()
    for _ in range(2):
        with pytest.raises(TypeError, match="complex"):
            torch.ops.spuproj.project(IMAGE, given, VIEW_SIZE, fill=1 + 0j)
        project(given, fill=1)


def test_calls_of_many_shapes_are_bounded(backend):
    given = table()
    for batch in range(1, CALLS + 10):
        project(given, noise(batch, 1, *SIZE))
    assert 0 < calls(backend, given) <= CALLS


@pytest.mark.parametrize(
    "image", [IMAGE.to_sparse(), IMAGE.numpy(), torch.view_as_complex(torch.stack([IMAGE, IMAGE], -1)).conj()]
)
def test_what_no_call_serves_fails_alike_before_and_after_a_call_was_kept(image):
    given, messages = table(), []
    for _ in range(2):
        with pytest.raises((TypeError, RuntimeError, ValueError)) as failure:
            torch.ops.spuproj.project(image, given, VIEW_SIZE)
        messages.append((failure.type, str(failure.value)))
        project(given)
        project(given)
    assert messages[0] == messages[1]


def test_a_negated_view_is_projected_as_its_values():
    given, image = table(), torch.view_as_complex(torch.stack([IMAGE, IMAGE], -1)).conj().imag
    assert image.is_neg()
    project(given)
    assert torch.equal(project(given, image), project(given, image.resolve_neg().clone()))
    assert torch.equal(project(given, image), project(given, -IMAGE))
