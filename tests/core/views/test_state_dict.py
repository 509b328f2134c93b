"""State dicts of views: tensors alone, saved and loaded by torch and safetensors, averaged, and of older versions."""

import copy
import pickle
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.testing import assert_close

from small_views import (
    IMAGE,
    SIZE,
    STACK,
    VIEW_SIZE,
    NetworkOfViews,
    assert_projects_as_the_reference,
    assert_same_views,
    four_rotations,
    four_views,
    per_sample,
    used,
)
from spuproj import functional


@pytest.mark.parametrize(
    "make", [four_views, per_sample, lambda: four_views()[[0, 2]], lambda: four_views().pick([1, 3])]
)
def test_a_state_dict_holds_tensors_only(make):
    for state in (make().state_dict(), nn.ModuleDict({"a": nn.ModuleDict({"views": make()})}).state_dict()):
        assert all(type(value) is torch.Tensor for value in state.values())
        assert len(state) == 2


def test_safetensors_saves_and_loads_a_network_with_views(tmp_path):
    network = NetworkOfViews()
    save_model(network, tmp_path / "network.safetensors")
    other = NetworkOfViews(used(four_rotations((5, 5), (5, 5))))
    assert load_model(other, tmp_path / "network.safetensors") == (set(), [])
    assert_same_views(other.views, network.views)
    assert torch.equal(other(IMAGE), network(IMAGE))


def test_safetensors_saves_and_loads_views_alone_shared_and_twice(tmp_path):
    for make in (
        four_views,
        lambda: nn.ModuleList([four_views(), four_rotations()]),
        lambda: nn.ModuleDict({"first": (views := four_views()), "second": views}),
    ):
        saved, loaded = make(), make()
        for buffer in loaded.buffers():
            buffer.zero_()
        save_model(saved, tmp_path / "views.safetensors")
        load_model(loaded, tmp_path / "views.safetensors")
        for first, second in zip(loaded.buffers(), saved.buffers(), strict=True):
            assert torch.equal(first, second)


def test_a_state_dict_goes_through_a_plain_file_of_tensors(tmp_path):
    save_file(NetworkOfViews().state_dict(), tmp_path / "state.safetensors")
    other = NetworkOfViews(four_rotations((5, 5), (5, 5)))
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    assert_same_views(other.views, four_views())
    torch.save(NetworkOfViews().state_dict(), tmp_path / "state.pt")
    other = NetworkOfViews(four_rotations((5, 5), (5, 5)))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_same_views(other.views, four_views())


@pytest.mark.parametrize("average", [None, get_ema_multi_avg_fn(0.9)], ids=["mean", "ema"])
# AveragedModel raises for modules without parameters, such as nn.ReLU, unless it averages buffers.
@pytest.mark.parametrize(("alone", "use_buffers"), [(True, True), (False, True), (False, False)])
def test_averaged_models_keep_the_geometry(use_buffers, average, alone):
    model = four_views() if alone else NetworkOfViews()
    averaged: Any = AveragedModel(model, use_buffers=use_buffers, multi_avg_fn=average)
    for _ in range(7):
        averaged.update_parameters(model)
    views = averaged.module if alone else averaged.module.views
    assert_same_views(views, four_views())
    assert_close(averaged(IMAGE), model(IMAGE))
    again: Any = AveragedModel(four_rotations() if alone else NetworkOfViews(four_rotations()), use_buffers=use_buffers)
    again.load_state_dict(averaged.state_dict())
    assert_same_views(again.module if alone else again.module.views, four_views())


def test_a_strict_load_passes_without_the_sizes():
    state = four_views().state_dict()
    del state["_extra_state"]
    keys = set(state)
    views = used(four_rotations())
    assert str(views.load_state_dict(state, strict=True)) == "<All keys matched successfully>"
    assert set(state) == keys
    assert_same_views(views, four_views())
    state = NetworkOfViews().state_dict()
    del state["views._extra_state"]
    network = NetworkOfViews(used(four_rotations()))
    network.load_state_dict(state, strict=True)
    assert_same_views(network.views, four_views())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda views: pickle.loads(pickle.dumps(views))])
@pytest.mark.parametrize(
    "part",
    [lambda views: views, lambda views: views[[0, 2]], lambda views: views.pick([0, 3]), lambda views: views + views],
)
def test_copies_and_parts_load_as_their_originals_do(duplicate, part):
    views = duplicate(part(four_views()))
    views.load_state_dict({"geometry": part(four_rotations()).geometry}, strict=True)
    assert torch.equal(views.geometry, part(four_rotations()).geometry)


