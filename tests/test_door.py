"""What people bring to the door: subclasses of tensors, NumPy arrays, any rank, volumes, fills, and no images."""

import re
from functools import cache

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from PIL import Image
from torch import nn
from torch.testing import assert_close

from helpers import BACKENDS, noise, ref, tables
from spuproj import Geometry, Views, functional

SIZE, VIEW_SIZE = (12, 16), (10, 14)
VIEWS = Views.spherical(SIZE, grid=(2, 2), radius=8.0, magnification=0.7, view_size=VIEW_SIZE)
OWN = Views.spherical(SIZE, noise(2, 4, 2).sigmoid() * (torch.tensor(SIZE) - 1), magnification=0.7, view_size=VIEW_SIZE)
IMAGE, STACK = noise(2, 3, *SIZE), noise(2, 4, 3, *VIEW_SIZE, seed=1)
METHODS = {"project": IMAGE, "unproject": STACK, "reduce": STACK}
FUNCTIONS = {
    "project": (IMAGE, VIEW_SIZE),
    "project_adjoint": (STACK, SIZE),
    "unproject": (STACK, SIZE),
    "unproject_adjoint": (noise(2, 4, 3, *SIZE), VIEW_SIZE),
    "unproject_reduce": (STACK, SIZE),
}

each_method = pytest.mark.parametrize("method", METHODS)
each_function = pytest.mark.parametrize("function", FUNCTIONS)


class Tagged(torch.Tensor):
    """A subclass that hands its tag on, as MetaTensor does its affine."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, cls):
            result.tag = next((a.tag for a in args if isinstance(a, cls) and hasattr(a, "tag")), None)
        return result


class Untouchable(torch.Tensor):
    """A subclass that no function may be called on."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} was called on the subclass")


class Plain(torch.Tensor):
    """A subclass with the default behaviour."""


SUBCLASSES = {
    "metatensor": lambda tensor: MetaTensor(tensor, affine=torch.diag(torch.tensor([3.0, 1, 1, 1]))),
    "tagged": lambda tensor: tensor.as_subclass(Tagged),
    "untouchable": lambda tensor: tensor.as_subclass(Untouchable),
    "plain": lambda tensor: tensor.as_subclass(Plain),
    "parameter": nn.Parameter,
    "frozen_parameter": lambda tensor: nn.Parameter(tensor, requires_grad=False),
    "buffer": nn.Buffer,
    "parameter_of_metatensor": lambda tensor: nn.Parameter(MetaTensor(tensor)),
}
each_subclass = pytest.mark.parametrize("wrap", SUBCLASSES.values(), ids=SUBCLASSES)


def listed(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def same(results, wanted):
    return all(torch.equal(a, b) for a, b in zip(listed(results), listed(wanted), strict=True))


# --- subclasses of tensors


@each_method
@each_subclass
def test_a_subclass_gives_what_its_tensor_gives_as_a_plain_tensor(method, wrap):
    call = getattr(VIEWS, method)
    for _ in range(2):
        results = listed(call(wrap(METHODS[method].clone())))
        assert [type(result) for result in results] == [torch.Tensor] * len(results)
        assert same([result.detach() for result in results], listed(call(METHODS[method])))


@each_function
@each_subclass
def test_the_stateless_functions_take_subclasses_as_well(function, wrap):
    tensor, size = FUNCTIONS[function]
    call = getattr(functional, function)
    results = listed(call(wrap(tensor.clone()), VIEWS.geometry, size))
    assert [type(result) for result in results] == [torch.Tensor] * len(results)
    assert same([result.detach() for result in results], listed(call(tensor, VIEWS.geometry, size)))


@each_method
@pytest.mark.parametrize("name", ["metatensor", "tagged", "plain"])
def test_gradients_reach_what_a_subclass_was_made_of_and_the_subclass_itself(method, name):
    def loss(tensor):
        return sum(part.square().sum() for part in listed(getattr(VIEWS, method)(tensor))[:2])

    base = METHODS[method].clone().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(base), base)
    (through,) = torch.autograd.grad(loss(SUBCLASSES[name](base) * 1), base)
    leaf = SUBCLASSES[name](METHODS[method].clone()).requires_grad_()
    loss(leaf).backward()
    assert wanted.abs().sum() > 0
    assert torch.equal(through, wanted)
    assert torch.equal(leaf.grad.as_subclass(torch.Tensor), wanted)


