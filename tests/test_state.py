"""Views as a part of programs: state dicts, devices without memory, copies, parts, changes in place, transforms."""

import copy
import gc
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from helpers import noise, ref
from spuproj import Geometry, Views, backends, functional

SIZE, VIEW_SIZE = (12, 16), (10, 14)
IMAGE, STACK = noise(2, 3, *SIZE), noise(2, 4, 3, *VIEW_SIZE, seed=1)


def four_views():
    return Views.spherical(SIZE, grid=(2, 2), radius=8.0, magnification=0.7, view_size=VIEW_SIZE, spacing=(1.2, 1.0))


def four_others(size=SIZE, view_size=VIEW_SIZE):
    return Views.rigid(size, degrees=[5, 15, 25, 35], view_size=view_size)


def per_sample(batch=2, views=4, seed=0):
    centers = noise(batch, views, 2, seed=seed).sigmoid() * (torch.tensor(SIZE) - 1)
    return Views.spherical(SIZE, centers, magnification=0.7, view_size=VIEW_SIZE)


class Network(nn.Module):
    """A network with views inside."""

    def __init__(self, views=None):
        super().__init__()
        self.views = four_views() if views is None else views
        self.convolution = nn.Conv2d(3, 3, 1)

    def forward(self, image):
        return self.views.project(self.convolution(image))


def assert_same(first, second):
    assert torch.equal(first.geometry, second.geometry)
    assert (first.size, first.view_size) == (second.size, second.view_size)
    image = noise(1, 1, *first.size)
    assert torch.equal(first.project(image), second.project(image))


def assert_projects_as_the_reference(views, image=IMAGE):
    wanted = ref("project", image, views.geometry.detach(), views.view_size)
    assert_close(views.project(image).double(), wanted, rtol=0, atol=1e-5)


def used(views):
    """The views after calls of every method, so that whatever they keep is kept."""
    batch = 1 if views.geometry.dim() == 2 else len(views.geometry)
    for _ in range(2):
        stack = views.project(noise(batch, 2, *views.size))
        views.unproject(stack)
        views.reduce(stack)
    return views


# --- state dicts


@pytest.mark.parametrize(
    "make", [four_views, per_sample, lambda: four_views()[[0, 2]], lambda: four_views().pick([1, 3])]
)
def test_a_state_dict_holds_tensors_only(make):
    for state in (make().state_dict(), nn.ModuleDict({"a": nn.ModuleDict({"views": make()})}).state_dict()):
        assert all(type(value) is torch.Tensor for value in state.values())
        assert len(state) == 2


def test_safetensors_saves_and_loads_a_network_with_views(tmp_path):
    network = Network()
    save_model(network, tmp_path / "network.safetensors")
    other = Network(used(four_others((5, 5), (5, 5))))
    assert load_model(other, tmp_path / "network.safetensors") == (set(), [])
    assert_same(other.views, network.views)
    assert torch.equal(other(IMAGE), network(IMAGE))


def test_safetensors_saves_and_loads_views_alone_shared_and_twice(tmp_path):
    for make in (
        four_views,
        lambda: nn.ModuleList([four_views(), four_others()]),
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
    save_file(Network().state_dict(), tmp_path / "state.safetensors")
    other = Network(four_others((5, 5), (5, 5)))
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    assert_same(other.views, four_views())
    torch.save(Network().state_dict(), tmp_path / "state.pt")
    other = Network(four_others((5, 5), (5, 5)))
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_same(other.views, four_views())


@pytest.mark.parametrize("average", [None, get_ema_multi_avg_fn(0.9)], ids=["mean", "ema"])
# Of a module without parameters torch averages nothing unless it averages the buffers: it raises for nn.ReLU too.
@pytest.mark.parametrize(("alone", "use_buffers"), [(True, True), (False, True), (False, False)])
def test_averaged_models_keep_the_geometry(use_buffers, average, alone):
    model = four_views() if alone else Network()
    averaged = AveragedModel(model, use_buffers=use_buffers, multi_avg_fn=average)
    for _ in range(7):
        averaged.update_parameters(model)
    views = averaged.module if alone else averaged.module.views
    assert_same(views, four_views())
    assert_close(averaged(IMAGE), model(IMAGE))
    again = AveragedModel(four_others() if alone else Network(four_others()), use_buffers=use_buffers)
    again.load_state_dict(averaged.state_dict())
    assert_same(again.module if alone else again.module.views, four_views())


def test_a_strict_load_passes_without_the_sizes():
    state = four_views().state_dict()
    del state["_extra_state"]
    keys = set(state)
    views = used(four_others())
    assert str(views.load_state_dict(state, strict=True)) == "<All keys matched successfully>"
    assert set(state) == keys
    assert_same(views, four_views())
    state = Network().state_dict()
    del state["views._extra_state"]
    network = Network(used(four_others()))
    network.load_state_dict(state, strict=True)
    assert_same(network.views, four_views())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda views: pickle.loads(pickle.dumps(views))])
