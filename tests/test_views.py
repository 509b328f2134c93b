"""The Views module: a list of views, a buffer that moves, a state that is saved and restored."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from helpers import noise
from spuproj import Geometry, Views, functional

SIZE, VIEW_SIZE = (12, 16), (10, 14)


def four_views(radius=8.0):
    return Views.spherical(SIZE, grid=(2, 2), radius=radius, magnification=0.7, view_size=VIEW_SIZE)


def per_sample(batch=2, views=3, seed=0):
    centers = noise(batch, views, 2, seed=seed).sigmoid() * (torch.tensor(SIZE) - 1)
    return Views.spherical(SIZE, centers, magnification=0.7, view_size=VIEW_SIZE)


def assert_same(first, second):
    assert torch.equal(first.geometry, second.geometry)
    assert (first.size, first.view_size) == (second.size, second.view_size)


@pytest.mark.parametrize("make", [four_views, per_sample])
def test_an_index_gives_a_set_of_one_view(make):
    views = make()
    for n in range(-len(views), len(views)):
        one = views[n]
        assert len(one) == 1
        assert torch.equal(one.geometry, views.geometry[..., [n], :])
        assert (one.size, one.view_size) == (SIZE, VIEW_SIZE)


@pytest.mark.parametrize("index", [4, -5, 100])
def test_an_index_beyond_the_end_is_an_error(index):
    with pytest.raises(IndexError, match=rf"index must choose among 4 views, got {index}"):
        four_views()[index]


def test_iteration_gives_every_view_in_order():
    views = four_views()
    assert torch.equal(torch.cat([one.geometry for one in views]), views.geometry)


@pytest.mark.parametrize("part", [slice(1, 3), slice(None, None, 2), slice(-2, None), slice(None)])
@pytest.mark.parametrize("make", [four_views, per_sample])
def test_a_slice_gives_those_views(make, part):
    assert torch.equal(make()[part].geometry, make().geometry[..., part, :])


def test_an_empty_slice_is_an_error():
    with pytest.raises(ValueError, match="index must leave at least one of 4 views, got slice"):
        four_views()[2:2]


def test_a_part_projects_as_it_does_in_the_whole():
    views, image = four_views(), noise(2, 3, *SIZE)
    assert torch.equal(views[1:3].project(image), views.project(image)[:, 1:3])


def test_a_sum_holds_the_views_of_both_in_order():
    first, second = four_views(), Views.rigid(SIZE, angles=[0.3], view_size=VIEW_SIZE)
    both = first + second
    image = noise(2, 3, *SIZE)
    assert len(both) == 5
    assert torch.equal(both.project(image), torch.cat([first.project(image), second.project(image)], dim=1))


def test_shared_and_per_sample_views_add_up():
    shared, own = four_views(), per_sample()
    image = noise(2, 3, *SIZE)
    for first, second in ((shared, own), (own, shared), (own, per_sample(seed=1))):
        both = first + second
        assert both.geometry.shape == (2, len(first) + len(second), 19)
        assert torch.equal(both.project(image), torch.cat([first.project(image), second.project(image)], dim=1))


def test_views_of_other_sizes_do_not_add_up():
    with pytest.raises(ValueError, match=r"same size and view_size .* got \(12, 16\), \(10, 14\) and \(12, 16\), \(12"):
        four_views() + Views.rigid(SIZE)
    with pytest.raises(ValueError, match=r"same size and view_size .* and \(11, 16\)"):
        four_views() + Views.rigid((11, 16), view_size=VIEW_SIZE)


def test_views_of_other_batches_do_not_add_up():
    with pytest.raises(ValueError, match="same batch to be added, got 2 and 3"):
        per_sample(batch=2) + per_sample(batch=3)


def test_views_and_another_type_do_not_add_up():
    with pytest.raises(TypeError):
        four_views() + 1


@pytest.mark.parametrize(
    "cast",
    [
        lambda module: module.half(),
        lambda module: module.float(),
        lambda module: module.bfloat16(),
        lambda module: module.double(),
        lambda module: module.to(torch.float16),
        lambda module: module.to("cpu", torch.bfloat16),
    ],
    ids=["half", "float", "bfloat16", "double", "to_dtype", "to_device_and_dtype"],
)
def test_casts_of_the_module_leave_the_geometry_its_digits(cast):
    network = nn.Sequential(nn.Conv2d(1, 1, 1), four_views())
    cast(network)
    assert network[1].geometry.dtype == torch.float64
    assert_same(network[1], four_views())
    assert network[0].weight.dtype == cast(nn.Conv2d(1, 1, 1)).weight.dtype


def test_views_move_with_the_module_that_holds_them():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), four_views()).to("meta")
    assert network[1].geometry.device.type == "meta"
    assert network(torch.empty(2, 1, *SIZE, device="meta")).shape == (2, 4, 1, *VIEW_SIZE)
    assert four_views().to("meta", torch.float16).geometry.dtype == torch.float64


def test_views_have_a_buffer_and_nothing_to_train():
    views = four_views()
    assert dict(views.named_parameters()) == {}
    assert list(dict(views.named_buffers())) == ["geometry"]
    assert not views.geometry.requires_grad


def test_a_saved_state_restores_geometry_and_sizes(tmp_path):
    saved = nn.ModuleDict({"views": four_views(radius=20.0)})
    torch.save(saved.state_dict(), tmp_path / "state.pt")
    other = nn.ModuleDict({"views": Views.rigid((5, 5), angles=[0, 1, 2, 3])})
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_same(other["views"], saved["views"])
    image = noise(2, 3, *SIZE)
    assert torch.equal(other["views"].project(image), saved["views"].project(image))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda views: pickle.loads(pickle.dumps(views))])
@pytest.mark.parametrize("make", [four_views, per_sample])
def test_copies_and_pickles_are_equal_and_independent(make, duplicate):
    views = make()
    other = duplicate(views)
    assert_same(other, views)
    other.geometry.zero_()
    assert_same(views, make())


def test_per_sample_centres_give_each_sample_its_own_views():
    views, image = per_sample(batch=3), noise(3, 2, *SIZE)
    stack = views.project(image)
    for b in range(3):
        own = Views.from_table(views.geometry[b], SIZE, VIEW_SIZE)
        assert torch.equal(own.project(image[b : b + 1])[0], stack[b])
        for together, alone in zip(views.reduce(stack), own.reduce(stack[b : b + 1]), strict=True):
            assert torch.equal(together[b], alone[0])
        assert torch.equal(views.unproject(stack)[b], own.unproject(stack[b : b + 1])[0])


def test_per_sample_turned_views_equal_those_of_each_sample():
    centers = noise(2, 3, 2).sigmoid() * (torch.tensor(SIZE) - 1)
    together = Views.spherical(SIZE, centers, pose="turned", radius=30, magnification=1.0)
    for b in range(2):
        alone = Views.spherical(SIZE, centers[b], pose="turned", radius=30, magnification=1.0)
        assert_close(together.geometry[b], alone.geometry, rtol=0, atol=1e-12)


def test_methods_are_the_functions_on_the_views_own_geometry_and_sizes():
    views, image = four_views(), noise(2, 3, *SIZE)
    stack = functional.project(image, views.geometry, VIEW_SIZE, interpolation="nearest", padding="border")
    assert stack.shape == (2, 4, 3, *VIEW_SIZE)
    assert torch.equal(views.project(image, interpolation="nearest", padding="border"), stack)
    slices = functional.unproject(stack, views.geometry, SIZE, interpolation="nearest")
    assert slices.shape == (2, 4, 3, *SIZE)
    assert torch.equal(views.unproject(stack, interpolation="nearest"), slices)
    reduced = functional.unproject_reduce(stack, views.geometry, SIZE, interpolation="nearest")
    assert all(torch.equal(*pair) for pair in zip(views.reduce(stack, interpolation="nearest"), reduced, strict=True))


def test_calling_views_projects():
    views, image = four_views(), noise(2, 3, *SIZE)
    assert torch.equal(views(image), views.project(image))


def test_coordinates_and_magnification_have_the_shapes_of_slice_and_view():
    for views, axes in ((four_views(), (4,)), (per_sample(), (2, 3))):
        assert [part.shape for part in views.slice_coordinates()] == [(*axes, *VIEW_SIZE)] * 2
        assert [part.shape for part in views.view_coordinates()] == [(*axes, *SIZE)] * 2
        assert views.magnification().shape == (*axes, *SIZE)


def test_the_view_size_is_the_slice_size_unless_given():
    assert Views.rigid(SIZE).view_size == SIZE
    assert Views.rigid(SIZE, view_size=[3, 4]).view_size == (3, 4)


def test_a_table_and_a_geometry_build_the_same_views():
    views = four_views()
    assert_same(Views.from_table(views.geometry, SIZE, VIEW_SIZE), views)
    assert_same(Views(Geometry.from_table(views.geometry), SIZE, VIEW_SIZE), views)


def test_views_do_not_share_memory_with_the_table_they_came_from():
    table = four_views().geometry.clone()
    views = Views.from_table(table, SIZE, VIEW_SIZE)
    table.zero_()
    assert_same(views, four_views())


def test_the_printed_form_tells_number_and_sizes():
    assert repr(four_views()) == "Views(4 views, size=(12, 16), view_size=(10, 14))"
