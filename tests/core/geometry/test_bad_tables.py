"""Geometry tables with invalid values, a wrong shape or dtype, or a required gradient are refused."""

import math

import pytest
import torch

from helpers import BACKENDS, error_cases, refused
from small_views import FUNCTIONS, IMAGE, SIZE, VIEW_SIZE, each_function, four_views, per_sample
from spuproj import Geometry, Views, functional

VIEWS = four_views()


OWN = per_sample()


TABLE = VIEWS.geometry


def image(*shape, **options):
    return torch.ones(*(shape or (2, 3, *SIZE)), **options)


def stack(*shape, **options):
    return torch.ones(*(shape or (2, 4, 3, *VIEW_SIZE)), **options)


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


@pytest.mark.parametrize(("name", "column"), [("lift", 6), ("chart", 7)])
@pytest.mark.parametrize("code", [-1.0, 5.0, 0.5, math.nan])
def test_a_table_with_an_unknown_profile_code(name, column, code):
    table = TABLE.clone()
    table[1, column] = code
    refused(ValueError, f"{name} must", lambda: Views.from_table(table, SIZE, VIEW_SIZE))


@error_cases(
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


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("column", [17, 18])
def test_a_table_with_a_bad_spacing_is_refused(value, column):
    table = Views.rigid((9, 12)).geometry.clone()
    table[0, column] = value
    with pytest.raises(ValueError, match="spacing must be positive and finite"):
        Views.from_table(table, (9, 12))


@pytest.mark.parametrize("name", ["cpu", "torch"])
@pytest.mark.parametrize(("column", "argument"), [(6, "lift"), (7, "chart")])
@each_function
def test_codes_of_no_profile_are_refused_where_a_table_enters(name, column, argument, function):
    tensor, size = FUNCTIONS[function]
    call = getattr(BACKENDS[name], function)
    for good in (VIEWS.geometry, OWN.geometry):
        call(tensor, good, size)
        for code in (7, 5, -1, 1.5, float("nan"), float("inf")):
            table = good.clone()
            table[..., -1, column] = code
            with pytest.raises(ValueError, match=f"{argument} must"):
                call(tensor, table, size)


def test_out_is_refused_for_a_table_that_wants_a_gradient():
    out = torch.empty(2, 4, 3, *VIEW_SIZE)
    table = VIEWS.geometry.clone().requires_grad_()
    with torch.no_grad():
        assert torch.equal(functional.project(IMAGE, table, VIEW_SIZE, out=out), VIEWS.project(IMAGE))
    with pytest.raises(ValueError, match="out must be None where gradients are recorded"):
        functional.project(IMAGE, table, VIEW_SIZE, out=out)
