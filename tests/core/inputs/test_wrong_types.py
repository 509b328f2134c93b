"""Arguments that are no tensors, and integer pictures: the TypeError says what to do."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from small_views import FUNCTIONS, IMAGE, SIZE, STACK, VIEW_SIZE, each_function, each_method, four_views
from spuproj import Views, functional

VIEWS = four_views()


@pytest.mark.parametrize("kind", [lambda tensor: tensor, torch.Tensor.numpy], ids=["tensor", "array"])
def test_pictures_of_bytes_are_refused_with_advice(kind):
    with pytest.raises(TypeError, match=r"uint8.*float.*interpolation='nearest'.*label"):
        VIEWS.project(kind(torch.zeros(3, *SIZE, dtype=torch.uint8)))
    with pytest.raises(TypeError, match=r"uint8.*float"):
        VIEWS.reduce(kind(torch.zeros(4, 3, *VIEW_SIZE, dtype=torch.uint8)), interpolation="nearest")


NO_TENSORS = {
    "list": [IMAGE[0], IMAGE[1]],
    "numbers": [[1.0, 2.0]],
    "tuple": (IMAGE[0], IMAGE[1]),
    "pil": Image.new("L", SIZE[::-1]),
    "none": None,
    "text": "slice.png",
    "number": 3.0,
    "dict": {"image": IMAGE},
    "numpy_number": np.float32(3),
}
each_thing = pytest.mark.parametrize("thing", NO_TENSORS.values(), ids=NO_TENSORS)


@each_method
@each_thing
def test_what_is_no_tensor_is_refused_in_words(method, thing):
    argument = "image" if method == "project" else "stack"
    wanted = f"{argument} must be a torch tensor or a NumPy array, got {type(thing).__name__}; "
    with pytest.raises(TypeError, match=re.escape(wanted)):
        getattr(VIEWS, method)(thing)


@each_function
@each_thing
def test_what_is_no_tensor_is_refused_by_the_functions(function, thing):
    _, size = FUNCTIONS[function]
    with pytest.raises(TypeError, match=rf"\w+ must be a torch tensor, got {type(thing).__name__}; "):
        getattr(functional, function)(thing, VIEWS.geometry, size)


@each_function
def test_an_array_in_a_function_is_refused_with_advice(function):
    tensor, size = FUNCTIONS[function]
    with pytest.raises(TypeError, match=r"got ndarray; pass torch\.from_numpy\(\w+\), or use the methods of Views"):
        getattr(functional, function)(tensor.numpy(), VIEWS.geometry, size)


@pytest.mark.parametrize(
    "table", [VIEWS.geometry.numpy(), VIEWS, VIEWS.geometry.tolist(), None], ids=["array", "views", "list", "none"]
)
def test_a_geometry_that_is_no_tensor_is_refused_in_words(table):
    for function, (tensor, size) in FUNCTIONS.items():
        with pytest.raises(TypeError, match="geometry must be"):
            getattr(functional, function)(tensor, table, size)


@pytest.mark.parametrize(
    "table", [VIEWS.geometry.numpy(), None, VIEWS.geometry.tolist()], ids=["array", "none", "list"]
)
def test_a_table_that_is_no_tensor_is_refused_in_words(table):
    with pytest.raises(TypeError, match="table must be"):
        Views.from_table(table, SIZE, VIEW_SIZE)


def test_out_that_is_no_tensor_is_refused_in_words():
    with pytest.raises(TypeError, match="out must be a torch tensor, got ndarray"):
        VIEWS.project(IMAGE, out=np.empty((2, 4, 3, *VIEW_SIZE), "float32"))  # type: ignore[arg-type]


@each_function
@pytest.mark.parametrize("of", [torch.Tensor.to_sparse, torch.Tensor.to_mkldnn], ids=["sparse", "mkldnn"])
def test_a_tensor_without_strides_is_refused_with_advice(function, of):
    tensor, size = FUNCTIONS[function]
    with pytest.raises(TypeError, match=r"(\w+) must be a dense tensor, got torch\.\w+; pass \1\.to_dense\(\)"):
        getattr(functional, function)(of(tensor), VIEWS.geometry, size)
    with pytest.raises(TypeError, match=r"geometry must be a dense tensor, got torch\.sparse_coo"):
        getattr(functional, function)(tensor, VIEWS.geometry.to_sparse(), size)


def test_sparse_arguments_of_views_are_refused_with_advice():
    weights, out = torch.ones(4, *SIZE).to_sparse(), torch.zeros(2, 4, 3, *VIEW_SIZE).to_sparse()
    with pytest.raises(TypeError, match="weights must be a dense tensor"):
        VIEWS.reduce(STACK, weights=weights)
    with pytest.raises(TypeError, match="out must be a dense tensor"):
        VIEWS.project(IMAGE, out=out)
    with pytest.raises(TypeError, match="image must be a dense tensor"):
        VIEWS.project(IMAGE[0, 0].to_sparse())
    with pytest.raises(TypeError, match="table must be a dense tensor"):
        Views.from_table(VIEWS.geometry.to_sparse(), SIZE, VIEW_SIZE)