def test_out_of_a_subclass_is_written_and_returned_itself():
    wanted = VIEWS.project(IMAGE)
    for wrap in (MetaTensor, SUBCLASSES["tagged"], SUBCLASSES["untouchable"]):
        out = wrap(torch.full_like(wanted, 7.0))
        assert VIEWS.project(IMAGE, out=out) is out
        assert torch.equal(out.as_subclass(torch.Tensor), wanted)


def test_tensors_that_take_part_in_dispatch_stay_what_they_are():
    two = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor(IMAGE, 2 * IMAGE)
    result = VIEWS.project(two)
    assert torch.equal(result.a, VIEWS.project(IMAGE))
    assert torch.equal(result.b, VIEWS.project(2 * IMAGE))


@pytest.mark.parametrize(
    "make",
    [
        lambda wrap: Views.spherical(SIZE, wrap(torch.tensor([[3.0, 4.0], [5.0, 6.0]]))),
        lambda wrap: Views.spherical(SIZE, wrap(torch.tensor([[3.0, 4.0]])), pose="turned", radius=50),
        lambda wrap: Views.zoom(SIZE, wrap(torch.tensor([[3.0, 4.0], [5.0, 6.0]]))),
        lambda wrap: Views.from_table(wrap(VIEWS.geometry), SIZE, VIEW_SIZE),
        lambda wrap: Views(Geometry.from_table(wrap(VIEWS.geometry)), SIZE, VIEW_SIZE),
        lambda wrap: VIEWS[wrap(torch.tensor([0, 1]))],
        lambda wrap: VIEWS.pick(wrap(torch.tensor([0, 1]))),
    ],
    ids=["spherical", "turned", "zoom", "from_table", "geometry", "index", "pick"],
)
@pytest.mark.parametrize("name", ["metatensor", "tagged"])
def test_what_views_are_made_of_does_not_mark_their_results(make, name):
    """The affine of centres says nothing of a slice, let alone of a view of it."""
    views = make(SUBCLASSES[name])
    assert type(views.geometry) is torch.Tensor
    assert type(views.project(IMAGE)) is torch.Tensor
    assert type(views.magnification()) is torch.Tensor


def test_a_table_of_a_subclass_does_not_mark_the_result():
    table = SUBCLASSES["metatensor"](VIEWS.geometry)
    for function, (tensor, size) in FUNCTIONS.items():
        for result in listed(getattr(functional, function)(tensor, table, size)):
            assert type(result) is torch.Tensor


# --- NumPy arrays


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


ARRAYS = {
    "plain": lambda array: array,
    "read_only": read_only,
    "upside_down": lambda array: array[..., ::-1, :],
    "mirrored": lambda array: array[..., ::-1],
    "big_endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "big_endian_read_only_mirrored": lambda array: read_only(array.astype(array.dtype.newbyteorder(">")))[..., ::-1],
    "fortran": np.asfortranarray,
    "every_other": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "transposed": lambda array: np.swapaxes(np.swapaxes(array, -1, -2).copy(), -1, -2),
    "broadcast": lambda array: np.broadcast_to(array[:1], array.shape),
    "subclass": lambda array: array.view(type("Picture", (np.ndarray,), {})),
}


@pytest.mark.parametrize("arrange", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_an_array_gives_an_array_of_the_same_values_and_dtype(arrange, dtype):
    for method, tensor in METHODS.items():
        array = arrange(tensor.numpy().astype(dtype))
        before = array.copy()
        call = getattr(VIEWS, method)
        values = torch.from_numpy(np.array(array, dtype=dtype, order="C", subok=False))
        for result, wanted in zip(listed(call(array)), listed(call(values)), strict=True):
            assert type(result) is np.ndarray
            assert result.dtype == wanted.numpy().dtype
            assert result.dtype.isnative
            np.testing.assert_array_equal(result, wanted.numpy())
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("dtype", ["uint8", "int8", ">i2", "<i2", ">i4", "int64", "bool"])
@pytest.mark.parametrize("arrange", [ARRAYS["plain"], ARRAYS["mirrored"], ARRAYS["read_only"]])
def test_arrays_of_labels_keep_their_dtype(dtype, arrange):
    labels = arrange((IMAGE.numpy() * 3).astype(dtype))
    values = torch.from_numpy(np.array(labels, dtype=np.dtype(dtype).newbyteorder("="), order="C"))
    result = VIEWS.project(labels, interpolation="nearest")
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(result, VIEWS.project(values, interpolation="nearest").numpy())
    stack = arrange((STACK.numpy() * 3).astype(dtype))
    assert VIEWS.unproject(stack, interpolation="nearest").dtype == result.dtype


def test_a_memory_map_is_read_where_it_lies(tmp_path):
    IMAGE.numpy().astype(">f4").tofile(tmp_path / "image.raw")
    for mode in ("r", "r+", "c"):
        mapped = np.memmap(tmp_path / "image.raw", dtype=">f4", mode=mode, shape=tuple(IMAGE.shape))
        result = VIEWS.project(mapped)
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, VIEWS.project(IMAGE).numpy())


