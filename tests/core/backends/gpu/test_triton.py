"""Triton's kernels, in Triton's interpreter, against the float64 definition: every op, dtype, layout and edge."""

import math
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from backends_under_test import BACKENDS, GPU, OpsOn
from helpers import (
    READS,
    doubles,
    each_bilinear_variant,
    each_variant_of_each_dtype,
    noise,
    parts,
    random_geometry,
    ref,
    same_bits,
    source_shape,
    target_size,
)
from spuproj import Views
from spuproj.ops.checks import MEMORY_FORMATS

if GPU:
    pytest.skip("on a GPU the compiled kernels take part in the tests of all backends", allow_module_level=True)
pytest.importorskip("triton")


from spuproj.backends import triton as triton_launches
from spuproj.backends.triton import TritonKernels
from spuproj.backends.triton import backend as triton_backend

backend = OpsOn(triton_backend)

# More pixels than one program handles, and views of another size than the slice.
SIZE, VIEW_SIZE = (9, 15), (11, 12)
SHARED = random_geometry(1, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=3).table()
PER_SAMPLE = torch.stack(
    [
        random_geometry(seed, SIZE, VIEW_SIZE, *pair, views=2).table()
        for seed, pair in enumerate([("gnomonic", "equidistant"), ("equal_area", "orthographic")])
    ]
)
# The interpreter truncates to bfloat16 where the GPU rounds.
TOLERANCES: dict[torch.dtype, dict[str, Any]] = {
    torch.float64: {"rtol": 0, "atol": 1e-7},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.float16: {"rtol": 2**-11, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2**-7, "atol": 1e-5},
}
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
LAYOUTS = {
    "transposed": lambda t: t.mT.contiguous().mT,
    "channels_last": lambda t: t.movedim(-3, -1).contiguous().movedim(-1, -3),
    "batch_last": lambda t: t.movedim(0, -1).contiguous().movedim(-1, 0),
    "slice_of_channels": lambda t: torch.cat([t, t + 1, t], dim=-3).narrow(-3, t.shape[-3], t.shape[-3]),
    "expanded_channels": lambda t: t.narrow(-3, 0, 1).expand_as(t),
}


def run(op, tensor, table, *options, on=backend):
    return parts(getattr(on, op)(tensor, table, target_size(op, SIZE, VIEW_SIZE), *options))


# Geometry, and whether each sample has its own weights.
OTHER_WAYS = ((SHARED, True), (PER_SAMPLE, False), (PER_SAMPLE, True))


@each_variant_of_each_dtype
def test_op_equals_the_reference(dtype, op, options):
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE), dtype=dtype)
    result = run(op, tensor, SHARED, *options)
    assert [part.dtype for part in result] == [dtype, dtype, torch.int32][: len(result)]
    expected = parts(ref(op, tensor, SHARED, target_size(op, SIZE, VIEW_SIZE), *options))
    assert_close(doubles(result), expected, **TOLERANCES[dtype])


@pytest.fixture(params=[1, 4096])
def programs(request, monkeypatch):
    """How many programs keep a GPU busy: with one, programs process planes several times with the same taps."""
    monkeypatch.setattr(triton_launches, "_PROGRAMS", request.param)


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("op", READS)
@pytest.mark.parametrize(("batch", "channels"), [(1, 1), (9, 1), (40, 1), (5, 2), (3, 4), (2, 9)])
def test_batches_that_do_not_fill_programs(batch, channels, op):
    options = ("bilinear", "constant") if op.startswith("project") else ("bilinear",)
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE, batch, channels))
    assert_close(run(op, tensor, SHARED, *options), run(op, tensor, SHARED, *options, on=BACKENDS["torch"]))


@each_bilinear_variant
@pytest.mark.parametrize(("samples_at_a_time", "deterministic"), [(1, True), (2, False)])
def test_geometry_per_sample(monkeypatch, op, options, samples_at_a_time, deterministic):
    monkeypatch.setattr(TritonKernels, "points", samples_at_a_time * 2 * max(math.prod(SIZE), math.prod(VIEW_SIZE)))
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: deterministic)
    tensor = noise(*source_shape(op, 2, SIZE, VIEW_SIZE))
    assert_close(run(op, tensor, PER_SAMPLE, *options), run(op, tensor, PER_SAMPLE, *options, on=BACKENDS["torch"]))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("table", [SHARED, PER_SAMPLE], ids=["shared", "per_sample"])
