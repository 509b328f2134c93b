"""``Views.portable``: the methods agree with those of ``Views`` and with the reference, also as TorchScript."""

import copy
import io
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from helpers import noise, ref, refused, tables
from spuproj import Views

SIZE, VIEW_SIZE = (13, 17), (11, 15)
ZOOM = Views.zoom(SIZE, centers=[(5, 5), (6, 12), (9, 11)], factor=1.4, view_size=VIEW_SIZE)
OF_SAMPLES = Views.zoom(SIZE, centers=[[(4, 4), (8, 8)], [(8, 2), (5, 12)]], factor=1.4, view_size=VIEW_SIZE)
IMAGE, STACK = noise(2, 3, *SIZE), noise(2, 3, 2, *VIEW_SIZE)


@settings(max_examples=25, deadline=None)
@given(tables())
def test_every_geometry_gives_what_the_reference_gives(table):
    portable = Views.from_table(table, SIZE, VIEW_SIZE).portable()
    stack = noise(2, len(table), 2, *VIEW_SIZE)
    close = partial(assert_close, rtol=0, atol=3e-5)
    close(portable.project(IMAGE).double(), ref("project", IMAGE, table, VIEW_SIZE))
    close(portable.unproject(stack).double(), ref("unproject", stack, table, SIZE))
    for found, wanted in zip(portable.reduce(stack), ref("unproject_reduce", stack, table, SIZE), strict=True):
        close(found.double(), wanted.double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("min_count", "fill"), [(1, 0.0), (1, -1.0), (2, math.nan), (1.5, 0.25), (3, 1e39)])
def test_reduce_takes_the_options_of_views(dtype, weighted, min_count, fill):
    stack, weights = STACK.to(dtype), ZOOM.border_weights(3) if weighted else None
    wanted = ZOOM.reduce(stack, weights=weights, min_count=min_count, fill=fill)
    found = ZOOM.portable().reduce(stack, weights, min_count, fill)
    assert [part.dtype for part in found] == [part.dtype for part in wanted]
    digits = {torch.float16: 5e-3, torch.bfloat16: 4e-2}.get(dtype, 1e-5)
    for one, other in zip(found, wanted, strict=True):
        assert_close(one, other, rtol=0, atol=digits, equal_nan=True)


@pytest.mark.parametrize("fill", [-2.0, -1e39])
def test_view_pixels_outside_the_slice_are_filled(fill):
    views = Views.rigid(SIZE, degrees=[0, 30])
    assert_close(views.portable().project(IMAGE, fill), views.project(IMAGE, fill=fill), rtol=0, atol=1e-5)
    assert_close(views.portable()(IMAGE), views.project(IMAGE), rtol=0, atol=1e-5)


def test_views_that_read_pixels_exactly_still_read_no_neighbour():
    views = Views.rigid((16, 16), degrees=[0, 90, 180, 270], flips=["none", "horizontal"])
    image = noise(1, 2, 16, 16)
    assert_close(views.portable().project(image), views.project(image), rtol=0, atol=1e-5)


def test_a_slice_of_one_pixel():
    views = Views.rigid((1, 1), view_size=(1, 1))
    assert_close(views.portable().project(torch.ones(1, 1, 1, 1)), torch.ones(1, 1, 1, 1, 1))


def test_each_sample_may_have_views_of_its_own():
    stack, weights = OF_SAMPLES.project(IMAGE), OF_SAMPLES.border_weights(3)
    assert_close(OF_SAMPLES.portable().project(IMAGE), stack, rtol=0, atol=2e-5)
    for found, wanted in zip(
        OF_SAMPLES.portable().reduce(stack, weights), OF_SAMPLES.reduce(stack, weights=weights), strict=True
    ):
        assert_close(found, wanted, rtol=0, atol=2e-5)


def test_a_view_of_weight_zero_is_not_read():
    stack, weights = STACK.clone(), torch.ones(3, *SIZE)
    stack[:, 1], weights[1] = math.nan, 0
    assert_close(
        ZOOM.portable().reduce(stack, weights)[:2], ZOOM[[0, 2]].reduce(STACK[:, [0, 2]])[:2], rtol=0, atol=1e-5
    )


def test_grids_keep_their_precision_and_the_views_are_left_alone():
    portable = ZOOM.portable()
    before = portable.project(IMAGE)
    portable.half()
    assert torch.equal(portable.project(IMAGE), before)
    assert torch.equal(copy.deepcopy(portable).project(IMAGE), before)
    portable.geometry.zero_()
    assert ZOOM.geometry.count_nonzero() > 0


def test_gradients_are_those_of_views():
    slopes = []
    for views in (ZOOM, ZOOM.portable()):
        leaf = IMAGE.clone().requires_grad_()
        mean, variance, _ = views.reduce(views.project(leaf).tanh())
        (mean.square() + variance).sum().backward()
        slopes.append(leaf.grad)
    assert_close(*slopes, rtol=0, atol=2e-5)


