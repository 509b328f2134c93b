"""Fuzzing of ``project``, ``unproject`` and their adjoints, and of their gradients, against the float64 reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuzz.calls import by_the_reference, check, on_every_backend, plain, reading_of, rows_of
from fuzz.cases import cases, labels, laid_out, sources
from fuzz.profile import fuzzed
from fuzz.tolerance import arithmetic_of, exactly, gathered, same_number, scattered
from helpers import LINEAR, READS, target_size
from spuproj.ops.checks import FLOATING, MEMORY_FORMATS

FILLS = (0, 1, -2.5, 0.1, 1e300, 65504.0, math.nan, math.inf, -math.inf, 1e-45)


def expected(case, op, source, dtype):
    """The result's bound, and the points that may be valid or not."""
    wanted, arithmetic = target_size(op, case.size, case.view_size), arithmetic_of(dtype)
    given, reading = exactly(rows_of(source)), reading_of(case, op)
    clean = given.value.reshape(source.shape)
    value = by_the_reference(case, op, clean, wanted)
    if op.endswith("adjoint"):
        return scattered(given, reading, value, arithmetic, sum_views=op == "project_adjoint"), reading
    return gathered(given, reading, value, arithmetic), reading


def check_gradient(case, op, source, wanted, options, grad):
    """The gradient of a registered op is its partner, which is fuzzed by itself, bit for bit."""
    partner = op.removesuffix("_adjoint") if op.endswith("_adjoint") else f"{op}_adjoint"
    leaf = source.clone().requires_grad_()
    result = getattr(torch.ops.spuproj, op)(leaf, case.table, wanted, *options)
    (found,) = torch.autograd.grad(result, leaf, grad)
    back = getattr(torch.ops.spuproj, partner)(grad, case.table, source.shape[-2:], *options)
    torch.testing.assert_close(found, back, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("op", LINEAR)
@fuzzed
@given(data=st.data())
def test_linear_op_and_its_gradient(op, data):
    case, dtype = data.draw(cases()), data.draw(st.sampled_from(FLOATING))
    source = data.draw(sources(case.shape(READS[op]), dtype))
    wanted = target_size(op, case.size, case.view_size)
    options = (case.interpolation, case.padding) if op.startswith("project") else (case.interpolation,)
    results = dict(on_every_backend(case, op, source, case.table, wanted, *options))
    (example,) = results["cpu"]
    if source.numel() == 0 or example.numel() == 0:
        assert all(result.count_nonzero() == 0 for (result,) in results.values())
        return
    bound, reading = expected(case, op, source, dtype)
    for name, (result,) in results.items():
        assert result.dtype == dtype
        check(name, result, bound, 0.0, reading.unsure[:, :, None] if not op.endswith("adjoint") else None)
    check_gradient(case, op, source, wanted, options, data.draw(sources(tuple(example.shape), dtype)))


def outputs(case, data, image, shape):
    """A result to write into, contiguous or with each view channels-last, that holds numbers which must go."""
    dtype, memory_format = data.draw(st.sampled_from(FLOATING)), data.draw(st.sampled_from(MEMORY_FORMATS))
    out = torch.full(shape, math.nan, dtype=dtype)
    return out.movedim(-3, -1).contiguous().movedim(-1, -3) if memory_format == torch.channels_last else out


@fuzzed
@given(data=st.data())
def test_project_with_fill_into_any_dtype_and_layout(data):
    case, dtype = data.draw(cases()), data.draw(st.sampled_from(FLOATING))
    image, fill = data.draw(sources(case.shape("image"), dtype)), data.draw(st.sampled_from(FILLS))
    out = outputs(case, data, image, case.shape("stack"))
    memory_format = torch.contiguous_format if out.is_contiguous() else torch.channels_last
    options = (case.interpolation, case.padding, fill)
    results = dict(on_every_backend(case, "project", image, case.table, case.view_size, *options, out.dtype,
                                    memory_format))  # fmt: skip
    for name, _ in on_every_backend(case, "project_out", image, case.table, out, *options):
        torch.testing.assert_close(out, results[name][0], rtol=0, atol=0, equal_nan=True, msg=f"out on {name}")
        assert results[name][0].stride() == out.stride() or out.numel() == 0 or 1 in out.shape
        out.fill_(math.nan)
    if image.numel() == 0 or out.numel() == 0:
        return
    bound, reading = expected(case, "project", image, dtype)
    nowhere = np.broadcast_to(~reading.may_be_shown[:, :, None], bound.value.shape)
    converted = fill if dtype == torch.float64 else float(torch.tensor(fill, dtype=torch.float64).float())
    if out.dtype in (torch.float16, torch.bfloat16) and dtype == torch.float64:
        # Both roundings to half precision are right: at once, and by way of float32.
        bound = bound._replace(error=bound.error + 2.0**-24 * np.abs(bound.value))
    for name, (result,) in results.items():
        check(name, result, bound._replace(lost=bound.lost | nowhere), converted, reading.unsure[:, :, None])
        got = plain(result).reshape(bound.value.shape)
        assert same_number(got[nowhere], converted, out.dtype).all(), f"fill on {name}"


@pytest.mark.parametrize("op", ["project", "unproject"])
@fuzzed
@given(data=st.data())
def test_label_maps(op, data):
    case = data.draw(cases())
    case = type(case)(**{**vars(case), "interpolation": "nearest"})
    source = data.draw(labels(case.shape(READS[op])).flatmap(laid_out))
    fill = data.draw(st.sampled_from((0, 1))) if op == "project" else 0
    options = ("nearest", case.padding, fill) if op == "project" else ("nearest",)
    wanted = target_size(op, case.size, case.view_size)
    for name, (result,) in on_every_backend(case, op, source, case.table, wanted, *options):
        assert result.dtype == source.dtype
        if source.numel() == 0 or result.numel() == 0:
            assert (result == fill).all()
            continue
        reading = reading_of(case, op)
        planes = (source if source.dim() == 5 else source.unsqueeze(1)).flatten(-2)
        pixel = torch.from_numpy(reading.least.argmax(-1))[:, :, None]
        exact = planes.expand(*result.shape[:3], -1).gather(-1, pixel.expand(*result.shape[:3], -1))
        shown, sure, result = (
            torch.from_numpy(reading.shown)[:, :, None],
            ~reading.unsure[:, :, None],
            result.flatten(-2),
        )
        sure &= (reading.least.max(-1) == 1)[:, :, None] | ~reading.may_be_shown[:, :, None]
        right = result == torch.where(shown, exact, torch.tensor(fill).to(result.dtype))
        assert (right.numpy() | ~sure).all(), name
        assert np.isin(result.numpy(), np.append(source.numpy(), result.new_tensor(fill).numpy())).all(), name