def test_backward_of_reduce(dtype, table):
    views = noise(2, table.shape[-2], 3, *VIEW_SIZE, dtype=dtype)
    mean, variance, count = BACKENDS["torch"].unproject_reduce(views, table, SIZE, "bilinear")
    arguments = (noise(*mean.shape, seed=1, dtype=dtype), variance, views, table, mean, count, "bilinear")
    expected = BACKENDS["torch"].unproject_reduce_backward(*arguments)
    assert_close(backend.unproject_reduce_backward(*arguments), expected, **TOLERANCES[dtype])


@pytest.mark.parametrize(
    ("dtype", "table", "weights_per_sample"),
    [*((dtype, SHARED, False) for dtype in TOLERANCES), *((torch.float32, *how) for how in OTHER_WAYS)],
)
def test_weighted_reduce_and_its_backward(dtype, table, weights_per_sample):
    views = noise(2, table.shape[-2], 3, *VIEW_SIZE, dtype=dtype)
    weights = (noise(2, table.shape[-2], *SIZE, seed=2).abs() - 0.3).clamp(min=0)
    weights = weights if weights_per_sample else weights[0]
    expected = BACKENDS["torch"].unproject_reduce(views, table, SIZE, "bilinear", weights)
    found = backend.unproject_reduce(views, table, SIZE, "bilinear", weights)
    assert [part.dtype for part in found] == [part.dtype for part in expected]
    assert_close(found, expected, **TOLERANCES[dtype])
    mean, variance, count = expected
    arguments = (noise(*mean.shape, seed=1, dtype=dtype), variance, views, table, mean, count, "bilinear", weights)
    wanted = BACKENDS["torch"].unproject_reduce_backward(*arguments)
    assert_close(backend.unproject_reduce_backward(*arguments), wanted, **TOLERANCES[dtype])


@pytest.mark.parametrize("share", [(1e-30, 1e-8, 1, 0.5), (1e-8, 0.1, 1, 50), (0.9, 1e-8, 1, 7)])
def test_a_view_of_little_weight_and_a_far_value_costs_no_digits_of_the_variance(share):
    table = Views.rigid(SIZE, degrees=[0, 0, 0, 0]).geometry
    stack = torch.tensor([-1e6, 1000.0, 1000.1, 999.9]).view(1, 4, 1, 1, 1).expand(1, 4, 2, *SIZE).contiguous()
    weights = torch.tensor(share).view(4, 1, 1).expand(4, *SIZE)
    variance = backend.unproject_reduce(stack, table, SIZE, "bilinear", weights)[1]
    exact = BACKENDS["torch"].unproject_reduce(stack.double(), table, SIZE, "bilinear", weights)[1]
    assert_close(variance.double(), exact, rtol=1e-4, atol=0)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_what_a_view_of_weight_zero_holds_is_not_used():
    table = Views.rigid(SIZE, degrees=[0, 180]).geometry
    stack, weights = noise(1, 2, 5, *SIZE), torch.ones(2, *SIZE)
    weights[0, 2:5] = 0
    clean = backend.unproject_reduce(stack, table, SIZE, "bilinear", weights)
    stack[:, 0, :, 2:5] = math.nan
    assert same_bits(backend.unproject_reduce(stack, table, SIZE, "bilinear", weights), clean)
    arguments = (clean[0], clean[1], stack, table, *clean[::2], "bilinear", weights)
    assert torch.isfinite(backend.unproject_reduce_backward(*arguments)).all()


@pytest.mark.parametrize("op", ["project", "unproject"])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_label_maps_keep_their_dtype_and_values(dtype, op):
    tensor = (50 * noise(*source_shape(op, 3, SIZE, VIEW_SIZE))).abs().clamp(max=127).to(dtype)
    (result,) = run(op, tensor, SHARED, "nearest", *(["constant"] if op == "project" else []))
    assert result.dtype == dtype
    expected = ref(op, tensor, SHARED, target_size(op, SIZE, VIEW_SIZE), "nearest")
    assert torch.equal(result.double(), expected)


