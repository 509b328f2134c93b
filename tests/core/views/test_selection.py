"""Parts of views: views[index], iteration, and pick, which gives each sample a view of its own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import noise
from small_views import IMAGE, SIZE, VIEW_SIZE, four_views, per_sample, used
from spuproj import Views


def test_iteration_gives_every_view_in_order():
    views = four_views()
    assert torch.equal(torch.cat([one.geometry for one in views]), views.geometry)


@pytest.mark.parametrize("make", [four_views, per_sample])
def test_the_sum_of_views_holds_the_views_of_all(make):
    views = make()
    assert torch.equal(sum(views, start=views).geometry, torch.cat([views.geometry] * 2, dim=-2))
    assert torch.equal(sum([views, views[1:]]).geometry, torch.cat([views.geometry, views[1:].geometry], dim=-2))


@pytest.mark.parametrize("other", [1, 0.0, False, None, "views"])
def test_only_views_can_be_added(other):
    for add in (lambda: other + four_views(), lambda: four_views() + other):
        with pytest.raises(TypeError, match=r"unsupported operand|can only concatenate"):
            add()


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
    "slice": slice(1, 3),
    "every_other": slice(None, None, 2),
    "last_two": slice(-2, None),
    "all": slice(None),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("make", [four_views, per_sample])
def test_several_views_are_taken_as_numpy_takes_rows(index, make):
    views = used(make())
    rows = range(4)[index] if isinstance(index, slice) else index
    plain = np.asarray([value.item() if isinstance(value, (torch.Tensor, np.generic)) else value for value in rows])
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
    [4, -5, np.int64(4), torch.tensor(-5), [0, 4], [-5], torch.tensor([0, 4]), [True, False], torch.ones(5).bool(),
     2**64 - 1, np.array([2**64 - 2], dtype=np.uint64), torch.tensor([2**64 - 1], dtype=torch.uint64)],
    ids=str,
)  # fmt: skip
def test_an_index_out_of_range_is_an_index_error(index):
    with pytest.raises(IndexError, match="index must choose among 4 views, got"):
        four_views()[index]


@pytest.mark.parametrize(
    "index", [[], torch.tensor([], dtype=torch.int64), torch.zeros(4, dtype=torch.bool), slice(2, 2)]
)
def test_an_empty_selection_is_an_error(index):
    with pytest.raises(ValueError, match="index must leave at least one of 4 views, got"):
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
     [True, False], torch.tensor([True, False]), 1, torch.tensor(1), [[0], [1]], [0, [1]], [0, 2**64 - 1],
     np.array([0, 2**64 - 1], dtype=np.uint64), torch.tensor([0, 2**64 - 1], dtype=torch.uint64)],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("make", [four_views, per_sample])
def test_a_bad_index_for_pick_is_refused(index, make):
    with pytest.raises((TypeError, ValueError), match="index must"):
        make().pick(index)


def test_a_pick_of_another_number_of_samples_is_refused():
    with pytest.raises(ValueError, match="index must have one entry per sample, 2, got 3"):
        per_sample().pick([0, 1, 2])
    with pytest.raises(ValueError, match="geometry must have one entry per sample of image, 2, got 3"):
        four_views().pick([0, 1, 2]).project(IMAGE)