@pytest.mark.parametrize(
    "part",
    [lambda views: views, lambda views: views[[0, 2]], lambda views: views.pick([0, 3]), lambda views: views + views],
)
def test_copies_and_parts_load_as_their_originals_do(duplicate, part):
    views = duplicate(part(four_views()))
    views.load_state_dict({"geometry": part(four_others()).geometry}, strict=True)
    assert torch.equal(views.geometry, part(four_others()).geometry)


@pytest.mark.parametrize("columns", [17, 19])
@pytest.mark.parametrize("sizes", ["dict", "tensor", "none"])
@pytest.mark.parametrize("prefix", ["", "a.views."])
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("make", [lambda: four_others(), per_sample], ids=["shared", "per_sample"])
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
    module = used(other)
    for name in reversed(prefix.split(".")[:-1]):
        module = nn.ModuleDict({name: module})
    module.load_state_dict(state, strict=True, assign=assign)
    assert (other.size, other.view_size) == (SIZE, VIEW_SIZE)
    assert torch.equal(other.geometry, views.geometry)
    assert torch.equal(other.project(IMAGE), views.project(IMAGE))
    assert {key: value.shape for key, value in state.items() if key.endswith("geometry")} == kept


def test_sizes_that_are_none_are_refused_when_they_are_loaded():
    for bad in (torch.tensor([0, 1, 2, 3]), {"size": (0, 5), "view_size": (1, 1)}):
        state = {**four_views().state_dict(), "_extra_state": bad}
        with pytest.raises(ValueError, match="size must be two positive whole numbers"):
            four_views().load_state_dict(state)


def test_a_state_without_geometry_is_told():
    with pytest.raises(RuntimeError, match=r'Missing key.*"geometry"'):
        four_views().load_state_dict({})
    assert four_views().load_state_dict({}, strict=False).missing_keys == ["geometry"]


@pytest.mark.parametrize("assign", [False, True])
def test_after_loading_results_are_those_of_the_loaded_geometry(assign):
    views = used(four_views())
    backward = IMAGE.clone().requires_grad_()
    views.project(backward).sum().backward()
    views.load_state_dict(four_others().state_dict(), assign=assign)
    assert_same(views, four_others())
    assert all(torch.equal(*pair) for pair in zip(views.reduce(STACK), four_others().reduce(STACK), strict=True))
    assert torch.equal(views.unproject(STACK), four_others().unproject(STACK))
    assert_projects_as_the_reference(views)
    after = IMAGE.clone().requires_grad_()
    views.project(after).sum().backward()
    assert torch.equal(after.grad, functional.project_adjoint(torch.ones_like(STACK), four_others().geometry, SIZE))


# --- the meta device

CONSTRUCTORS = {
    "list": lambda: Views.spherical(SIZE, [[3, 4], [5, 6]], view_size=VIEW_SIZE),
    "tensor": lambda: Views.spherical(SIZE, torch.tensor([[3.0, 4.0], [5.0, 6.0]]), view_size=VIEW_SIZE),
    "per_sample": lambda: Views.spherical(SIZE, torch.tensor([[[3.0, 4.0], [5.0, 6.0]]] * 2), magnification=1.0),
    "grid": lambda: Views.spherical(SIZE, grid=(2, 2)),
    "box": lambda: Views.spherical(SIZE, grid=(2, 2), box=(1, 1, 8, 8), fit="box"),
    "turned": lambda: Views.spherical(SIZE, [[3, 4], [5, 6]], pose="turned", radius=50),
    "turned_tensor": lambda: Views.spherical(SIZE, torch.tensor([[3.0, 4.0]]), pose="turned", radius=50),
    "zoom": lambda: Views.zoom(SIZE, [[3, 4], [5, 6]]),
    "zoom_tensor": lambda: Views.zoom(SIZE, torch.tensor([[3.0, 4.0], [5.0, 6.0]])),
    "rigid": lambda: Views.rigid(SIZE, degrees=[0, 30], flips=("none", "both")),
    "spaced": lambda: Views.spherical(SIZE, grid=(1, 2), spacing=(3, 1)),
}
each_constructor = pytest.mark.parametrize("make", CONSTRUCTORS.values(), ids=CONSTRUCTORS)