def test_a_big_endian_nifti_goes_through_slice_by_slice(tmp_path):
    volume = noise(*SIZE, 5).numpy()
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(">f4")
    nibabel.save(nibabel.Nifti1Image(volume.astype(">f4"), np.eye(4), header), tmp_path / "volume.nii")
    loaded = np.asanyarray(nibabel.load(tmp_path / "volume.nii").dataobj)
    assert not loaded.dtype.isnative
    with pytest.raises(ValueError, match="volume"):
        VIEWS.project(loaded)
    result = VIEWS.project(np.moveaxis(loaded, -1, 0))
    np.testing.assert_array_equal(result, VIEWS.project(torch.from_numpy(volume).movedim(-1, 0)).numpy())


def test_results_of_arrays_are_writable_and_their_own():
    array = IMAGE.numpy().copy()
    result = VIEWS.project(array)
    kept = result.copy()
    array[:] = 0
    VIEWS.project(array)
    np.testing.assert_array_equal(result, kept)
    result += 1


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)], ids=str)
@pytest.mark.parametrize("kind", [torch.zeros, np.zeros])
def test_nothing_gives_nothing_of_the_right_shape(shape, kind):
    *batch, channels = shape
    kwargs = {"dtype": torch.float32} if kind is torch.zeros else {"dtype": "float32"}
    result = VIEWS.project(kind((*shape, *SIZE), **kwargs), fill=3)
    assert tuple(result.shape) == (*batch, 4, channels, *VIEW_SIZE)
    mean, _, count = VIEWS.reduce(kind((*batch, 4, channels, *VIEW_SIZE), **kwargs))
    assert tuple(mean.shape) == tuple(count.shape) == (*batch, channels, *SIZE)


def test_an_array_may_not_ask_for_a_dtype_that_numpy_lacks():
    with pytest.raises(TypeError, match=re.escape("out_dtype must be one that NumPy has")):
        VIEWS.project(IMAGE.numpy(), out_dtype=torch.bfloat16)
    assert VIEWS.project(IMAGE.numpy(), out_dtype=torch.float16).dtype == np.float16


@pytest.mark.parametrize("dtype", ["longdouble", "object", "U3", "datetime64[s]", [("a", "f4")]], ids=str)
@each_method
def test_arrays_that_torch_has_no_dtype_for_are_refused_in_words(method, dtype):
    if dtype == "longdouble" and np.dtype(dtype) == np.float64:
        pytest.skip("no such dtype on this platform")
    array = np.zeros(METHODS[method].shape, dtype=dtype)
    with pytest.raises(TypeError, match=r"must be of a dtype that torch has, got"):
        getattr(VIEWS, method)(array)


@pytest.mark.parametrize("dtype", ["uint16", "complex64"])
def test_arrays_of_dtypes_that_the_ops_lack_are_refused_in_words(dtype):
    with pytest.raises(TypeError, match=f"image must be of one of the dtypes float32, .* got torch.{dtype}"):
        VIEWS.project(np.zeros(IMAGE.shape, dtype), interpolation="nearest")


@each_method
def test_masked_arrays_are_refused_and_told_the_way(method):
    masked = np.ma.masked_array(METHODS[method].numpy(), mask=METHODS[method].numpy() > 0)
    with pytest.raises(TypeError, match=r"must not be a masked array; fill it first, with (image|stack)\.filled\(0\)"):
        getattr(VIEWS, method)(masked)
    getattr(VIEWS, method)(masked.filled(0))


