"""Functions refuse what does not fit: the message names the argument, what it must be, and what it got."""

import math
from functools import partial

import pytest
import torch

from helpers import error_cases, refused
from small_views import FUNCTIONS, SIZE, VIEW_SIZE, each_function, four_views
from spuproj import Views, functional

TABLE = four_views().geometry


OPS = torch.ops.spuproj


def image(*shape, **options):
    return torch.ones(*(shape or (2, 3, *SIZE)), **options)


def stack(*shape, **options):
    return torch.ones(*(shape or (2, 4, 3, *VIEW_SIZE)), **options)


def slices(**options):
    return torch.ones(2, 4, 3, *SIZE, **options)


def views(**options):
    return Views.from_table(TABLE, SIZE, VIEW_SIZE, **options)


AXES = {
    "project": ("image", "[B, C, H, W]"),
    "project_adjoint": ("stack", "[B, N, C, h, w]"),
    "unproject": ("stack", "[B, N, C, h, w]"),
    "unproject_adjoint": ("slices", "[B, N, C, H, W]"),
    "unproject_reduce": ("stack", "[B, N, C, h, w]"),
}
"""What each function reads: the argument's name and its axes."""


@each_function
def test_a_wrong_rank(function):
    (argument, axes), (tensor, size) = AXES[function], FUNCTIONS[function]
    for given in (tensor[0], tensor[None]):
        message = f"{argument} must have the axes {axes}, got the shape {tuple(given.shape)}"
        refused(ValueError, message, partial(getattr(functional, function), given, TABLE, size))


@each_function
def test_an_unknown_interpolation(function):
    tensor, size = FUNCTIONS[function]
    message = "interpolation must be one of bilinear, nearest, got 'cubic'"
    refused(ValueError, message, lambda: getattr(functional, function)(tensor, TABLE, size, interpolation="cubic"))


@pytest.mark.parametrize("function", ["project", "project_adjoint"])
def test_an_unknown_padding(function):
    tensor, size = FUNCTIONS[function]
    message = "padding must be one of constant, border, got 'reflection'"
    refused(ValueError, message, lambda: getattr(functional, function)(tensor, TABLE, size, padding="reflection"))


@each_function
@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5.5, 5), (5,), (5, 5, 5), (True, 5), (5, math.nan), (5, math.inf)])
def test_a_size_that_is_not_two_positive_whole_numbers(function, size):
    name = "view_size" if FUNCTIONS[function][1] == VIEW_SIZE else "size"
    message = f"{name} must be two positive whole numbers (height, width), got"
    refused(ValueError, message, lambda: getattr(functional, function)(FUNCTIONS[function][0], TABLE, size))


@error_cases(
    ("image", ValueError, "image must end in the pixel size of these views, (12, 16), got (16, 12)",
     lambda: views().project(image(2, 3, 16, 12))),
    ("unproject", ValueError, "stack must end in the pixel size of these views, (10, 14), got (12, 16)",
     lambda: views().unproject(slices())),
    ("reduce", ValueError, "stack must end in the pixel size of these views, (10, 14), got (12, 16)",
     lambda: views().reduce(slices())),
    ("number_of_views", ValueError, "stack must hold 4 views on axis 1, got 3",
     lambda: functional.unproject(stack(2, 3, 3, *VIEW_SIZE), TABLE, SIZE)),
    ("number_of_views_in_reduce", ValueError, "stack must hold 4 views on axis 1, got 5",
     lambda: functional.unproject_reduce(stack(2, 5, 3, *VIEW_SIZE), TABLE, SIZE)),
    ("number_of_views_in_adjoints", ValueError, "slices must hold 4 views on axis 1, got 3",
     lambda: functional.unproject_adjoint(stack(2, 3, 3, *SIZE), TABLE, VIEW_SIZE)),
    ("number_of_views_of_a_stack", ValueError, "stack must hold 4 views on axis 1, got 3",
     lambda: views().reduce(stack(2, 3, 3, *VIEW_SIZE))),
    ("batch", ValueError, "geometry must have one entry per sample of image, 2, got 3",
     lambda: functional.project(image(), TABLE.expand(3, -1, -1))),
    ("batch_of_one", ValueError, "geometry must have one entry per sample of stack, 2, got 1",
     lambda: functional.unproject_reduce(stack(), TABLE[None], SIZE)),
)  # fmt: skip
def test_sizes_that_do_not_fit_the_views(error, message, call):
    refused(error, message, call)


