"""What cannot work is refused by a message that names the argument, what it must be, and what it got."""

import math
import re

import pytest
import torch

from spuproj import Geometry, Views, functional

SIZE, VIEW_SIZE = (12, 16), (10, 14)
TABLE = Views.spherical(SIZE, grid=(2, 2), magnification=0.7, view_size=VIEW_SIZE).geometry
OPS = torch.ops.spuproj


def image(*shape, **options):
    return torch.ones(*(shape or (2, 3, *SIZE)), **options)


def stack(*shape, **options):
    return torch.ones(*(shape or (2, 4, 3, *VIEW_SIZE)), **options)


def slices(**options):
    return torch.ones(2, 4, 3, *SIZE, **options)


def views(**options):
    return Views.from_table(TABLE, SIZE, VIEW_SIZE, **options)


def refused(error, message, call):
    with pytest.raises(error, match=re.escape(message)):
        call()


def cases(*rows):
    return pytest.mark.parametrize(
        ("error", "message", "call"), [row[1:] for row in rows], ids=[row[0] for row in rows]
    )


@cases(
    ("project", ValueError, "image must have the axes [B, C, H, W], got the shape (3, 12, 16)",
     lambda: functional.project(image(3, *SIZE), TABLE)),
    ("project_adjoint", ValueError, "stack must have the axes [B, N, C, h, w], got the shape (2, 3, 10, 14)",
     lambda: functional.project_adjoint(image(2, 3, *VIEW_SIZE), TABLE, SIZE)),
    ("unproject", ValueError, "stack must have the axes [B, N, C, h, w], got the shape (2, 3, 10, 14)",
     lambda: functional.unproject(image(2, 3, *VIEW_SIZE), TABLE, SIZE)),
    ("unproject_adjoint", ValueError, "slices must have the axes [B, N, C, H, W], got the shape (2, 3, 12, 16)",
     lambda: functional.unproject_adjoint(image(), TABLE, VIEW_SIZE)),
    ("reduce", ValueError, "stack must have the axes [B, N, C, h, w], got the shape (4, 3, 10, 14)",
     lambda: functional.unproject_reduce(image(4, 3, *VIEW_SIZE), TABLE, SIZE)),
    ("views_project", ValueError, "image must have the axes [H, W] or [C, H, W] or [B, C, H, W], got the shape (16,)",
     lambda: views().project(image(16))),
    ("views_unproject", ValueError,
     "stack must have the axes [N, h, w] or [N, C, h, w] or [B, N, C, h, w], got the shape (10, 14)",
     lambda: views().unproject(image(*VIEW_SIZE))),
    ("views_reduce", ValueError,
     "stack must have the axes [N, h, w] or [N, C, h, w] or [B, N, C, h, w], got the shape (1, 1, 4, 3, 10, 14)",
     lambda: views().reduce(image(1, 1, 4, 3, *VIEW_SIZE))),
)  # fmt: skip
def test_wrong_rank(error, message, call):
    refused(error, message, call)


