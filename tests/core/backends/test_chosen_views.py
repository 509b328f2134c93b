"""The taps of views that were chosen from others are taken from the others' taps, and are those of the chosen views."""

import gc
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends_under_test import host_twin
from helpers import noise
from small_views import IMAGE, SIZE, STACK, VIEW_SIZE, four_views, per_sample
from spuproj import Views, empty_cache
from spuproj.backends import cpu, gpu
from spuproj.backends.base import Backend
from spuproj.ops import prepare, registration

ALL = 4
"""Number of views of ``four_views`` and of each sample of ``per_sample``."""


def cpu_backend(monkeypatch, computed):
    for name in ("flat_taps", "tiled_taps"):

        def make(geometry, sampling, original):
            computed.append(geometry.shape[:-1].numel())
            return original(geometry, sampling)

        monkeypatch.setattr(cpu, name, partial(make, original=getattr(cpu, name)))
    return cpu.CpuBackend()


def gpu_backend(monkeypatch, computed):
    kernels = host_twin().kernels
    original = kernels.taps

    def taps(geometry, sampling):
        computed.append(geometry.shape[:-1].numel())
        return original(geometry, sampling)

    monkeypatch.setattr(kernels, "taps", taps)
    return gpu.GpuBackend(kernels)


def use(backend, monkeypatch):
    for module in (registration, prepare):
        monkeypatch.setattr(module, "backend_for", lambda _: backend)


@pytest.fixture
def computed():
    """The number of views of each computation of taps."""
    return []


@pytest.fixture(params=[cpu_backend, gpu_backend], autouse=True)
def backend(request, monkeypatch, computed) -> Backend:
    """A backend with nothing cached."""
    fresh: Backend = request.param(monkeypatch, computed)
    use(fresh, monkeypatch)
    return fresh


@pytest.fixture
def store(backend):
    return backend.prepared


def afresh(views):
    """The same views, for which nothing is cached."""
    return Views.from_table(views.geometry.clone(), views.size, views.view_size)


def everything(views, image=IMAGE, stack=STACK):
    """What the views give of images, labels and stacks, in both precisions."""
    stack = stack[:, : len(views)]
    labels = image.mul(100).to(torch.int16)
    return [
        views.project(image),
        views.project(image.double(), padding="border"),
        views.project(labels, interpolation="nearest"),
        views.unproject(stack),
        *views.reduce(stack),
        torch.ops.spuproj.project_adjoint(stack, views.geometry, views.size),
    ]


