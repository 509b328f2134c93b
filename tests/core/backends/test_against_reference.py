"""Every op of every backend against the readable float64 definition, in every dtype."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from helpers import (
    BACKENDS,
    doubles,
    each_variant,
    each_variant_of_each_dtype,
    noise,
    parts,
    random_geometry,
    ref,
    same_bits,
    source_shape,
    tables,
    target_size,
)
from spuproj import Views

SIZE, VIEW_SIZE = (9, 11), (8, 10)
# Arithmetic is in float32 for all but float64; halves add one rounding at the end.
TOLERANCES: dict[torch.dtype, dict[str, Any]] = {
    torch.float64: {"rtol": 0, "atol": 1e-7},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.float16: {"rtol": 2**-11, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2**-8, "atol": 1e-5},
}
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@each_variant_of_each_dtype
@settings(max_examples=4)
@given(table=tables(SIZE, VIEW_SIZE), seed=st.integers(0, 100))
def test_op_equals_the_reference(backend, dtype, op, options, table, seed):
    tensor = noise(*source_shape(op, len(table), SIZE, VIEW_SIZE), seed=seed, dtype=dtype)
    wanted = target_size(op, SIZE, VIEW_SIZE)
    result = parts(getattr(backend, op)(tensor, table, wanted, *options))
    assert [part.dtype for part in result] == [dtype, dtype, torch.int32][: len(result)]
    assert_close(doubles(result), parts(ref(op, tensor, table, wanted, *options)), **TOLERANCES[dtype])


@each_variant_of_each_dtype
def test_geometry_per_sample_equals_the_samples_one_by_one(backend, dtype, op, options):
    pairs = [("gnomonic", "equidistant"), ("equal_area", "orthographic"), ("stereographic", "stereographic")]
    table = torch.stack([random_geometry(n, SIZE, VIEW_SIZE, *pair, views=4).table() for n, pair in enumerate(pairs)])
    tensor = noise(*source_shape(op, 4, SIZE, VIEW_SIZE, batch=3), dtype=dtype)
    wanted = target_size(op, SIZE, VIEW_SIZE)
    together = parts(getattr(backend, op)(tensor, table, wanted, *options))
    singly = [parts(getattr(backend, op)(tensor[b : b + 1], table[b], wanted, *options)) for b in range(3)]
    assert same_bits(together, tuple(map(torch.cat, zip(*singly, strict=True))))
    expected = [parts(ref(op, tensor[b : b + 1], table[b], wanted, *options)) for b in range(3)]
    assert_close(doubles(together), tuple(map(torch.cat, zip(*expected, strict=True))), **TOLERANCES[dtype])


@each_variant
@settings(max_examples=4)
@given(table=tables(SIZE, VIEW_SIZE))
def test_backends_agree(op, options, table):
    tensor = noise(*source_shape(op, len(table), SIZE, VIEW_SIZE))
    wanted = target_size(op, SIZE, VIEW_SIZE)
    first, *others = (parts(getattr(backend, op)(tensor, table, wanted, *options)) for backend in BACKENDS.values())
    for other in others:
        assert_close(other, first, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", ["project", "unproject"])
@pytest.mark.parametrize("dtype", [*INTEGERS, torch.bool], ids=str)
@given(table=tables(SIZE, VIEW_SIZE), seed=st.integers(0, 100))
@settings(max_examples=4)
def test_label_maps_keep_their_dtype_and_values(backend, dtype, op, table, seed):
    tensor = (50 * noise(*source_shape(op, len(table), SIZE, VIEW_SIZE), seed=seed)).abs().clamp(max=127).to(dtype)
    wanted = target_size(op, SIZE, VIEW_SIZE)
    result = getattr(backend, op)(tensor, table, wanted, "nearest", *(["constant"] if op == "project" else []))
    assert result.dtype == dtype
    assert torch.equal(result.double(), ref(op, tensor, table, wanted, "nearest"))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_label_maps_keep_the_extreme_values_of_their_dtype(backend, dtype):
    limits = torch.iinfo(dtype)
    labels = torch.tensor([[limits.min, limits.max], [0, limits.max - 1]], dtype=dtype)[None, None]
    table = Views.rigid((2, 2), flips=["horizontal"]).geometry
    assert torch.equal(backend.project(labels, table, (2, 2), "nearest", "constant")[:, 0], labels.flip(-1))


def test_nearest_sends_half_way_points_to_the_larger_index(backend):
    views = Views.zoom((8, 8), centers=[(3, 3)], factor=2.0, view_size=(9, 9))
    halves = 3 + (torch.arange(9) - 4) / 2
    nearest = torch.ceil(halves).long()
    image = noise(1, 1, 8, 8)
    projected = backend.project(image, views.geometry, (9, 9), "nearest", "constant")
    assert torch.equal(projected[0, 0, 0], image[0, 0][nearest][:, nearest])
    shrunk = Views.zoom((9, 9), centers=[(4, 4)], factor=0.5, view_size=(7, 7))
    back = backend.unproject(image[:, None, :, :7, :7], shrunk.geometry, (9, 9), "nearest")
    assert torch.equal(back[0, 0, 0], image[0, 0][nearest][:, nearest])


def every_pattern(dtype):
    return torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 256, 256), (1, 4, 128, 128), (1, 16, 64, 64)], ids=str)
def test_every_16_bit_number_passes_an_identity_view(backend, dtype, shape):
    image = every_pattern(dtype).view(shape)
    seen = backend.project(image, Views.rigid(shape[-2:]).geometry, shape[-2:], "bilinear", "constant")[:, 0]
    number = ~torch.isnan(image)
    assert torch.equal(seen[number].view(torch.int16), image[number].view(torch.int16))
    assert torch.isnan(seen[~number]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_16_bit_number_plus_another_rounds_as_torch_rounds(backend, dtype):
    numbers = every_pattern(dtype)
    numbers = numbers[torch.isfinite(numbers)].view(1, 1, 1, 256, -1)
    others = numbers.flatten()[torch.randperm(numbers.numel())].view_as(numbers)
    table = Views.rigid(numbers.shape[-2:], angles=[0, 0]).geometry
    added = backend.project_adjoint(torch.cat([numbers, others], 1), table, numbers.shape[-2:], "bilinear", "constant")
    assert torch.equal(added, (numbers.float() + others.float()).to(dtype)[:, 0])