@cases(
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


@pytest.mark.parametrize("value", [0, -3, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("radius", lambda value: Views.spherical(SIZE, grid=(2, 2), radius=value)),
        ("magnification", lambda value: Views.spherical(SIZE, grid=(2, 2), magnification=value)),
        ("factor", lambda value: Views.zoom(SIZE, [(5, 5)], factor=value)),
    ],
)
def test_a_length_or_ratio_that_is_not_positive_and_finite(name, call, value):
    refused(ValueError, f"{name} must be positive and finite, got {float(value)}", lambda: call(value))


@pytest.mark.parametrize("value", [0.0, -3.0, math.nan, math.inf])
@pytest.mark.parametrize(("name", "column"), [("radius", 2), ("scale", 3)])
def test_a_table_with_a_radius_or_scale_that_is_not_positive_and_finite(name, column, value):
    table = TABLE.clone()
    table[1, column] = value
    refused(
        ValueError, f"{name} must be positive and finite, got {value}", lambda: Views.from_table(table, SIZE, VIEW_SIZE)
    )


@pytest.mark.parametrize(("name", "column"), [("tangent", 0), ("pole", 5), ("rotation", 12)])
def test_a_table_with_a_point_or_rotation_that_is_not_finite(name, column):
    table = TABLE.clone()
    table[1, column] = math.nan
    refused(ValueError, f"{name} must be finite, got", lambda: Views.from_table(table, SIZE, VIEW_SIZE))


@pytest.mark.parametrize("point", [(-1.0, 3.0), (3.0, 16.0), (12.0, 3.0), (math.nan, 3.0), (3.0, math.inf)])
@pytest.mark.parametrize("make", [Views.spherical, Views.zoom])
def test_a_centre_outside_the_slice(make, point):
    message = f"centers must lie inside the slice, [0, 11] x [0, 15], got ({point[0]}, {point[1]})"
    refused(ValueError, message, lambda: make(SIZE, [(5.0, 5.0), point]))


PROFILES = "gnomonic, stereographic, equidistant, equal_area, orthographic"


@cases(
    ("lift", ValueError, f"lift must be one of {PROFILES}, got 'mercator'",
     lambda: Views.spherical(SIZE, grid=(2, 2), lift="mercator")),
    ("chart", ValueError, f"chart must be one of {PROFILES}, got 'mercator'",
     lambda: Views.spherical(SIZE, grid=(2, 2), chart="mercator")),
    ("pose", ValueError, "pose must be one of tangent, turned, got 'tilted'",
     lambda: Views.spherical(SIZE, grid=(2, 2), pose="tilted")),
    ("fit", ValueError, "fit must be one of contain, box, got 'cover'",
     lambda: Views.spherical(SIZE, grid=(2, 2), fit="cover")),
    ("fit-box", ValueError, "box must be given where fit='box', got None",
     lambda: Views.spherical(SIZE, grid=(2, 2), fit="box")),
    ("flip", ValueError, "flips must be one of none, horizontal, vertical, both, got 'diagonal'",
     lambda: Views.rigid(SIZE, flips=["diagonal"])),
    ("interpolation", ValueError, "interpolation must be one of bilinear, nearest, got 'cubic'",
     lambda: functional.project(image(), TABLE, interpolation="cubic")),
    ("interpolation_of_adjoint", ValueError, "interpolation must be one of bilinear, nearest, got 'cubic'",
     lambda: functional.project_adjoint(stack(), TABLE, SIZE, interpolation="cubic")),
    ("interpolation_of_unproject", ValueError, "interpolation must be one of bilinear, nearest, got 'cubic'",
     lambda: functional.unproject(stack(), TABLE, SIZE, interpolation="cubic")),
    ("interpolation_of_unproject_adjoint", ValueError, "interpolation must be one of bilinear, nearest, got 'cubic'",
     lambda: functional.unproject_adjoint(slices(), TABLE, VIEW_SIZE, interpolation="cubic")),
    ("interpolation_of_reduce", ValueError, "interpolation must be one of bilinear, nearest, got 'cubic'",
     lambda: functional.unproject_reduce(stack(), TABLE, SIZE, interpolation="cubic")),
    ("padding", ValueError, "padding must be one of constant, border, got 'reflection'",
     lambda: functional.project(image(), TABLE, padding="reflection")),
    ("padding_of_adjoint", ValueError, "padding must be one of constant, border, got 'reflection'",
     lambda: functional.project_adjoint(stack(), TABLE, SIZE, padding="reflection")),
)  # fmt: skip
def test_an_unknown_name(error, message, call):
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


@cases(
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


@cases(
    ("spherical", ValueError, "centers must hold at least one point (y, x), got an empty list",
     lambda: Views.spherical(SIZE, [])),
    ("spherical_tensor", ValueError, "centers must hold at least one point (y, x), got an empty list",
     lambda: Views.spherical(SIZE, torch.empty(0, 2))),
    ("zoom", ValueError, "centers must hold at least one point (y, x), got an empty list",
     lambda: Views.zoom(SIZE, [])),
    ("angles", ValueError, "angles and flips must each hold at least one entry, got an empty list",
     lambda: Views.rigid(SIZE, angles=[])),
    ("flips", ValueError, "angles and flips must each hold at least one entry, got an empty list",
     lambda: Views.rigid(SIZE, flips=[])),
    ("table", ValueError, "views must be a list of at least one view, [N] or [B, N], got (0,)",
     lambda: Views.from_table(TABLE[:0], SIZE)),
)  # fmt: skip
def test_an_empty_list(error, message, call):
    refused(error, message, call)


@pytest.mark.parametrize("shape", [(2,), (3, 3), (1, 2, 3, 2)])
def test_centres_of_a_wrong_shape(shape):
    refused(
        ValueError,
        f"centers must be of shape [N, 2] or [B, N, 2], got {shape}",
        lambda: Views.spherical(SIZE, torch.ones(shape)),
    )


@pytest.mark.parametrize("angle", [math.nan, math.inf])
def test_an_angle_that_is_not_finite(angle):
    refused(ValueError, f"angles must be finite, got {angle}", lambda: Views.rigid(SIZE, angles=[0.0, angle]))


@cases(
    ("neither", ValueError, "centers or grid must be given, one of the two, got neither",
     lambda: Views.spherical(SIZE)),
    ("both", ValueError, "centers or grid must be given, one of the two, got both",
     lambda: Views.spherical(SIZE, [(1, 1)], grid=(2, 2))),
    ("constant", ValueError, "grid must be two positive whole numbers",
     lambda: Views.spherical(SIZE, grid=(0, 0))),
    ("zero_columns", ValueError, "grid must be two positive whole numbers",
     lambda: Views.spherical(SIZE, grid=(2, 0))),
    ("empty", ValueError, "grid must be two positive whole numbers",
     lambda: Views.spherical(SIZE, grid=())),
    ("fractions", ValueError, "grid must be two positive whole numbers",
     lambda: Views.spherical(SIZE, grid=(1.5, 2))),
    ("a_number", ValueError, "grid must be two positive whole numbers",
     lambda: Views.spherical(SIZE, grid=3)),
)  # fmt: skip
def test_a_bad_choice_of_centers_or_grid(error, message, call):
    refused(error, message, call)


@pytest.mark.parametrize(
    "box",
    [
        (5, 0, 2, 10),
        (0, 10, 5, 2),
        (-1, 0, 5, 5),
        (0, 0, 12, 5),
        (0, 0, 5, 16),
        (0, 0, math.nan, 5),
        (0, 0, 5),
        (0, 0, 5, 5, 5),
    ],
    ids=str,
)
def test_a_bad_box(box):
    message = "box must be (y0, x0, y1, x1), ordered and inside the slice, got ("
    refused(ValueError, message, lambda: Views.spherical(SIZE, grid=(2, 2), box=box))


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5.5, 5), (5,), (5, 5, 5), (True, 5), (5, math.nan), (5, math.inf)])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("size", lambda size: Views.spherical(size, [(0, 0)])),
        ("size", lambda size: Views.zoom(size, [(0, 0)])),
        ("size", lambda size: Views.rigid(size)),
        ("size", lambda size: Views.from_table(TABLE, size)),
        ("size", lambda size: functional.unproject(stack(), TABLE, size)),
        ("size", lambda size: functional.unproject_reduce(stack(), TABLE, size)),
        ("size", lambda size: functional.project_adjoint(stack(), TABLE, size)),
        ("view_size", lambda size: Views.rigid(SIZE, view_size=size)),
        ("view_size", lambda size: functional.project(image(), TABLE, size)),
        ("view_size", lambda size: functional.unproject_adjoint(slices(), TABLE, size)),
    ],
    ids=[
        "spherical", "zoom", "rigid", "from_table", "unproject", "unproject_reduce", "project_adjoint",
        "view_size_of_rigid", "view_size_of_project", "view_size_of_unproject_adjoint",
    ],
)  # fmt: skip
def test_a_size_that_is_not_two_positive_whole_numbers(name, call, size):
    refused(ValueError, f"{name} must be two positive whole numbers (height, width), got", lambda: call(size))