def assert_same_as_afresh(views):
    for found, wanted in zip(everything(views), everything(afresh(views)), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("make", [four_views, per_sample])
def test_picks_of_many_batches_compute_the_taps_of_all_views_once(computed, make):
    views = make()
    for index in ([0, 3], [1, 1], [2, 0], [3, -1]):
        views.pick(index).project(IMAGE)
    everyone = views.geometry.shape[:-1].numel()
    assert computed == {ALL: [2, ALL], 2 * ALL: [2, 2, 2, 2 * ALL]}[everyone]


def test_a_batch_of_as_many_samples_as_there_are_views_computes_all_views_at_once(computed):
    views = four_views()
    views.pick([3, 3, 1, 0, 0, 2]).project(noise(6, 2, *SIZE))
    assert computed == [ALL]


def test_taps_that_exist_serve_any_choice(computed):
    views = four_views()
    views.project(IMAGE)
    some = views[1:]
    for chosen in (views[2], views[[0, 3]], some, views.pick([1, 2]), some[-1], some.pick([2, 0])):
        chosen.project(IMAGE)
    assert computed == [ALL]


@pytest.mark.parametrize("make", [four_views, per_sample])
def test_a_choice_among_chosen_views_that_are_gone_is_taken_from_the_first_views(computed, make):
    views = make()
    views.project(IMAGE)
    chosen = views[1:].pick([2, 0])
    gc.collect()
    assert torch.equal(chosen.project(IMAGE), afresh(chosen).project(IMAGE))
    assert computed == [views.geometry.shape[:-1].numel(), 2]
    assert_same_as_afresh(views[1:][[-1, 0]].pick([1, 1]))


def test_a_choice_from_nothing_that_is_left_computes_its_own(computed):
    chosen = four_views()[1:].pick([2, 0])
    gc.collect()
    assert_same_as_afresh(chosen)


def test_one_view_of_many_is_computed_alone(computed):
    views = four_views()
    views[1].project(IMAGE)
    assert computed == [1]


choices = st.lists(
    st.one_of(
        st.lists(st.integers(-ALL, ALL - 1), min_size=2, max_size=2).map(lambda index: ("pick", index)),
        st.lists(st.integers(-ALL, ALL - 1), min_size=1, max_size=3).map(lambda index: ("select", index)),
        st.just(("select", slice(1, None, 2))),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("make", [four_views, per_sample])
@settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=choices)
def test_every_choice_gives_the_bits_of_its_own_taps(make, choices):
    views = make()
    for how, index in choices:
        assert_same_as_afresh(views.pick(index) if how == "pick" else views[index])


@pytest.mark.parametrize("points", [1, VIEW_SIZE[0] * VIEW_SIZE[1] * 3])
def test_a_batch_in_parts_takes_its_taps_from_those_of_all_views(backend, computed, monkeypatch, points):
    if isinstance(backend, gpu.GpuBackend):
        monkeypatch.setattr(backend.kernels, "points", points)
    else:
        monkeypatch.setattr(cpu, "POINTS", points)
    views, image = four_views(), noise(8, 2, *SIZE)
    index = [3, 0, 0, 1, 2, 3, 1, 2]
    wanted = torch.cat([views[n].project(image[b : b + 1]) for b, n in enumerate(index)])
    views.project(image)
    computed.clear()
    assert torch.equal(views.pick(index).project(image), wanted)
    assert computed == []


@pytest.mark.parametrize("changed", ["all views", "chosen views"])
@pytest.mark.parametrize("when", ["before use", "after use"])
def test_views_that_change_after_the_choice_are_told_apart(changed, when):
    views = four_views()
    views.project(IMAGE)
    chosen = views.pick([2, 0])
    if when == "after use":
        everything(chosen)
    (views if changed == "all views" else chosen).geometry[..., 2].mul_(1.5)
    assert_same_as_afresh(chosen)
    assert_same_as_afresh(views.pick([1, 1]))


def test_choices_outlive_the_views_that_they_were_chosen_from(store):
    views = four_views()
    views.project(IMAGE)
    chosen, twice = views.pick([2, 0]), views[[3, 1]].pick([0, 1])
    del views
    gc.collect()
    assert_same_as_afresh(chosen)
    assert_same_as_afresh(twice)
    del chosen, twice
    gc.collect()
    assert len(store) == 0


def test_choices_in_inference_mode_and_under_vmap_are_not_noted(store, monkeypatch):
    monkeypatch.setattr(store, "choose", lambda *_: pytest.fail("such a table is copied, or wrapped"))
    views = four_views()
    with torch.inference_mode():
        found = views.pick([2, 0]).project(IMAGE)
    every = views.project(IMAGE)
    assert torch.equal(found[:, 0], torch.stack([every[0, 2], every[1, 0]]))
    index = torch.tensor([[0, 1], [3, 2]])
    found = torch.vmap(lambda which, image: views[which].project(image[None]))(index, IMAGE)
    assert torch.equal(found[1, 0], every[1, [3, 2]])


def test_choices_survive_an_emptied_cache():
    views = four_views()
    views.project(IMAGE)
    chosen = views.pick([2, 0])
    empty_cache()
    assert_same_as_afresh(chosen)


def test_all_views_are_not_computed_where_their_taps_would_not_be_kept(computed, store):
    views = four_views()
    store.limit = 20 * (ALL - 1) * VIEW_SIZE[0] * VIEW_SIZE[1]
    for _ in range(4):
        views.pick([0, 1]).project(IMAGE)
    assert computed == [2] * 4


def test_all_views_that_had_to_make_room_are_not_computed_again(computed, store):
    views, other = four_views(), per_sample()
    views.project(IMAGE)
    store.limit = store.find(views.geometry).nbytes * 2
    other.project(IMAGE)
    other.project(IMAGE, padding="border")
    computed.clear()
    for _ in range(4):
        views.pick([0, 1]).project(IMAGE)
    assert computed == [2] * 4