def test_a_state_of_views_replaces_geometry_and_grids():
    other = Views.rigid(SIZE, degrees=[0, 20, 40], view_size=VIEW_SIZE)
    portable = ZOOM.portable()
    portable.load_state_dict(other.state_dict())
    assert torch.equal(portable.project(IMAGE), other.portable().project(IMAGE))
    assert torch.equal(portable.unproject(STACK), other.portable().unproject(STACK))
    assert portable.state_dict().keys() == other.state_dict().keys()


def test_a_state_for_another_size_replaces_the_sizes_too():
    other = Views.zoom((9, 8), centers=[(4, 4), (2, 2), (5, 5)], view_size=(7, 6))
    portable = ZOOM.portable()
    portable.load_state_dict(other.state_dict())
    image = noise(1, 2, 9, 8)
    assert torch.equal(portable.project(image), other.portable().project(image))


ONES = torch.ones(3, *SIZE)

WRONG_CALLS = {
    "height": (
        lambda v: v.project(IMAGE[..., 1:]),
        ValueError,
        "image must have 4 axes, the last two of size (13, 17)",
    ),
    "no batch": (lambda v: v.unproject(STACK[0]), ValueError, "stack must have 5 axes, the last two of size (11, 15)"),
    "width": (lambda v: v.reduce(STACK[..., 1:]), ValueError, "stack must have 5 axes, the last two of size (11, 15)"),
    "views": (lambda v: v.reduce(STACK[:, :2]), ValueError, "stack must hold 3 views on axis 1, got 2"),
    "views, unproject": (lambda v: v.unproject(STACK[:, :1]), ValueError, "stack must hold 3 views on axis 1, got 1"),
    "list": (lambda v: v.project(IMAGE.tolist()), TypeError, "image must be a torch tensor, got list"),
    "nothing": (lambda v: v.unproject(None), TypeError, "stack must be a torch tensor, got NoneType"),
    "weights in a list": (lambda v: v.reduce(STACK, [1.0]), TypeError, "weights must be a torch tensor, got list"),
    "labels": (lambda v: v.project(IMAGE.long()), TypeError, "image must be of a floating-point dtype"),
    "labels, stack": (lambda v: v.reduce(STACK.int()), TypeError, "stack must be of a floating-point dtype"),
    "one weight": (lambda v: v.reduce(STACK, torch.ones(3)), ValueError, "weights must be of the shape [N, H, W]"),
    "broadcast": (lambda v: v.reduce(STACK, ONES[:1]), ValueError, "weights must be of the shape [N, H, W]"),
    "batch": (lambda v: v.reduce(STACK, ONES.expand(3, 3, -1, -1)), ValueError, "weights must be of the shape"),
    "negative": (lambda v: v.reduce(STACK, -ONES), ValueError, "weights must be finite and not negative"),
    "NaN": (lambda v: v.reduce(STACK, ONES * math.nan), ValueError, "weights must be finite and not negative"),
    "min_count": (lambda v: v.reduce(STACK, min_count=0.0), ValueError, "min_count must be positive and finite"),
    "NaN min_count": (lambda v: v.reduce(STACK, None, math.nan), ValueError, "min_count must be positive and finite"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_what_views_refuse_is_refused(case):
    call, kind, words = WRONG_CALLS[case]
    refused(kind, words, lambda: call(ZOOM.portable()))


def test_another_batch_than_that_of_the_geometry_is_refused():
    words = "must have the batch size of the geometry, 2, got 3"
    refused(ValueError, words, lambda: OF_SAMPLES.portable().project(noise(3, 1, *SIZE)))
    refused(ValueError, words, lambda: OF_SAMPLES.portable().reduce(noise(3, 2, 1, *VIEW_SIZE)))


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")
def test_as_torchscript_all_methods_are_there_and_equal():
    portable, stream = ZOOM.portable(), io.BytesIO()
    torch.jit.save(torch.jit.script(portable), stream)
    stream.seek(0)
    loaded = torch.jit.load(stream)
    assert torch.equal(loaded(IMAGE), portable(IMAGE))
    assert torch.equal(loaded.project(IMAGE, 1.0), portable.project(IMAGE, 1.0))
    assert torch.equal(loaded.unproject(STACK), portable.unproject(STACK))
    weights = ZOOM.border_weights(3)
    assert_close(loaded.reduce(STACK, weights, 2.0, 0.5), portable.reduce(STACK, weights, 2.0, 0.5))
    with pytest.raises(torch.jit.Error, match="image must have 4 axes"):
        loaded(IMAGE[..., 1:])
    with pytest.raises(torch.jit.Error, match="weights must be of the shape"):
        loaded.reduce(STACK, torch.ones(3), 1.0, 0.0)