@pytest.mark.parametrize(
    "arrange",
    [lambda points: points.astype(">f8"), lambda points: points[:, ::-1][:, ::-1], lambda points: points[::-1][::-1]],
    ids=["big_endian", "swapped_columns", "reversed"],
)
@pytest.mark.parametrize("make", [Views.spherical, Views.zoom])
def test_centres_may_come_as_any_array(make, arrange):
    """np.argwhere(mask)[:, ::-1] and the like."""
    points = np.array([[3.0, 4.0], [5.0, 6.0]])
    reversed_twice = arrange(points[::-1, ::-1])
    wanted = make(SIZE, points[::-1, ::-1].copy())
    assert torch.equal(make(SIZE, reversed_twice).geometry, wanted.geometry)


# --- ranks


@pytest.mark.parametrize("views", [VIEWS, Views.rigid(SIZE, view_size=VIEW_SIZE)], ids=["four_views", "one_view"])
@pytest.mark.parametrize("kind", [lambda tensor: tensor, torch.Tensor.numpy], ids=["tensor", "array"])
@settings(max_examples=10, derandomize=True)
@given(batch=st.integers(1, 3), channels=st.integers(1, 3))
def test_every_rank_gives_the_part_of_the_full_result(views, kind, batch, channels):
    image = noise(batch, channels, *SIZE)
    full = views.project(image)
    assert full.shape == (batch, len(views), channels, *VIEW_SIZE)
    for given_image, wanted in ((image, full), (image[0], full[0]), (image[0, 0], full[0, :, 0])):
        np.testing.assert_array_equal(views.project(kind(given_image)), wanted)
    slices, moments = views.unproject(full), views.reduce(full)
    for at in ((), (0,), (0, slice(None), 0)):
        part = full[at]
        np.testing.assert_array_equal(views.unproject(kind(part)), slices[at])
        for result, whole in zip(views.reduce(kind(part)), moments, strict=True):
            np.testing.assert_array_equal(result, whole[at[:1] + (0,) * (len(at) == 3)])


@pytest.mark.parametrize("at", [(0,), (0, 0)], ids=["no_batch", "no_batch_no_channels"])
def test_gradients_of_lower_ranks_have_their_rank(at):
    image = IMAGE.clone().requires_grad_()
    part = IMAGE[at].clone().requires_grad_()
    VIEWS.project(image)[(0, slice(None), 0) if len(at) == 2 else at].square().sum().backward()
    VIEWS.project(part).square().sum().backward()
    assert part.grad.shape == part.shape
    assert_close(part.grad, image.grad[at])


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_out_has_the_rank_of_the_result(rank):
    image = IMAGE[(0,) * (4 - rank)]
    wanted = VIEWS.project(image)
    out = torch.full_like(wanted, float("nan"))
    for _ in range(2):
        assert VIEWS.project(image, out=out) is out
        assert torch.equal(out, wanted)


@pytest.mark.parametrize("rank", [2, 3])
def test_the_wrong_rank_of_out_is_told_with_the_shape_that_was_given(rank):
    out = torch.empty(1, 4, 3, *VIEW_SIZE)
    with pytest.raises(ValueError, match=re.escape("out must")) as caught:
        VIEWS.project(IMAGE[(0,) * (4 - rank)], out=out)
    assert str(tuple(out.shape)) in str(caught.value)


def test_per_sample_views_of_one_sample_take_an_image_without_batch():
    own = OWN.pick([0, 0])
    one = Views.from_table(own.geometry[:1], SIZE, VIEW_SIZE)
    assert torch.equal(one.project(IMAGE[0]), one.project(IMAGE[:1])[0])
    with pytest.raises(ValueError, match="geometry must have one entry per sample of image, 1, got 2"):
        own.project(IMAGE[0])


@each_function
def test_the_stateless_functions_keep_one_rank(function):
    tensor, size = FUNCTIONS[function]
    for part in (tensor[0], tensor[None]):
        with pytest.raises(ValueError, match="must have the axes"):
            getattr(functional, function)(part, VIEWS.geometry, size)


@pytest.mark.parametrize("shape", [(), (16,), (1, 1, 1, *SIZE)], ids=str)
@pytest.mark.parametrize("kind", [torch.zeros, np.zeros])
def test_other_ranks_are_refused_with_the_ones_that_go(shape, kind):
    with pytest.raises(ValueError, match=re.escape("[H, W] or [C, H, W] or [B, C, H, W], got the shape")):
        VIEWS.project(kind(shape))
    with pytest.raises(ValueError, match=re.escape("[N, h, w] or [N, C, h, w] or [B, N, C, h, w], got the shape")):
        VIEWS.reduce(kind(VIEW_SIZE))


