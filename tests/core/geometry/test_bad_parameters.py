"""Constructors of Views refuse bad parameters: the message names the argument, what it must be, and what it got."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers import error_cases, refused
from small_views import SIZE, VIEW_SIZE, four_views
from spuproj import Geometry, Views

TABLE = four_views().geometry


@pytest.mark.parametrize("value", [0, -3, math.nan, math.inf, -math.inf, 10**400])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("radius", lambda value: Views.spherical(SIZE, grid=(2, 2), radius=value)),
        ("magnification", lambda value: Views.spherical(SIZE, grid=(2, 2), magnification=value)),
        ("factor", lambda value: Views.zoom(SIZE, [(5, 5)], factor=value)),
    ],
)
def test_a_length_or_ratio_that_is_not_positive_and_finite(name, call, value):
    got = math.inf if value == 10**400 else float(value)
    refused(ValueError, f"{name} must be positive and finite, got {got}", lambda: call(value))


ANY: Any = Views  # Its arguments may have other types here.


@error_cases(
    ("radius", TypeError, "radius must be a number, got 'a'", lambda: ANY.spherical(SIZE, grid=(2, 2), radius="a")),
    ("true", TypeError, "radius must be a number, got True", lambda: ANY.spherical(SIZE, grid=(2, 2), radius=True)),
    ("true angle", TypeError, "degrees must be a number, got True", lambda: ANY.rigid(SIZE, degrees=[True])),
    ("true count", TypeError, "min_count must be a number, got True",
     lambda: ANY.reduce(four_views(), torch.zeros(4, 1, *VIEW_SIZE), min_count=True)),
    ("factor", TypeError, "factor must be a number, got [1]", lambda: ANY.zoom(SIZE, [(5, 5)], factor=[1])),
    ("degrees", TypeError, "degrees must be a number, got None", lambda: ANY.rigid(SIZE, degrees=[None])),
    ("width", TypeError, "width must be a number, got None", lambda: ANY.border_weights(four_views(), None)),
    ("min_count", TypeError, "min_count must be a number, got 'a'",
     lambda: ANY.reduce(four_views(), torch.zeros(4, 1, *VIEW_SIZE), min_count="a")),
    ("box", TypeError, "box must be four numbers (y0, x0, y1, x1), got 5",
     lambda: ANY.spherical(SIZE, grid=(2, 2), box=5)),
    ("text", TypeError, "centers must be points (y, x), [N, 2] or [B, N, 2], got 'ab'",
     lambda: ANY.zoom(SIZE, "ab")),
    ("none", TypeError, "centers must be points (y, x), [N, 2] or [B, N, 2], got [None]",
     lambda: ANY.zoom(SIZE, [None])),
    ("ragged", TypeError, "centers must be points (y, x), [N, 2] or [B, N, 2], got [(1, 2), (3,)]",
     lambda: ANY.zoom(SIZE, [(1, 2), (3,)])),
    ("complex", TypeError, "centers must be real numbers, got torch.complex64",
     lambda: ANY.zoom(SIZE, torch.ones(1, 2, dtype=torch.complex64))),
    ("table", TypeError, "geometry must be a Geometry, got Tensor; Views.from_table takes a table",
     lambda: ANY(TABLE, SIZE)),
)  # fmt: skip
def test_what_is_no_number_or_geometry_is_named(error, message, call):
    refused(error, message, call)


@pytest.mark.parametrize("point", [(-0.1, 3.0), (3.0, 15.1), (11.1, 3.0), (math.nan, 3.0), (3.0, math.inf)])
@pytest.mark.parametrize("make", [Views.spherical, Views.zoom])
def test_a_centre_outside_the_slice(make, point):
    message = f"centers must lie inside the slice, [0, 11] x [0, 15], got ({point[0]}, {point[1]})"
    refused(ValueError, message, lambda: make(SIZE, [(5.0, 5.0), point]))


NAMES = "gnomonic, stereographic, equidistant, equal_area, orthographic"


@error_cases(
    ("lift", ValueError, f"lift must be one of {NAMES}, got 'mercator'",
     lambda: Views.spherical(SIZE, grid=(2, 2), lift="mercator")),
    ("chart", ValueError, f"chart must be one of {NAMES}, got 'mercator'",
     lambda: Views.spherical(SIZE, grid=(2, 2), chart="mercator")),
    ("pose", ValueError, "pose must be one of tangent, turned, got 'tilted'",
     lambda: Views.spherical(SIZE, grid=(2, 2), pose="tilted")),
    ("fit", ValueError, "fit must be one of contain, box, got 'cover'",
     lambda: Views.spherical(SIZE, grid=(2, 2), fit="cover")),
    ("fit-box", ValueError, "box must be given where fit='box', got None",
     lambda: Views.spherical(SIZE, grid=(2, 2), fit="box")),
    ("flip", ValueError, "flips must be one of none, horizontal, vertical, both, got 'diagonal'",
     lambda: Views.rigid(SIZE, flips=["diagonal"])),
)  # fmt: skip
def test_an_unknown_name(error, message, call):
    refused(error, message, call)


@error_cases(
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


@error_cases(
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
     lambda: Views.spherical(SIZE, grid=(1.5, 2))),  # type: ignore[arg-type]
    ("a_number", ValueError, "grid must be two positive whole numbers",
     lambda: Views.spherical(SIZE, grid=3)),  # type: ignore[arg-type]
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
        ("view_size", lambda size: Views.rigid(SIZE, view_size=size)),
    ],
    ids=["spherical", "zoom", "rigid", "from_table", "view_size"],
)
def test_a_size_that_is_not_two_positive_whole_numbers(name, call, size):
    refused(ValueError, f"{name} must be two positive whole numbers (height, width), got", lambda: call(size))


def test_a_size_that_is_one_number():
    with pytest.raises((TypeError, ValueError), match="size must be two positive whole numbers"):
        Views.rigid(12)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degrees": [0], "angles": [0]}, "angles or degrees must be given, one of the two, got both"),
        ({"degrees": []}, "must each hold at least one entry"),
        ({"degrees": [math.nan]}, "degrees must be finite, got nan"),
        ({"angles": [0.0, math.nan]}, "angles must be finite, got nan"),
        ({"angles": [0.0, math.inf]}, "angles must be finite, got inf"),
        ({"angles": [10**400]}, "angles must be finite, got inf"),
        ({"flips": None}, "flips must be a list of names, got None"),
    ],
    ids=["both", "empty", "degrees", "nan", "inf", "huge", "flips"],
)
def test_bad_angles_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Views.rigid((9, 11), **options)


@pytest.mark.parametrize(
    "spacing",
    [
        0, 1, (0, 1), (1, -1), (math.nan, 1), (1, math.inf), (1,), (1, 1, 1), "ab", (None, 1), {}, (1j, 1),
        ((1, 2), (3, 4)), np.ones(3), torch.zeros(2),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "make",
    [
        lambda spacing: Views.spherical((9, 12), grid=(1, 2), spacing=spacing),
        lambda spacing: Views.zoom((9, 12), [(3, 4)], spacing=spacing),
        lambda spacing: Views.rigid((9, 12), spacing=spacing),
    ],
    ids=["spherical", "zoom", "rigid"],
)
def test_a_bad_spacing_is_refused(make, spacing):
    with pytest.raises(ValueError, match="spacing must be two positive, finite numbers"):
        make(spacing)


@pytest.mark.parametrize("spacing", [(1e-320, 1), (1, 1e308), (1e300, 1e-300), (2e6, 1), (1, 2e6)], ids=str)
def test_a_spacing_that_no_view_could_hold_is_refused(spacing):
    with pytest.raises(ValueError, match=r"finite numbers \(height, width\) of one magnitude"):
        Views.rigid((9, 12), spacing=spacing)


@pytest.mark.parametrize("make", [Views.spherical, Views.zoom])
@pytest.mark.parametrize("kind", [nn.Parameter, lambda tensor: tensor.requires_grad_()], ids=["parameter", "tensor"])
def test_centres_that_want_a_gradient_are_refused(make, kind):
    with pytest.raises(ValueError, match="centers must not require a gradient"):
        make(SIZE, kind(torch.tensor([[3.0, 4.0]])))


@pytest.mark.parametrize("field", ["tangent", "radius", "scale", "pole", "lift", "chart", "rotation", "spacing"])
def test_a_field_that_wants_a_gradient_is_refused(field):
    parts = vars(Geometry.from_table(TABLE.clone()))
    parts[field] = parts[field].clone().requires_grad_()
    with pytest.raises(ValueError, match="geometry must not require a gradient"):
        Views(Geometry(**parts), SIZE, VIEW_SIZE)


@pytest.mark.parametrize(
    "make",
    [
        lambda number: Views.spherical(SIZE, grid=(2, 2), radius=8 * number),
        lambda number: Views.spherical(SIZE, grid=(2, 2), magnification=number),
        lambda number: Views.spherical(SIZE, grid=(2, 2), box=(0, 0, number, 3)),
        lambda number: Views.zoom(SIZE, [(3, 4)], factor=number),
        lambda number: Views.rigid(SIZE, angles=number[None]),
        lambda number: Views.rigid(SIZE, spacing=torch.stack([number, number])),  # type: ignore[arg-type]
    ],
    ids=["radius", "magnification", "box", "factor", "angles", "spacing"],
)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_a_number_of_the_geometry_that_wants_a_gradient_is_refused(make):
    """It would get none: only learnable views pass gradients on to their parameters."""
    with pytest.raises(ValueError, match="must not require a gradient"):
        make(torch.tensor(1.5, requires_grad=True))
