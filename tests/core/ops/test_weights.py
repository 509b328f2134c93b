"""Weighted mean, variance and count: against the definition, under every transform, with zeros, NaN and gradients."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck
from torch.testing import assert_close

from backends_under_test import BACKENDS
from helpers import doubles, error_cases, noise, random_geometry, ref, refused, same_bits, tables
from spuproj import Views, functional, geometry

SIZE, VIEW_SIZE = (9, 70), (8, 60)
OPS = torch.ops.spuproj
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# Arithmetic is in float32 for all but float64; halves add one rounding at the end.
TOLERANCES: dict[torch.dtype, dict[str, Any]] = {
    torch.float64: {"rtol": 0, "atol": 1e-7},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.float16: {"rtol": 2**-11, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2**-8, "atol": 1e-5},
}
LAYOUTS = {
    "contiguous": lambda weights: weights,
    "transposed": lambda weights: weights.mT.contiguous().mT,
    "every_second_view": lambda weights: torch.cat([weights, weights], -3)[..., : weights.shape[-3], :, :],
    "one_row_for_all": lambda weights: weights[..., :1, :].expand_as(weights),
}


def some_weights(*shape, seed=0, dtype=torch.float32):
    """Weights from 0 to 2.5, a third of them zero; no view shows the first row, one view alone the second."""
    weights = noise(*shape, seed=seed, dtype=torch.float64).abs().clamp(max=2.5)
    weights = torch.where(weights < 0.43, 0, weights)
    weights[..., 0, :] = weights[..., 1:, 1, :] = 0
    return weights.to(dtype)


def table_of(views=3, seed=0):
    return random_geometry(seed, SIZE, VIEW_SIZE, "gnomonic", "equidistant", views=views).table()


def expected(stack, table, interpolation, weights):
    return ref("unproject_reduce", stack, table, SIZE, interpolation, weights.double().numpy())


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=4)
@given(
    table=tables(SIZE, VIEW_SIZE),
    planes=st.sampled_from([(1, 1), (2, 1), (2, 3), (1, 16), (2, 9)]),
    per_sample=st.booleans(),
    weights_dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(list(LAYOUTS)),
)
def test_weighted_moments_equal_the_reference(
    backend, interpolation, dtype, table, planes, per_sample, weights_dtype, layout
):
    batch, channels = planes
    stack = noise(batch, len(table), channels, *VIEW_SIZE, dtype=dtype)
    shape = (batch, len(table), *SIZE) if per_sample else (len(table), *SIZE)
    weights = LAYOUTS[layout](some_weights(*shape, dtype=weights_dtype))
    result = backend.unproject_reduce(stack, table, SIZE, interpolation, weights)
    assert [part.dtype for part in result] == [dtype, dtype, torch.promote_types(dtype, torch.float32)]
    assert_close(doubles(result), expected(stack, table, interpolation, weights), **TOLERANCES[dtype])


@settings(max_examples=20)
@given(
    table=tables(SIZE, VIEW_SIZE, max_views=5),
    channels=st.sampled_from([1, 4, 16]),
    weights=st.lists(st.sampled_from([1e-30, 1e-8, 1e-4, 0.1, 0.9, 1.0, 50.0]), min_size=5, max_size=5),
    values=st.lists(st.sampled_from([-1e6, 0.0, 999.9, 1000.0, 1000.1, 1000.2]), min_size=5, max_size=5),
)
def test_a_view_of_little_weight_and_a_far_value_costs_no_digits_of_the_variance(
    backend, table, channels, weights, values
):
    views = len(table)
    stack = torch.tensor(values[:views]).view(1, views, 1, 1, 1).expand(1, views, channels, *VIEW_SIZE).contiguous()
    share = torch.tensor(weights[:views]).view(views, 1, 1).expand(views, *SIZE)
    mean, variance, count = doubles(backend.unproject_reduce(stack, table, SIZE, "bilinear", share))
    exact = expected(stack, table, "bilinear", share)
    # The mean of values of both signs may be far smaller than they are.
    magnitude = expected(stack.abs(), table, "bilinear", share)[0]
    assert bool(((mean - exact[0]).abs() <= 1e-6 * magnitude).all())
    assert_close(count, exact[2], rtol=1e-6, atol=0)
    assert_close(variance, exact[1], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("per_sample", [False, True])
def test_geometry_per_sample_equals_the_samples_one_by_one(backend, per_sample):
    table = torch.stack([table_of(seed=seed) for seed in range(3)])
    stack, weights = noise(3, 3, 5, *VIEW_SIZE), some_weights(*([3] if per_sample else []), 3, *SIZE)
    together = backend.unproject_reduce(stack, table, SIZE, "bilinear", weights)
    for b in range(3):
        own = weights[b] if per_sample else weights
        alone = backend.unproject_reduce(stack[b : b + 1], table[b], SIZE, "bilinear", own)
        assert same_bits(tuple(part[b : b + 1] for part in together), alone)
        assert_close(doubles(alone), expected(stack[b : b + 1], table[b], "bilinear", own), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 4, 16])
def test_weights_of_one_give_the_bits_of_no_weights(backend, dtype, channels):
    table, stack = table_of(views=4), noise(2, 4, channels, *VIEW_SIZE, dtype=dtype)
    mean, variance, count = backend.unproject_reduce(stack, table, SIZE, "bilinear")
    ones = torch.ones(4, *SIZE)
    weighted = backend.unproject_reduce(stack, table, SIZE, "bilinear", ones)
    assert same_bits((mean, variance, count.to(weighted[2].dtype)), weighted)
    grads = noise(*mean.shape, seed=1, dtype=dtype), noise(*mean.shape, seed=2, dtype=dtype)
    plain = backend.unproject_reduce_backward(*grads, stack, table, mean, count, "bilinear")
    arguments = (*grads, stack, table, mean, weighted[2], "bilinear", ones)
    assert torch.equal(backend.unproject_reduce_backward(*arguments), plain)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
@pytest.mark.parametrize("channels", [1, 16])
def test_the_scale_of_the_weights_leaves_mean_and_variance_alone(backend, scale, channels):
    table, stack, weights = table_of(), noise(1, 3, channels, *VIEW_SIZE), some_weights(3, *SIZE)
    mean, variance, count = backend.unproject_reduce(stack, table, SIZE, "bilinear", weights)
    scaled = backend.unproject_reduce(stack, table, SIZE, "bilinear", scale * weights)
    assert_close(scaled, (mean, variance, scale * count), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("channels", [1, 4, 16])
@pytest.mark.parametrize("hidden", [0.0, 1e-40], ids=["zero", "subnormal"])
def test_what_a_view_of_weight_zero_holds_is_not_used(backend, value, channels, hidden):
    table = Views.rigid(SIZE, degrees=[0, 180]).geometry
    stack = noise(2, 2, channels, *SIZE)
    weights = torch.ones(2, *SIZE)
    weights[0, 2:5] = hidden
    clean = backend.unproject_reduce(stack, table, SIZE, "bilinear", weights)
    stack[:, 0, :, 2:5] = value
    touched = backend.unproject_reduce(stack, table, SIZE, "bilinear", weights)
    assert same_bits(touched, clean)
    assert torch.equal(touched[2][..., 2:5, :], torch.ones_like(touched[2][..., 2:5, :]))
    arguments = (clean[0] + 1, clean[0] - 1, stack, table, *touched[::2], "bilinear", weights)
    gradient = backend.unproject_reduce_backward(*arguments)
    assert torch.isfinite(gradient).all()
    assert (gradient[:, 0, :, 2:5] == 0).all()


def test_weights_of_zero_alone_give_zeros(backend):
    stack = torch.full((1, 3, 2, *VIEW_SIZE), math.nan)
    moments = backend.unproject_reduce(stack, table_of(), SIZE, "bilinear", torch.zeros(3, *SIZE))
    assert all(part.count_nonzero() == 0 for part in moments)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("per_sample", [False, True])
@settings(max_examples=8)
@given(table=tables(SIZE, VIEW_SIZE), channels=st.sampled_from([1, 3, 9]))
def test_gradient_equals_that_of_unproject_then_weighted_statistics(
    backend, interpolation, per_sample, table, channels
):
    stack = noise(2, len(table), channels, *VIEW_SIZE, dtype=torch.float64).requires_grad_()
    weights = some_weights(*([2] if per_sample else []), len(table), *SIZE, dtype=torch.float64)
    valid = ~torch.isnan(geometry.view_coordinates(table, SIZE, VIEW_SIZE)[0])
    weight = (weights * valid).unsqueeze(-3)
    total = weight.sum(-4)
    slices = functional.unproject(stack, table, SIZE, interpolation=interpolation)
    mean = (weight * slices).sum(1) / torch.where(total > 0, total, 1)
    variance = (weight * (slices - mean.unsqueeze(1)) ** 2).sum(1) / torch.where(total > 0, total, 1)
    grads = [noise(*mean.shape, seed=seed, dtype=torch.float64) for seed in (1, 2)]
    (wanted,) = torch.autograd.grad([mean, variance], stack, grads)
    count = total.expand(mean.shape).contiguous()
    arguments = (*grads, stack.detach(), table, mean.detach(), count, interpolation, weights)
    assert_close(backend.unproject_reduce_backward(*arguments), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_one_view_of_any_weight_has_exactly_no_variance(backend, dtype):
    stack = 1000 + noise(2, 1, 4, *VIEW_SIZE, dtype=dtype)
    mean, variance, count = backend.unproject_reduce(stack, table_of(1), SIZE, "bilinear", some_weights(1, *SIZE))
    seen = backend.unproject(stack, table_of(1), SIZE, "bilinear")[:, 0]
    assert torch.equal(mean, torch.where(count > 0, seen, 0))
    assert torch.equal(variance, torch.zeros_like(variance))


@pytest.mark.parametrize("per_sample", [False, True])
def test_first_and_second_order_gradient_checks(per_sample):
    size, view_size = (4, 5), (5, 4)
    table = random_geometry(4, size, view_size, "gnomonic", "equidistant", views=3).table()
    stack = noise(2, 3, 1, *view_size, dtype=torch.float64).requires_grad_()
    weights = some_weights(*([2] if per_sample else []), 3, *size)

    def run(stack):
        return functional.unproject_reduce(stack, table, size, weights=weights, min_count=0.5, fill=math.nan)[:2]

    def numbers(stack):
        return tuple(part.nan_to_num() for part in run(stack))

    assert gradcheck(numbers, stack)
    assert gradgradcheck(numbers, stack)


def test_gradients_of_half_precision_are_those_of_float32():
    stack, table, weights = noise(2, 3, 4, *VIEW_SIZE).half(), table_of(), some_weights(3, *SIZE)
    gradients = []
    for each in (stack, stack.float()):
        leaf = each.requires_grad_()
        mean, variance, _ = functional.unproject_reduce(leaf, table, SIZE, weights=weights)
        (mean.float().sin() + variance.float().cos()).sum().backward()
        gradients.append(leaf.grad)
    assert gradients[0].dtype == torch.float16
    assert_close(gradients[0].float(), gradients[1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("table", "per_sample"),
    [(table_of(), True), (torch.stack([table_of(), table_of(seed=1)]), False)],
    ids=["weights_per_sample", "table_per_sample"],
)
def test_opcheck(table, per_sample):
    stack = noise(2, 3, 2, *VIEW_SIZE).requires_grad_()
    weights = some_weights(*([2] if per_sample else []), 3, *SIZE)
    opcheck(OPS.unproject_reduce.default, (stack, table, SIZE, "bilinear", weights))
    mean, variance, count = OPS.unproject_reduce(stack.detach(), table, SIZE, "bilinear", weights)
    leaves = [part.clone().requires_grad_() for part in (mean, variance, mean)]
    arguments = (*leaves[:2], stack, table, leaves[2], count, "bilinear", weights)
    opcheck(OPS.unproject_reduce_backward.default, arguments)


@pytest.mark.parametrize("in_dims", [(0, None, 0), (0, None, None), (None, None, 0), (None, 0, 0), (0, 0, None)])
@pytest.mark.parametrize("per_sample", [False, True])
def test_vmap_equals_a_loop(in_dims, per_sample):
    given = noise(2, 3, 2, *VIEW_SIZE), table_of(), some_weights(*([2] if per_sample else []), 3, *SIZE)
    other = noise(2, 3, 2, *VIEW_SIZE, seed=1), table_of(seed=1), some_weights(*given[2].shape, seed=1)
    stacked = [
        first if dim is None else torch.stack([first, second])
        for first, second, dim in zip(given, other, in_dims, strict=True)
    ]

    def run(stack, table, weights):
        return OPS.unproject_reduce(stack, table, SIZE, "bilinear", weights)

    mapped = torch.vmap(run, in_dims)(*stacked)
    for n in range(2):
        one = [tensor if dim is None else tensor[n] for tensor, dim in zip(stacked, in_dims, strict=True)]
        assert_close(tuple(part[n] for part in mapped), run(*one))


def test_views_reduce_compiles_and_exports_whole(tmp_path):
    class Blend(torch.nn.Module):
        weights: torch.Tensor

        def __init__(self):
            super().__init__()
            self.views = Views.spherical((12, 16), grid=(2, 2))
            self.register_buffer("weights", self.views.border_weights(4))

        def forward(self, stack):
            return self.views.reduce(stack, weights=self.weights, min_count=2, fill=-1.0)

    stack = noise(2, 4, 3, 12, 16)
    wanted = Blend()(stack)
    torch.compiler.reset()
    assert_close(torch.compile(Blend(), fullgraph=True, backend="aot_eager")(stack), wanted)
    torch.compiler.reset()
    torch.export.save(torch.export.export(Blend(), (stack,)), tmp_path / "blend.pt2")
    assert_close(torch.export.load(tmp_path / "blend.pt2").module()(stack), wanted)


def test_autocast_takes_float32():
    stack, weights = noise(1, 3, 2, *VIEW_SIZE).bfloat16(), some_weights(3, *SIZE, dtype=torch.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        moments = functional.unproject_reduce(stack, table_of(), SIZE, weights=weights)
    assert_close(moments, functional.unproject_reduce(stack.float(), table_of(), SIZE, weights=weights))


def test_a_repeated_call_reads_the_weights_anew():
    views = Views.spherical((240, 240), grid=(2, 2))
    stack, weights = noise(1, 4, 2, 240, 240), views.border_weights(8)
    for _ in range(3):
        moments = views.reduce(stack, weights=weights)
        fresh = Views.from_table(views.geometry.clone(), (240, 240)).reduce(stack, weights=weights.clone())
        assert same_bits(moments, fresh)
        weights *= 0.7
        weights[0, 20:40] = 0
    weights[1, 100, 100] = -1
    refused(ValueError, "weights must be finite and not negative", lambda: views.reduce(stack, weights=weights))


@pytest.mark.parametrize("name", ["cpu", "torch"])
@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_weights_that_are_negative_or_not_finite_are_refused_on_the_cpu(name, bad, channels, dtype):
    weights = torch.ones(3, *SIZE)
    weights[1, 7, 65] = bad
    stack = noise(1, 3, channels, *VIEW_SIZE, dtype=dtype)
    call = partial(BACKENDS[name].unproject_reduce, stack, table_of(), SIZE, "bilinear", weights)
    refused(ValueError, "weights must be finite and not negative, got", call)


def test_negative_zero_is_a_weight_of_zero(backend):
    weights = torch.ones(3, *SIZE)
    weights[1] = -0.0
    stack = noise(1, 3, 4, *VIEW_SIZE)
    positive = backend.unproject_reduce(stack, table_of(), SIZE, "bilinear", weights.abs())
    assert same_bits(backend.unproject_reduce(stack, table_of(), SIZE, "bilinear", weights), positive)


def reduced(weights=None, stack=(2, 3, 4, *VIEW_SIZE), **options):
    return functional.unproject_reduce(torch.ones(stack), table_of(), SIZE, weights=weights, **options)


@error_cases(
    ("other_views", ValueError, "weights must be of the shape [N, H, W], (3, 9, 70), or [B, N, H, W], (2, 3, 9, 70): a "
     "weight for each view and slice pixel; got (4, 9, 70)", lambda: reduced(torch.ones(4, *SIZE))),
    ("of_view_pixels", ValueError, "got (3, 8, 60)", lambda: reduced(torch.ones(3, *VIEW_SIZE))),
    ("other_batch", ValueError, "got (3, 3, 9, 70)", lambda: reduced(torch.ones(3, 3, *SIZE))),
    ("per_channel", ValueError, "got (2, 3, 4, 9, 70)", lambda: reduced(torch.ones(2, 3, 4, *SIZE))),
    ("dtype", TypeError, "weights must be of one of the dtypes float32, float64, float16, bfloat16, got torch.bool",
     lambda: reduced(torch.ones(3, *SIZE, dtype=torch.bool))),
    ("device", ValueError, "weights must be on the device of stack, cpu, got meta",
     lambda: reduced(torch.ones(3, *SIZE, device="meta"))),
    ("array", TypeError, "weights must be a torch tensor, got ndarray; pass torch.from_numpy(weights)",
     lambda: reduced(np.ones((3, *SIZE), np.float32))),
    ("gradient", ValueError, "weights must not require a gradient, since it gets none here",
     lambda: reduced(torch.ones(3, *SIZE, requires_grad=True))),
    ("min_count_zero", ValueError, "min_count must be positive and finite, got 0.0", lambda: reduced(min_count=0)),
    ("min_count_nan", ValueError, "min_count must be positive and finite, got nan",
     lambda: reduced(min_count=math.nan)),
    ("fill", TypeError, "fill must be a number, got 'nan'", lambda: reduced(fill="nan")),
)  # fmt: skip
def test_what_does_not_fit_is_refused(error, message, call):
    refused(error, message, call)


@pytest.mark.parametrize("kind", [torch.as_tensor, lambda weights: weights.numpy()], ids=["tensor", "array"])
def test_views_take_weights_of_the_kind_of_the_stack(kind):
    views = Views.spherical((12, 16), grid=(2, 2))
    stack, weights = noise(4, 3, 12, 16), views.border_weights(4)
    wanted = functional.unproject_reduce(stack[None], views.geometry, (12, 16), weights=weights)
    for result, tensor in zip(views.reduce(kind(stack), weights=kind(weights)), wanted, strict=True):
        assert torch.equal(torch.as_tensor(result), tensor[0])
