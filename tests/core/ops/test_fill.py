"""project's fill: what view pixels beyond the slice get, in every dtype, layout and backend."""

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import noise, ref, tables
from small_views import IMAGE, SIZE, VIEW_SIZE, four_views, per_sample
from spuproj import Views, functional

VIEWS = four_views()


OWN = per_sample()


FILLS = [1, -2.5, 0.1, 30000, float("nan"), float("inf"), float("-inf"), True, -0.0]
# The chart shows half the sphere and is smaller than the view: pixels beyond it have no point on the slice's plane.
DISK = Views.spherical(SIZE, [(2, 3)], radius=4, chart="orthographic", magnification=1.0, view_size=VIEW_SIZE)


@cache
def reference_with_nan_beyond(interpolation, padding):
    return ref("project", IMAGE, (VIEWS + DISK).geometry, VIEW_SIZE, interpolation, padding, float("nan"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("padding", ["constant", "border"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_fill_is_what_pixels_beyond_the_slice_get_and_no_others(backend, dtype, padding, interpolation):
    table = (VIEWS + DISK).geometry
    image = IMAGE.to(dtype)
    wanted = reference_with_nan_beyond(interpolation, padding)
    beyond = torch.isnan(wanted)
    assert beyond.any()
    assert not beyond.all()
    for fill in FILLS:
        stack = backend.project(image, table, VIEW_SIZE, interpolation, padding, fill)
        assert stack.dtype == dtype
        assert_close(stack[~beyond].double(), wanted[~beyond], rtol=1e-2, atol=2e-2)
        filled = torch.full((), float(fill), dtype=torch.float64).to(dtype).expand(int(beyond.sum()))
        assert_close(stack[beyond], filled, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_fill_beyond_the_dtype_is_infinite_as_in_a_cast(backend, dtype):
    fill = -1e300
    stack = backend.project(IMAGE.to(dtype), VIEWS.geometry, VIEW_SIZE, "bilinear", "constant", fill)
    beyond = torch.isnan(VIEWS.slice_coordinates()[0])[None, :, None].expand(stack.shape)
    assert stack[beyond].unique().tolist() == [torch.tensor(fill, dtype=torch.float64).to(dtype).item()]


@settings(max_examples=20, derandomize=True)
@given(table=tables(SIZE, VIEW_SIZE), fill=st.floats(width=32), padding=st.sampled_from(["constant", "border"]))
def test_fill_equals_the_reference_on_any_geometry(backend, table, fill, padding):
    stack = backend.project(IMAGE.double(), table, VIEW_SIZE, "bilinear", padding, fill)
    wanted = ref("project", IMAGE, table, VIEW_SIZE, "bilinear", padding, fill)
    assert_close(stack, wanted, rtol=1e-9, atol=1e-9, equal_nan=True)


LABEL_FILLS = [
    (torch.uint8, 255), (torch.uint8, 7.0), (torch.int8, -128), (torch.int16, -32768), (torch.int32, 2**31 - 1),
    (torch.int64, 2**53 + 1), (torch.int64, 2**63 - 1), (torch.int64, -(2**63)), (torch.bool, True), (torch.bool, 1),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "fill"), LABEL_FILLS, ids=str)
@pytest.mark.parametrize("memory_format", [None, torch.channels_last])
def test_labels_are_filled_in_their_own_dtype(backend, dtype, fill, memory_format):
    labels = (IMAGE * 2).abs().to(dtype)
    beyond = torch.isnan(VIEWS.slice_coordinates()[0])[None, :, None].expand(2, 4, 3, *VIEW_SIZE)
    stack = backend.project(labels, VIEWS.geometry, VIEW_SIZE, "nearest", "constant", fill, None, memory_format)
    plain = backend.project(labels, VIEWS.geometry, VIEW_SIZE, "nearest", "constant")
    assert stack.dtype == dtype
    assert stack[beyond].unique().tolist() == [int(fill)]
    assert torch.equal(stack[~beyond], plain[~beyond])


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        (torch.uint8, 256), (torch.uint8, -1), (torch.int8, 128), (torch.int16, 1.5), (torch.int32, 2**31),
        (torch.int64, float(2**63)), (torch.int64, float("nan")), (torch.uint8, float("inf")), (torch.bool, 2),
        (torch.bool, 0.5), (torch.bool, -1),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("out", [False, True])
def test_a_fill_that_labels_cannot_hold_is_refused(dtype, fill, out):
    labels = IMAGE.to(dtype)
    options: dict[str, Any] = {"out": torch.empty(2, 4, 3, *VIEW_SIZE, dtype=dtype)} if out else {}
    with pytest.raises(ValueError, match=r"fill must be a whole number from .* for torch\."):
        VIEWS.project(labels, interpolation="nearest", fill=fill, **options)


@pytest.mark.parametrize(
    "fill",
    [np.float32(-3), np.float64(-3), np.int64(-3), IMAGE.new_tensor(-3), np.array(-3.0)],
    ids=["float32", "float64", "int64", "tensor", "array"],
)
def test_a_fill_may_be_a_number_of_numpy_or_torch(fill):
    """For example views.project(image, fill=image.min())."""
    assert torch.equal(VIEWS.project(IMAGE, fill=fill), VIEWS.project(IMAGE, fill=-3.0))
    assert torch.equal(
        functional.project(IMAGE, VIEWS.geometry, fill=fill), functional.project(IMAGE, VIEWS.geometry, fill=-3)
    )


@pytest.mark.parametrize("fill", [2**63, -(2**64), 2**70, 10**400, -(10**400)])
def test_a_fill_may_be_any_whole_number(fill):
    wanted = torch.tensor(max(min(fill, 10**300), -(10**300)), dtype=torch.float64).float()
    beyond = torch.isnan(VIEWS.slice_coordinates()[0])
    assert (VIEWS.project(IMAGE, fill=fill)[0, :, 0][beyond] == wanted).all()
    unseen = VIEWS.reduce(VIEWS.project(IMAGE), weights=torch.zeros(len(VIEWS), *SIZE), fill=fill)[0]
    assert (unseen == wanted).all()


@pytest.mark.parametrize("fill", ["a", None, [1.0], 1j], ids=str)
def test_a_fill_that_is_no_number_is_refused_in_words(fill):
    with pytest.raises((TypeError, ValueError), match="fill must"):
        VIEWS.project(IMAGE, fill=fill)


@pytest.mark.parametrize("views", [VIEWS, OWN], ids=["shared", "per_sample"])
@pytest.mark.parametrize("padding", ["constant", "border"])
@pytest.mark.parametrize("out_dtype", [None, torch.float64, torch.bfloat16])
def test_fill_goes_with_out_and_every_format_and_dtype(views, padding, out_dtype):
    for fill in (-7.5, float("nan"), 3, -7.5, 0):
        wanted = views.project(IMAGE, fill=fill, padding=padding).to(out_dtype or torch.float32)
        options = {"fill": fill, "padding": padding}
        last = views.project(IMAGE, **options, out_dtype=out_dtype, memory_format=torch.channels_last)
        out = torch.empty_like(wanted)
        views.project(IMAGE, **options, out=out)
        for stack in (views.project(IMAGE, **options, out_dtype=out_dtype), last, out):
            assert_close(stack, wanted, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(0, 1, *SIZE), (1, 1, 0, 5)], ids=["no samples", "no pixels"])
def test_a_fill_beyond_the_dtype_is_infinite_also_where_nothing_is_read(backend, dtype, shape):
    views = backend.project(torch.empty(shape, dtype=dtype), VIEWS.geometry, VIEW_SIZE, "bilinear", "constant", -1e300)
    assert torch.equal(views, torch.full_like(views, -math.inf))


def test_per_sample_views_fill_each_sample_as_their_own_do():
    stack = OWN.project(IMAGE, fill=5.0)
    for b in range(2):
        own = Views.from_table(OWN.geometry[b], SIZE, VIEW_SIZE)
        assert torch.equal(stack[b], own.project(IMAGE[b], fill=5.0))
        assert (stack[b] == 5.0).any()


@pytest.mark.parametrize("fill", [5.0, float("nan"), float("inf")])
@pytest.mark.parametrize("padding", ["constant", "border"])
@pytest.mark.parametrize("views", [VIEWS, OWN], ids=["shared", "per_sample"])
def test_the_gradient_does_not_depend_on_the_fill(views, padding, fill):
    image, weights = IMAGE.clone().requires_grad_(), noise(2, 4, 3, *VIEW_SIZE, seed=2)
    (wanted,) = torch.autograd.grad(views.project(image, padding=padding), image, weights)
    (found,) = torch.autograd.grad(views.project(image, padding=padding, fill=fill), image, weights)
    assert torch.equal(found, wanted)


def test_second_derivatives_pass_through_a_fill():
    small = Views.spherical((5, 6), grid=(1, 2), radius=4, magnification=0.8)
    image = noise(1, 1, 5, 6, dtype=torch.float64).requires_grad_()
    assert (small.project(image) == 0).any()
    assert torch.autograd.gradgradcheck(lambda image: small.project(image, fill=3.0) ** 2, image)