# --- volumes and pictures


@pytest.mark.parametrize("shape", [(3, *SIZE, 5), (*SIZE, 5), (2, 3, *SIZE, 5), (1, *SIZE, 16)], ids=str)
@pytest.mark.parametrize("kind", [torch.zeros, np.zeros], ids=["tensor", "array"])
def test_a_volume_is_recognised_and_told_the_way(shape, kind):
    with pytest.raises(ValueError, match=r"volume.*image\.movedim\(-1, 0\)") as caught:
        VIEWS.project(kind(shape))
    assert str(shape) in str(caught.value)


def test_the_way_that_a_volume_is_told_goes():
    volume = noise(3, *SIZE, 5)
    stack = VIEWS.project(volume.movedim(-1, 0))
    assert stack.shape == (5, 4, 3, *VIEW_SIZE)
    for d in range(5):
        assert torch.equal(stack[d], VIEWS.project(volume[..., d]))
    with pytest.raises(ValueError, match=r"volume.*stack\.movedim\(-1, 0\)"):
        VIEWS.reduce(stack.movedim(0, -1))


@pytest.mark.parametrize("kind", [lambda tensor: tensor, torch.Tensor.numpy], ids=["tensor", "array"])
def test_pictures_of_bytes_are_told_to_become_floats_or_labels(kind):
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
def test_what_is_no_tensor_is_refused_by_the_stateless_functions(function, thing):
    _, size = FUNCTIONS[function]
    with pytest.raises(TypeError, match=rf"\w+ must be a torch tensor, got {type(thing).__name__}; "):
        getattr(functional, function)(thing, VIEWS.geometry, size)


@each_function
def test_an_array_in_a_stateless_function_is_told_the_way(function):
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
        VIEWS.project(IMAGE, out=np.empty((2, 4, 3, *VIEW_SIZE), "float32"))


# --- geometries that want a gradient


@pytest.mark.parametrize("make", [Views.spherical, Views.zoom])
@pytest.mark.parametrize("kind", [nn.Parameter, lambda tensor: tensor.requires_grad_()], ids=["parameter", "tensor"])
def test_centres_that_want_a_gradient_are_refused(make, kind):
    with pytest.raises(ValueError, match="centers must not require a gradient"):
        make(SIZE, kind(torch.tensor([[3.0, 4.0]])))


@pytest.mark.parametrize("field", ["tangent", "radius", "scale", "pole", "lift", "chart", "rotation", "spacing"])
def test_a_field_that_wants_a_gradient_is_refused(field):
    parts = vars(Geometry.from_table(VIEWS.geometry.clone()))
    parts[field] = parts[field].clone().requires_grad_()
    with pytest.raises(ValueError, match="geometry must not require a gradient"):
        Views(Geometry(**parts), SIZE, VIEW_SIZE)


@pytest.mark.parametrize(
    "make",
    [
        lambda number: Views.spherical(SIZE, grid=(2, 2), radius=8 * number),
        lambda number: Views.spherical(SIZE, grid=(2, 2), magnification=number),
        lambda number: Views.zoom(SIZE, [(3, 4)], factor=number),
        lambda number: Views.rigid(SIZE, angles=number[None]),
        lambda number: Views.rigid(SIZE, spacing=torch.stack([number, number])),
    ],
    ids=["radius", "magnification", "factor", "angles", "spacing"],
)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
def test_a_number_of_the_geometry_that_wants_a_gradient_is_refused(make):
    """It would wait for its gradient in vain, as centres would."""
    with pytest.raises(ValueError, match="must not require a gradient"):
        make(torch.tensor(1.5, requires_grad=True))


@each_function
@pytest.mark.parametrize("source_too", [False, True])
def test_a_table_that_wants_a_gradient_is_refused_while_gradients_are_recorded(function, source_too):
    tensor, size = FUNCTIONS[function]
    table, call = VIEWS.geometry.clone().requires_grad_(), getattr(functional, function)
    for _ in range(2):
        with pytest.raises(ValueError, match="geometry must not require a gradient"):
            call(tensor.clone().requires_grad_(source_too), table, size)
        with torch.no_grad():
            assert same(call(tensor, table, size), call(tensor, VIEWS.geometry, size))


