"""Views as an nn.Module: buffer, casts, moves, copies, sums, per-sample geometry, methods."""

import copy
import pickle

import pytest
import torch
from torch import nn

from helpers import noise
from small_views import IMAGE, SIZE, VIEW_SIZE, NetworkOfViews, assert_same_views, four_views, per_sample, used
from spuproj import Geometry, Views, functional


def test_views_have_a_buffer_and_nothing_to_train():
    views = four_views()
    assert dict(views.named_parameters()) == {}
    assert list(dict(views.named_buffers())) == ["geometry"]
    assert not views.geometry.requires_grad


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
    assert_same_views(network[1], four_views())  # type: ignore[arg-type]
    assert network[0].weight.dtype == cast(nn.Conv2d(1, 1, 1)).weight.dtype


def test_views_move_with_the_module_that_holds_them():
    network = nn.Sequential(nn.Conv2d(1, 1, 1), four_views()).to("meta")
    assert network[1].geometry.device.type == "meta"
    assert network(torch.empty(2, 1, *SIZE, device="meta")).shape == (2, 4, 1, *VIEW_SIZE)
    assert four_views().to("meta", torch.float16).geometry.dtype == torch.float64


@pytest.mark.parametrize("make", [four_views, per_sample, NetworkOfViews], ids=["shared", "per_sample", "network"])
def test_copies_of_used_views_are_equal_and_independent(make, tmp_path):
    module = make()
    views = module.views if isinstance(module, NetworkOfViews) else module
    wanted = used(views).project(IMAGE) if views.geometry.dim() == 2 else views.project(IMAGE)
    torch.save(module, tmp_path / "module.pt")
    for other in (
        copy.deepcopy(module),
        copy.copy(copy.deepcopy(module)),
        pickle.loads(pickle.dumps(module)),
        torch.load(tmp_path / "module.pt", weights_only=False),
    ):
        twin = other.views if isinstance(other, NetworkOfViews) else other
        assert torch.equal(twin.project(IMAGE), wanted)
        twin.geometry.copy_(twin.geometry.flip(-2))
        assert torch.equal(twin.project(IMAGE), wanted.flip(1))
        assert torch.equal(views.project(IMAGE), wanted)


def test_a_geometry_of_another_default_dtype_has_all_its_digits():
    wanted = four_views().geometry
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            assert torch.equal(four_views().geometry, wanted)
            assert torch.equal(Views(Geometry.from_table(wanted), SIZE, VIEW_SIZE).geometry, wanted)
        finally:
            torch.set_default_dtype(torch.float32)


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
        four_views() + 1  # type: ignore[operator]


def test_per_sample_centres_give_each_sample_its_own_views():
    views, image = per_sample(batch=3), noise(3, 2, *SIZE)
    stack = views.project(image)
    for b in range(3):
        own = Views.from_table(views.geometry[b], SIZE, VIEW_SIZE)
        assert torch.equal(own.project(image[b : b + 1])[0], stack[b])
        for together, alone in zip(views.reduce(stack), own.reduce(stack[b : b + 1]), strict=True):
            assert torch.equal(together[b], alone[0])
        assert torch.equal(views.unproject(stack)[b], own.unproject(stack[b : b + 1])[0])


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
    for views, axes in ((four_views(), (4,)), (per_sample(), (2, 4))):
        assert [part.shape for part in views.slice_coordinates()] == [(*axes, *VIEW_SIZE)] * 2
        assert [part.shape for part in views.view_coordinates()] == [(*axes, *SIZE)] * 2
        assert views.magnification().shape == (*axes, *SIZE)


def test_a_table_and_a_geometry_build_the_same_views():
    views = four_views()
    assert_same_views(Views.from_table(views.geometry, SIZE, VIEW_SIZE), views)
    assert_same_views(Views(Geometry.from_table(views.geometry), SIZE, VIEW_SIZE), views)


def test_views_do_not_share_memory_with_the_table_they_came_from():
    table = four_views().geometry.clone()
    views = Views.from_table(table, SIZE, VIEW_SIZE)
    table.zero_()
    assert_same_views(views, four_views())


def test_the_printed_form_tells_number_and_sizes():
    assert repr(four_views()) == "Views(4 views, size=(12, 16), view_size=(10, 14))"