@each_constructor
def test_views_are_built_on_the_meta_device_and_filled_afterwards(make):
    with torch.device("meta"):
        views = make()
    wanted = make()
    assert views.geometry.is_meta
    assert views.geometry.shape == wanted.geometry.shape
    assert views.geometry.dtype == torch.float64
    assert (views.size, views.view_size) == (wanted.size, wanted.view_size)
    assert views.project(torch.empty(2, 3, *SIZE, device="meta")).shape == wanted.project(IMAGE).shape
    filled = copy.deepcopy(views).to_empty(device="cpu")
    filled.load_state_dict(wanted.state_dict())
    views.load_state_dict(wanted.state_dict(), assign=True)
    for loaded in (filled, views):
        assert loaded.geometry.dtype == torch.float64
        assert torch.equal(loaded.project(IMAGE), wanted.project(IMAGE))


@pytest.mark.parametrize(
    "make",
    [
        lambda points: Views.spherical(SIZE, points),
        lambda points: Views.spherical(SIZE, points, pose="turned"),
        lambda points: Views.spherical(SIZE, points, magnification=2.0, spacing=(3, 1)),
        lambda points: Views.zoom(SIZE, points),
    ],
    ids=["spherical", "turned", "magnified", "zoom"],
)
@pytest.mark.parametrize("shape", [(2, 2), (3, 2, 2)], ids=str)
def test_centres_without_numbers_give_views_without_numbers(make, shape):
    views = make(torch.empty(shape, device="meta"))
    assert views.geometry.is_meta
    assert views.geometry.shape == (*shape[:-1], 19)
    assert views[0].geometry.is_meta
    assert views.magnification().shape == (*shape[:-1], *SIZE)


def test_a_network_is_built_on_the_meta_device():
    with torch.device("meta"):
        network = Network()
    wanted = Network()
    network.load_state_dict(wanted.state_dict(), assign=True)
    assert torch.equal(network(IMAGE), wanted(IMAGE))
    with torch.device("meta"):
        network = Network()
    network.to_empty(device="cpu").load_state_dict(wanted.state_dict())
    assert torch.equal(network(IMAGE), wanted(IMAGE))


def test_views_with_numbers_work_while_the_default_device_is_another():
    """A default device is for new tensors: what there is stays where it is."""
    views, image = four_views(), IMAGE
    wanted = views.project(image, fill=2.0), views.pick([0, 3]).project(image)
    moments = views.reduce(STACK)
    fresh = four_views()
    with torch.device("meta"):
        assert torch.equal(fresh.project(image, fill=2.0), wanted[0])
        assert all(torch.equal(*pair) for pair in zip(fresh.reduce(STACK), moments, strict=True))
        assert torch.equal(fresh[1:].project(image, fill=2.0), wanted[0][:, 1:])
        assert torch.equal(fresh.pick([0, 3]).project(image), wanted[1])
        assert fresh.state_dict()["_extra_state"].tolist() == [*SIZE, *VIEW_SIZE]
        assert isinstance(fresh.project(image.numpy()), np.ndarray)


def test_views_are_indexed_while_the_default_device_is_another():
    """A network that is built on the meta device may take a part of its views."""
    views = four_views()
    with torch.device("meta"):
        built = four_views()
        for part in (built[0], built[[0]], built[np.array([0])], built[:1], next(iter(built)), built.pick([0])):
            assert part.geometry.is_meta
        for part in (views[1], views[[1]], views[np.array([1])], views[1:2]):
            assert torch.equal(part.geometry, views.geometry[1:2])


def test_a_state_without_numbers_loads_by_assignment(tmp_path):
    torch.save(Network().state_dict(), tmp_path / "state.pt")
    network = Network()
    network.load_state_dict(torch.load(tmp_path / "state.pt", map_location="meta"), assign=True)
    assert network.views.geometry.is_meta
    assert (network.views.size, network.views.view_size) == (SIZE, VIEW_SIZE)