@pytest.mark.parametrize("op", READS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_strides_make_no_difference(op, layout):
    tensor = layout(noise(*source_shape(op, 3, SIZE, VIEW_SIZE)))
    options = ("bilinear", "constant") if op.startswith("project") else ("bilinear",)
    dense = tensor.clone(memory_format=torch.contiguous_format)
    assert same_bits(run(op, tensor, SHARED, *options), run(op, dense, SHARED, *options))


@pytest.mark.parametrize("memory_format", MEMORY_FORMATS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.usefixtures("programs")
def test_project_writes_the_dtype_and_format_that_are_asked_for(channels, dtype, memory_format):
    image = noise(3, channels, *SIZE)
    views = backend.project(image, SHARED, VIEW_SIZE, "bilinear", "constant", 0, dtype, memory_format)
    assert views.dtype == dtype
    assert views.flatten(0, 1).is_contiguous(memory_format=memory_format)
    assert_close(views.double(), ref("project", image, SHARED, VIEW_SIZE), rtol=2**-10, atol=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_identity_view_keeps_a_non_finite_number_in_its_pixel(value):
    image = noise(1, 2, 6, 7)
    image[0, 0, 2, 3] = image[0, 0, 0, 6] = image[0, 0, 5, 0] = value
    table = Views.rigid((6, 7)).geometry
    seen = backend.project(image, table, (6, 7), "bilinear", "constant")
    assert_close(seen[:, 0], image, rtol=0, atol=0, equal_nan=True)
    assert_close(
        backend.project_adjoint(seen, table, (6, 7), "bilinear", "constant"), image, rtol=0, atol=0, equal_nan=True
    )
    mean, variance, _ = backend.unproject_reduce(seen, table, (6, 7), "bilinear")
    assert torch.equal(torch.isfinite(mean), torch.isfinite(image))
    assert torch.equal(torch.isfinite(variance), torch.isfinite(image))


def test_a_constant_stack_has_exactly_no_variance():
    views = Views.spherical(SIZE, grid=(2, 2), view_size=VIEW_SIZE)
    mean, variance, count = backend.unproject_reduce(
        torch.full((1, 4, 2, *VIEW_SIZE), 0.1), views.geometry, SIZE, "bilinear"
    )
    assert torch.equal(count, torch.full_like(count, 4))
    assert torch.equal(mean, torch.full_like(mean, 0.1))
    assert torch.equal(variance, torch.zeros_like(variance))


@pytest.mark.parametrize("op", READS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)], ids=str)
def test_views_of_a_single_row_column_or_pixel(op, size):
    options = ("bilinear", "constant") if op.startswith("project") else ("bilinear",)
    table = random_geometry(2, size, size, "gnomonic", "equidistant", views=2).table()
    tensor = noise(*source_shape(op, 2, size, size))
    found, expected = (parts(getattr(on, op)(tensor, table, size, *options)) for on in (backend, BACKENDS["torch"]))
    assert_close(found, expected)


@pytest.mark.parametrize("op", READS)
def test_empty_batches_give_empty_results(op):
    options = ("bilinear", "constant") if op.startswith("project") else ("bilinear",)
    tensor = noise(*source_shape(op, 3, SIZE, VIEW_SIZE))[:0]
    expected = run(op, tensor, SHARED, *options, on=BACKENDS["torch"])
    assert [part.shape for part in run(op, tensor, SHARED, *options)] == [part.shape for part in expected]


@pytest.mark.parametrize(("dtype", "fill"), [(torch.int64, -(2**63)), (torch.float64, -0.0)], ids=str)
def test_kernels_get_numbers_of_64_bits_with_a_sign(dtype, fill, monkeypatch):
    class Launched:
        def __getitem__(self, grid):
            return lambda *given, **constants: numbers.extend(each for each in given if isinstance(each, int))

    numbers: list[int] = []
    monkeypatch.setattr("spuproj.backends.triton.kernels.gather", Launched())
    image = torch.zeros(1, 1, *SIZE, dtype=dtype)
    backend.project(image, SHARED, VIEW_SIZE, "nearest", "constant", fill)
    assert -(2**63) in numbers
    assert all(-(2**63) <= number < 2**63 for number in numbers)