@pytest.mark.parametrize("columns", [17, 19])
@pytest.mark.parametrize("sizes", ["dict", "tensor", "none"])
@pytest.mark.parametrize("prefix", ["", "a.views."])
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("make", [lambda: four_rotations(), per_sample], ids=["shared", "per_sample"])
def test_older_state_dicts_load(columns, sizes, prefix, assign, make):
    """Up to version 0.1 tables had no spacing, and the sizes were a dictionary of lists or tuples."""
    views = make()
    state = {f"{prefix}geometry": views.geometry[..., :columns].clone()}
    if sizes != "none":
        old = {"size": list(SIZE), "view_size": VIEW_SIZE}
        state[f"{prefix}_extra_state"] = old if sizes == "dict" else torch.tensor([*SIZE, *VIEW_SIZE])
    kept = {key: value.shape for key, value in state.items() if key.endswith("geometry")}
    other = make()
    other.geometry.copy_(other.geometry.flip(-2))
    if sizes != "none":
        other.size, other.view_size = (5, 6), (7, 8)
    module: nn.Module = used(other)
    for name in reversed(prefix.split(".")[:-1]):
        module = nn.ModuleDict({name: module})
    module.load_state_dict(state, strict=True, assign=assign)
    assert (other.size, other.view_size) == (SIZE, VIEW_SIZE)
    assert torch.equal(other.geometry, views.geometry)
    assert torch.equal(other.project(IMAGE), views.project(IMAGE))
    assert {key: value.shape for key, value in state.items() if key.endswith("geometry")} == kept


def test_bad_sizes_are_refused_when_they_are_loaded():
    for bad in (torch.tensor([0, 1, 2, 3]), {"size": (0, 5), "view_size": (1, 1)}):
        state = {**four_views().state_dict(), "_extra_state": bad}
        with pytest.raises(ValueError, match="size must be two positive whole numbers"):
            four_views().load_state_dict(state)


@pytest.mark.parametrize(
    "bad", [torch.tensor([1, 2, 3]), torch.tensor(5), {"size": (8, 8)}, {"size": 8, "view_size": 8}]
)
def test_a_state_of_other_than_four_sizes_is_refused(bad):
    with pytest.raises(ValueError, match="the sizes in the state must be four whole numbers"):
        four_views().load_state_dict({**four_views().state_dict(), "_extra_state": bad})


def test_only_dtypes_of_images_can_be_prepared():
    for dtype in (torch.complex64, "float64", None):
        with pytest.raises(TypeError, match=r"dtype must be one of images and stacks, such as torch\.float32, got"):
            four_views().prepare(dtype=dtype)  # type: ignore[arg-type]


def test_a_state_without_geometry_is_refused():
    with pytest.raises(RuntimeError, match=r'Missing key.*"geometry"'):
        four_views().load_state_dict({})
    assert four_views().load_state_dict({}, strict=False).missing_keys == ["geometry"]


@pytest.mark.parametrize("assign", [False, True])
def test_after_loading_results_are_those_of_the_loaded_geometry(assign):
    views = used(four_views())
    backward = IMAGE.clone().requires_grad_()
    views.project(backward).sum().backward()
    views.load_state_dict(four_rotations().state_dict(), assign=assign)
    assert_same_views(views, four_rotations())
    assert all(torch.equal(*pair) for pair in zip(views.reduce(STACK), four_rotations().reduce(STACK), strict=True))
    assert torch.equal(views.unproject(STACK), four_rotations().unproject(STACK))
    assert_projects_as_the_reference(views)
    after = IMAGE.clone().requires_grad_()
    views.project(after).sum().backward()
    assert torch.equal(after.grad, functional.project_adjoint(torch.ones_like(STACK), four_rotations().geometry, SIZE))


def test_a_state_without_numbers_loads_by_assignment(tmp_path):
    torch.save(NetworkOfViews().state_dict(), tmp_path / "state.pt")
    network = NetworkOfViews()
    network.load_state_dict(torch.load(tmp_path / "state.pt", map_location="meta"), assign=True)
    assert network.views.geometry.is_meta
    assert (network.views.size, network.views.view_size) == (SIZE, VIEW_SIZE)
