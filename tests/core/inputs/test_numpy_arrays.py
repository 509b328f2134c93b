"""NumPy arrays of any layout and byte order give arrays of the same dtype; what torch cannot take is refused."""

import re

import nibabel
import numpy as np
import pytest
import torch

from helpers import noise, parts
from small_views import IMAGE, METHODS, SIZE, STACK, each_method, four_views

VIEWS = four_views()


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
        for result, wanted in zip(parts(call(array)), parts(call(values)), strict=True):
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
    loaded = np.asanyarray(nibabel.Nifti1Image.from_filename(tmp_path / "volume.nii").dataobj)
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
def test_masked_arrays_are_refused_with_advice(method):
    masked = np.ma.masked_array(METHODS[method].numpy(), mask=METHODS[method].numpy() > 0)
    with pytest.raises(TypeError, match=r"must not be a masked array; fill it first, with (image|stack)\.filled\(0\)"):
        getattr(VIEWS, method)(masked)
    getattr(VIEWS, method)(masked.filled(0))


def test_numpy_images_take_fills_too():
    np.testing.assert_array_equal(VIEWS.project(IMAGE.numpy(), fill=-1), VIEWS.project(IMAGE, fill=-1).numpy())
    labels = (IMAGE > 0).numpy()
    assert (
        VIEWS.project(labels, interpolation="nearest", fill=True) > VIEWS.project(labels, interpolation="nearest")
    ).any()