def test_a_size_that_is_one_number():
    with pytest.raises((TypeError, ValueError), match="size must be two positive whole numbers"):
        Views.rigid(12)


@cases(
    ("float32", TypeError, "geometry must be float64, got torch.float32",
     lambda: functional.project(image(), TABLE.float())),
    ("columns", ValueError, "geometry must be of shape [N, 19] or [B, N, 19], got (4, 18)",
     lambda: functional.project(image(), TABLE[:, :18])),
    ("one_row", ValueError, "geometry must be of shape [N, 19] or [B, N, 19], got (19,)",
     lambda: functional.unproject(stack(), TABLE[0], SIZE)),
    ("four_axes", ValueError, "geometry must be of shape [N, 19] or [B, N, 19], got (1, 1, 4, 19)",
     lambda: functional.unproject_reduce(stack(), TABLE[None, None], SIZE)),
    ("table_columns", ValueError, "table must be of shape [N, 19] or [B, N, 19], got (4, 18)",
     lambda: Views.from_table(TABLE[:, :18], SIZE)),
    ("table_row", ValueError, "table must be of shape [N, 19] or [B, N, 19], got (19,)",
     lambda: Views.from_table(TABLE[0], SIZE)),
    ("geometry_of_one_view", ValueError, "views must be a list of at least one view, [N] or [B, N], got ()",
     lambda: Views(Geometry.from_table(TABLE[0]), SIZE)),
)  # fmt: skip
def test_a_geometry_of_a_wrong_dtype_or_shape(error, message, call):
    refused(error, message, call)


@pytest.mark.parametrize(("name", "column"), [("lift", 6), ("chart", 7)])
@pytest.mark.parametrize("code", [-1.0, 5.0, 0.5, math.nan])
def test_a_table_with_an_unknown_profile_code(name, column, code):
    table = TABLE.clone()
    table[1, column] = code
    refused(ValueError, f"{name} must", lambda: Views.from_table(table, SIZE, VIEW_SIZE))


@cases(
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