LABELS = pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool], ids=str)


@LABELS
def test_label_maps_without_nearest_interpolation(dtype):
    message = (
        "{0} must be of a floating-point dtype here, got {1}: pass {0}.float() for a picture, "
        "or interpolation='nearest' for label maps"
    )
    refused(TypeError, message.format("image", dtype), lambda: functional.project(image(dtype=dtype), TABLE))
    refused(TypeError, message.format("stack", dtype), lambda: functional.unproject(stack(dtype=dtype), TABLE, SIZE))


@LABELS
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_label_maps_in_adjoints_and_statistics(dtype, interpolation):
    message = f"must be of a floating-point dtype here, got {dtype}"
    for op in (functional.project_adjoint, functional.unproject_reduce):
        with pytest.raises(TypeError, match=f"stack {message}"):
            op(stack(dtype=dtype), TABLE, SIZE, interpolation=interpolation)
    with pytest.raises(TypeError, match=f"slices {message}"):
        functional.unproject_adjoint(slices(dtype=dtype), TABLE, VIEW_SIZE, interpolation=interpolation)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_complex_numbers(interpolation):
    names = "float32, float64, float16, bfloat16, uint8, int8, int16, int32, int64, bool"
    message = f"image must be of one of the dtypes {names}, got torch.complex64"
    refused(
        TypeError,
        message,
        lambda: functional.project(image(dtype=torch.complex64), TABLE, interpolation=interpolation),
    )


@error_cases(
    ("image", ValueError,
     "geometry must be on the device of image, meta, got cpu; move the views with views.to('meta')",
     lambda: functional.project(image(device="meta"), TABLE)),
    ("geometry", ValueError, "geometry must be on the device of stack, cpu, got meta; move the views with",
     lambda: functional.unproject_reduce(stack(), TABLE.to("meta"), SIZE)),
    ("gradient", ValueError, "geometry must be on the device of image, meta, got cpu",
     lambda: views().project(image(device="meta", requires_grad=True))),
)  # fmt: skip
def test_tensors_on_different_devices(error, message, call):
    refused(error, message, call)


@error_cases(
    ("shape", ValueError, "grad_variance must have the shape of mean, (2, 3, 12, 16), got (2, 3, 12, 1)",
     lambda: OPS.unproject_reduce_backward(image(), image(2, 3, 12, 1), stack(), TABLE, image(), image().int())),
    ("dtype", TypeError, "grad_mean must have the dtype of stack, torch.float32, got torch.float64",
     lambda: OPS.unproject_reduce_backward(image().double(), image(), stack(), TABLE, image(), image().int())),
    ("count", TypeError, "count must be int32, got torch.int64",
     lambda: OPS.unproject_reduce_backward(image(), image(), stack(), TABLE, image(), image().long())),
    ("mean", ValueError, "mean must have the axes [B, C, H, W], got the shape (3, 12, 16)",
     lambda: OPS.unproject_reduce_backward(image(), image(), stack(), TABLE, image()[0], image().int())),
    ("mean_of_another_batch", ValueError, "mean must",
     lambda: OPS.unproject_reduce_backward(*[image(1, 3, *SIZE)] * 2, stack(), TABLE, image(1, 3, *SIZE),
                                           image(1, 3, *SIZE).int())),
)  # fmt: skip
def test_the_backward_of_reduce_on_tensors_that_do_not_fit(error, message, call):
    refused(error, message, call)