def test_a_table_that_wants_a_gradient_is_refused_with_out_as_well():
    out = torch.empty(2, 4, 3, *VIEW_SIZE)
    table = VIEWS.geometry.clone().requires_grad_()
    with torch.no_grad():
        assert torch.equal(functional.project(IMAGE, table, VIEW_SIZE, out=out), VIEWS.project(IMAGE))
    with pytest.raises(ValueError, match="geometry must not require a gradient"):
        functional.project(IMAGE, table, VIEW_SIZE, out=out)


# --- profile codes


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


@each_function
def test_a_code_that_goes_wrong_between_two_calls_is_refused_at_the_second(function):
    tensor, size = FUNCTIONS[function]
    table, call = VIEWS.geometry.clone(), getattr(functional, function)
    wanted = call(tensor, table, size)
    table[2, 6] = 7
    for _ in range(2):
        with pytest.raises(ValueError, match="lift must"):
            call(tensor, table, size)
    table[2, 6] = 0
    assert same(call(tensor, table, size), wanted)


# --- fill

FILLS = [1, -2.5, 0.1, 30000, float("nan"), float("inf"), float("-inf"), True, -0.0]


# A chart of half the sphere, smaller than its view: what lies beyond it shows no point of the plane.
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
def test_labels_get_a_fill_of_their_own_kind(backend, dtype, fill, memory_format):
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
    options = {"out": torch.empty(2, 4, 3, *VIEW_SIZE, dtype=dtype)} if out else {}
    with pytest.raises(ValueError, match=r"fill must be a whole number from .* for torch\."):
        VIEWS.project(labels, interpolation="nearest", fill=fill, **options)


@pytest.mark.parametrize(
    "fill",
    [np.float32(-3), np.float64(-3), np.int64(-3), IMAGE.new_tensor(-3), np.array(-3.0)],
    ids=["float32", "float64", "int64", "tensor", "array"],
)
def test_a_fill_may_be_a_number_of_numpy_or_torch(fill):
    """views.project(image, fill=image.min()) is what one writes."""
    assert torch.equal(VIEWS.project(IMAGE, fill=fill), VIEWS.project(IMAGE, fill=-3.0))
    assert torch.equal(
        functional.project(IMAGE, VIEWS.geometry, fill=fill), functional.project(IMAGE, VIEWS.geometry, fill=-3)
    )


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


def test_per_sample_views_fill_each_sample_as_their_own_do():
    stack = OWN.project(IMAGE, fill=5.0)
    for b in range(2):
        own = Views.from_table(OWN.geometry[b], SIZE, VIEW_SIZE)
        assert torch.equal(stack[b], own.project(IMAGE[b], fill=5.0))
        assert (stack[b] == 5.0).any()


@pytest.mark.parametrize("fill", [5.0, float("nan"), float("inf")])
@pytest.mark.parametrize("padding", ["constant", "border"])
@pytest.mark.parametrize("views", [VIEWS, OWN], ids=["shared", "per_sample"])
def test_the_gradient_does_not_know_of_the_fill(views, padding, fill):
    image, weights = IMAGE.clone().requires_grad_(), noise(2, 4, 3, *VIEW_SIZE, seed=2)
    (wanted,) = torch.autograd.grad(views.project(image, padding=padding), image, weights)
    (found,) = torch.autograd.grad(views.project(image, padding=padding, fill=fill), image, weights)
    assert torch.equal(found, wanted)


def test_second_derivatives_pass_through_a_fill():
    small = Views.spherical((5, 6), grid=(1, 2), radius=4, magnification=0.8)
    image = noise(1, 1, 5, 6, dtype=torch.float64).requires_grad_()
    assert (small.project(image) == 0).any()
    assert torch.autograd.gradgradcheck(lambda image: small.project(image, fill=3.0) ** 2, image)


def test_numpy_images_take_fills_too():
    np.testing.assert_array_equal(VIEWS.project(IMAGE.numpy(), fill=-1), VIEWS.project(IMAGE, fill=-1).numpy())
    labels = (IMAGE > 0).numpy()
    assert (
        VIEWS.project(labels, interpolation="nearest", fill=True) > VIEWS.project(labels, interpolation="nearest")
    ).any()