# --- copies


@pytest.mark.parametrize("make", [four_views, per_sample, Network], ids=["shared", "per_sample", "network"])
def test_copies_of_used_views_are_equal_and_independent(make, tmp_path):
    module = make()
    views = module.views if isinstance(module, Network) else module
    wanted = used(views).project(IMAGE) if views.geometry.dim() == 2 else views.project(IMAGE)
    torch.save(module, tmp_path / "module.pt")
    for other in (
        copy.deepcopy(module),
        copy.copy(copy.deepcopy(module)),
        pickle.loads(pickle.dumps(module)),
        torch.load(tmp_path / "module.pt", weights_only=False),
    ):
        twin = other.views if isinstance(other, Network) else other
        assert torch.equal(twin.project(IMAGE), wanted)
        twin.geometry.copy_(twin.geometry.flip(-2))
        assert torch.equal(twin.project(IMAGE), wanted.flip(1))
        assert torch.equal(views.project(IMAGE), wanted)


# --- parts of views

INDICES = {
    "list": [0, 2],
    "negative": [-1, -4],
    "repeated": [1, 1, 1],
    "tuple": (3, 0),
    "range": range(1, 3),
    "tensor": torch.tensor([2, -3]),
    "int32": torch.tensor([2, 1], dtype=torch.int32),
    "uint8": torch.tensor([2, 0], dtype=torch.uint8),
    "mask": torch.tensor([True, False, False, True]),
    "list_mask": [False, True, True, False],
    "list_of_numpy": [np.int64(2), np.int8(-1)],
    "list_of_tensors": [torch.tensor(2), torch.tensor(0)],
    "array": np.array([0, 2]),
    "array_of_bytes": np.array([0, 2], dtype=np.uint8),
    "array_mask": np.array([True, False, False, True]),
    "array_from_argsort": np.array([0, 2, 1])[::-1],
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("make", [four_views, per_sample])
def test_several_views_are_taken_as_numpy_takes_rows(index, make):
    views = used(make())
    rows = [value.item() if isinstance(value, (torch.Tensor, np.generic)) else value for value in index]
    plain = np.asarray(rows)
    part = views[index]
    wanted = views.geometry.numpy()[..., plain, :]
    np.testing.assert_array_equal(part.geometry.numpy(), wanted)
    assert (part.size, part.view_size) == (SIZE, VIEW_SIZE)
    assert torch.equal(part.project(IMAGE), views.project(IMAGE)[:, torch.from_numpy(plain.copy())])
    part.geometry.zero_()
    assert torch.equal(views.geometry, make().geometry)


@pytest.mark.parametrize(
    "number", [2, -2, np.int64(2), np.int32(-2), np.uint8(2), torch.tensor(2), np.array(2)], ids=repr
)
def test_one_number_of_any_kind_gives_a_set_of_one(number):
    part = four_views()[number]
    assert len(part) == 1
    assert torch.equal(part.geometry, four_views().geometry[[2]])


@pytest.mark.parametrize(
    "index",
    [4, -5, np.int64(4), torch.tensor(-5), [0, 4], [-5], torch.tensor([0, 4]), [True, False], torch.ones(5).bool()],
    ids=str,
)  # fmt: skip
def test_what_lies_beyond_the_end_is_an_index_error(index):
    with pytest.raises(IndexError, match="index must"):
        four_views()[index]


@pytest.mark.parametrize(
    "index", [[], torch.tensor([], dtype=torch.int64), torch.zeros(4, dtype=torch.bool), slice(2, 2)]
)
def test_nothing_left_is_an_error(index):
    with pytest.raises(ValueError, match="index must leave at least one"):
        four_views()[index]


@pytest.mark.parametrize("index", [1.0, [1.0], torch.tensor([1.0]), torch.tensor(1.0), [[0, 1]], None], ids=str)
def test_what_is_no_index_is_a_type_error(index):
    with pytest.raises(TypeError):
        four_views()[index]


PICKS = {
    "list": [0, 3],
    "negative": [-1, -4],
    "same": [2, 2],
    "tuple": (1, 0),
    "range": range(2),
    "tensor": torch.tensor([3, 0]),
    "int32": torch.tensor([3, 0], dtype=torch.int32),
    "int8": torch.tensor([3, -1], dtype=torch.int8),
    "uint8": torch.tensor([3, 0], dtype=torch.uint8),
    "array": np.array([3, 0]),
    "array_of_bytes": np.array([3, 0], dtype=np.uint8),
    "array_reversed": np.array([0, 3])[::-1],
    "array_big_endian": np.array([0, 3], dtype=">i4"),
    "numpy_numbers": [np.int64(1), np.int64(2)],
}


@pytest.mark.parametrize("index", PICKS.values(), ids=PICKS)
@pytest.mark.parametrize("make", [four_views, per_sample])
def test_a_pick_shows_each_sample_the_view_of_its_number(index, make):
    views = make()
    picked = views.pick(index)
    assert len(picked) == 1
    stack = picked.project(IMAGE)
    rows = []
    for b in range(2):
        own = views if make is four_views else Views.from_table(views.geometry[b], SIZE, VIEW_SIZE)
        rows.append(own[int(index[b])])
    assert torch.equal(stack, torch.cat([own.project(IMAGE[b : b + 1]) for b, own in enumerate(rows)]))
    assert torch.equal(
        picked.unproject(stack), torch.cat([own.unproject(stack[b : b + 1]) for b, own in enumerate(rows)])
    )
    for b, own in enumerate(rows):
        for whole, alone in zip(picked.reduce(stack), own.reduce(stack[b : b + 1]), strict=True):
            assert torch.equal(whole[b : b + 1], alone)
    picked.geometry.zero_()
    assert torch.equal(views.geometry, make().geometry)


@settings(max_examples=15, derandomize=True)
@given(st.lists(st.integers(-4, 3), min_size=1, max_size=6))
def test_any_pick_equals_the_stacked_views(index):
    views, image = four_views(), noise(len(index), 2, *SIZE)
    wanted = torch.cat([views[n].project(image[b : b + 1]) for b, n in enumerate(index)])
    assert torch.equal(views.pick(index).project(image), wanted)


def test_gradients_pass_through_a_pick():
    image = IMAGE.clone().requires_grad_()
    views = four_views()
    views.pick([3, 1]).project(image).square().sum().backward()
    for b, n in enumerate((3, 1)):
        one = IMAGE[b : b + 1].clone().requires_grad_()
        views[n].project(one).square().sum().backward()
        assert torch.equal(image.grad[b : b + 1], one.grad)


@pytest.mark.parametrize(
    "index",
    [[0, 4], [0, -5], torch.tensor([4, 0]), torch.tensor([0, 255], dtype=torch.uint8), [0.0, 1.0], torch.zeros(2),
     [True, False], torch.tensor([True, False]), 1, torch.tensor(1), [[0], [1]]],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("make", [four_views, per_sample])
def test_a_pick_that_cannot_be_is_refused(index, make):
    with pytest.raises((TypeError, ValueError), match="index must"):
        make().pick(index)


def test_a_pick_of_another_number_of_samples_is_refused():
    with pytest.raises(ValueError, match="index must have one entry per sample, 2, got 3"):
        per_sample().pick([0, 1, 2])
    with pytest.raises(ValueError, match="geometry must have one entry per sample of image, 2, got 3"):
        four_views().pick([0, 1, 2]).project(IMAGE)


# --- changes in place

CHANGES = {
    "copy_": lambda views, table: views.geometry.copy_(table),
    "numpy": lambda views, table: np.copyto(views.geometry.numpy(), table.numpy()),
    "data": lambda views, table: views.geometry.data.copy_(table),
    "data_replaced": lambda views, table: setattr(views.geometry, "data", table.clone()),
    "set_": lambda views, table: views.geometry.set_(table.clone()),
    "rows": lambda views, table: [views.geometry[n].copy_(table[n]) for n in range(4)],
    "elements": lambda views, table: views.geometry.put_(torch.arange(table.numel()), table),
    "replaced": lambda views, table: setattr(views, "geometry", table.clone()),
    "loaded": lambda views, table: views.load_state_dict({"geometry": table}),
    "assigned": lambda views, table: views.load_state_dict({"geometry": table.clone()}, assign=True),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_table_changed_between_two_calls_gives_the_new_views(change):
    views, others = used(four_views()), four_others()
    assert not torch.equal(views.project(IMAGE), others.project(IMAGE))
    change(views, others.geometry)
    for _ in range(2):
        assert_projects_as_the_reference(views)
        assert torch.equal(views.project(IMAGE), others.project(IMAGE))
        assert torch.equal(views.unproject(STACK), others.unproject(STACK))
        assert all(torch.equal(*pair) for pair in zip(views.reduce(STACK), others.reduce(STACK), strict=True))
    change(views, four_views().geometry)
    assert_projects_as_the_reference(views)


def test_a_table_changed_in_one_element_is_seen():
    views = used(four_views())
    with torch.no_grad():
        views.geometry[3, 0] += 0.25
    assert_projects_as_the_reference(views)
    with torch.inference_mode():
        views = used(four_views())
        views.geometry[0, 1] -= 0.25
        assert_projects_as_the_reference(views)


def test_one_memory_under_two_tables_changes_both():
    table = four_views().geometry.clone()
    alias = table[:2]
    functional.project(IMAGE, table, VIEW_SIZE), functional.project(IMAGE, alias, VIEW_SIZE)
    table[0, 0] += 1
    for one in (table, alias):
        wanted = ref("project", IMAGE, one, VIEW_SIZE)
        assert_close(functional.project(IMAGE, one, VIEW_SIZE).double(), wanted, rtol=0, atol=1e-5)


def spread(table):
    return torch.stack([table, table + 1], dim=-1)[..., 0]


LAYOUTS = {
    "transposed": lambda table: table.t().contiguous().t(),
    "every_other": spread,
    "with_an_offset": lambda table: torch.cat([table, table])[4:],
    "one_row_expanded": lambda table: table[:1].expand(4, -1),
    "expanded_to_a_batch": lambda table: table.expand(2, -1, -1),
    "columns_of_a_larger_one": lambda table: torch.cat([table, table], dim=1)[:, :19],
}


@pytest.mark.parametrize("arrange", LAYOUTS.values(), ids=LAYOUTS)
def test_a_table_of_any_strides_is_read_and_watched(arrange):
    table = arrange(four_views().geometry.clone())
    results = {}
    for turn in ("first", "second", "changed"):
        if turn == "changed":
            # Through one element, so that expanded tables can be written to.
            table[(0,) * (table.dim() - 1)][:1].add_(1.5)
        dense = table.contiguous().clone()
        assert torch.equal(functional.project(IMAGE, table, VIEW_SIZE), functional.project(IMAGE, dense, VIEW_SIZE))
        assert torch.equal(functional.unproject(STACK, table, SIZE), functional.unproject(STACK, dense, SIZE))
        for pair in zip(
            functional.unproject_reduce(STACK, table, SIZE),
            functional.unproject_reduce(STACK, dense, SIZE),
            strict=True,
        ):
            assert torch.equal(*pair)
        results[turn] = functional.project(IMAGE, table, VIEW_SIZE)
    assert torch.equal(results["first"], results["second"])
    assert not torch.equal(results["first"], results["changed"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64], ids=str)
def test_a_table_of_another_dtype_is_refused(dtype):
    with pytest.raises(TypeError, match=f"geometry must be float64, got {dtype}"):
        functional.project(IMAGE, four_views().geometry.to(dtype), VIEW_SIZE)


@pytest.mark.skipif(backends.missing("cpu") is not None, reason="the cpu backend is missing")
def test_what_is_prepared_dies_with_its_table():
    prepared = backends.load("cpu").prepared
    gc.collect()
    before = len(prepared)
    table = four_views().geometry.clone()
    functional.project(IMAGE, table, VIEW_SIZE)
    functional.unproject_reduce(STACK, table, SIZE)
    assert len(prepared) == before + 1
    assert prepared.find(table) is not None
    image = IMAGE.clone().requires_grad_()
    stack = functional.project(image, table, VIEW_SIZE)
    del table
    gc.collect()
    assert len(prepared) == before + 1, "the graph still holds the table"
    stack.sum().backward()
    del stack
    gc.collect()
    assert len(prepared) == before
    for _ in range(20):
        four_views().project(IMAGE)
        used(four_views()[[0, 1]])
        four_views().pick([0, 1]).project(IMAGE)
    gc.collect()
    assert len(prepared) == before


def test_a_backward_pass_finds_out_that_its_table_has_changed():
    views = four_views()
    stack = views.project(IMAGE.clone().requires_grad_())
    views.load_state_dict(four_others().state_dict())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        stack.sum().backward()


# --- what watches and transforms calls


class Watch(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


CALLS = {
    "project": lambda views: views.project(IMAGE),
    "project_out": lambda views: views.project(IMAGE, out=torch.empty(2, 4, 3, *VIEW_SIZE)),
    "project_array": lambda views: views.project(IMAGE.numpy()),
    "project_slice": lambda views: views.project(IMAGE[0, 0], fill=3),
    "project_labels": lambda views: views.project(IMAGE > 0, interpolation="nearest"),
    "unproject": lambda views: views.unproject(STACK),
    "unproject_reduce": lambda views: views.reduce(STACK),
}
each_call = pytest.mark.parametrize("name", CALLS)


def op_of(name):
    return "project_out" if name == "project_out" else name if name.startswith("unproject") else "project"


@each_call
def test_a_dispatch_mode_sees_every_call(name):
    views = four_views()
    for _ in range(3):
        with Watch() as watch:
            CALLS[name](views)
        assert [seen for seen in watch.seen if "spuproj" in seen] == [f"spuproj.{op_of(name)}.default"]


@each_call
def test_the_profiler_sees_every_call(name):
    views = four_views()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for _ in range(3):
            CALLS[name](views)
    counts = {event.key: event.count for event in profile.key_averages() if "spuproj" in event.key}
    assert counts == {f"spuproj::{op_of(name)}": 3}


def test_a_dispatch_mode_may_replace_results_of_later_calls_too():
    class Zeros(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            return torch.zeros_like(result) if "spuproj" in str(func) else result

    views = used(four_views())
    with Zeros():
        assert all((views.project(IMAGE) == 0).all() for _ in range(2))
    assert not (views.project(IMAGE) == 0).all()


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("at", [(), (0,), (0, 0)], ids=["4d", "3d", "2d"])
def test_project_and_reduce_compile_whole_at_every_rank(at):
    views = four_views()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def compiled(image):
        stack = views.project(image, fill=-2.5)
        return stack, *views.reduce(stack)

    image = IMAGE[at]
    stack = views.project(image, fill=-2.5)
    assert_close(compiled(image), (stack, *views.reduce(stack)))
    leaf, twin = image.clone().requires_grad_(), image.clone().requires_grad_()
    compiled(leaf)[1].square().sum().backward()
    views.reduce(views.project(twin, fill=-2.5))[0].square().sum().backward()
    assert_close(leaf.grad, twin.grad)


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_views_see_a_changed_geometry():
    views = four_views()
    compiled = torch.compile(views.project, fullgraph=True, backend="aot_eager")
    compiled(IMAGE)
    views.geometry.copy_(four_others().geometry)
    assert torch.equal(compiled(IMAGE), four_others().project(IMAGE))


@pytest.mark.parametrize("rank", [2, 4])
def test_views_are_exported(rank):
    image = IMAGE[(0,) * (4 - rank)]
    program = torch.export.export(four_views(), (image,))
    assert torch.equal(program.module()(image), four_views().project(image))
    assert list(program.state_dict) == ["geometry"]


def test_views_go_through_vmap():
    views = four_views()
    assert torch.equal(torch.vmap(views.project)(IMAGE), views.project(IMAGE))
    assert torch.equal(torch.vmap(torch.vmap(views.project))(IMAGE), views.project(IMAGE).movedim(1, 2))
    for mapped, wanted in zip(torch.vmap(views.reduce)(STACK), views.reduce(STACK), strict=True):
        assert torch.equal(mapped, wanted)


def test_functional_call_takes_another_geometry():
    views = used(four_views())
    flipped = torch.func.functional_call(views, {"geometry": views.geometry.flip(0)}, (IMAGE,))
    assert torch.equal(flipped, views.project(IMAGE).flip(1))


def test_a_geometry_of_another_default_dtype_has_all_its_digits():
    wanted = four_views().geometry
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        torch.set_default_dtype(dtype)
        try:
            assert torch.equal(four_views().geometry, wanted)
            assert torch.equal(Views(Geometry.from_table(wanted), SIZE, VIEW_SIZE).geometry, wanted)
        finally:
            torch.set_default_dtype(torch.float32)
