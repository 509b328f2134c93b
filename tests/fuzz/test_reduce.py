"""Fuzzing of ``unproject_reduce``, of its gradient and of ``min_count`` against the float64 reference."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuzz.calls import by_the_reference, check, flat, on_every_backend, plain, reading_of, rows_of, threads
from fuzz.cases import cases, laid_out, numbers, sources, weights
from fuzz.profile import fuzzed
from fuzz.tolerance import arithmetic_of, exactly, gathered, moments, scattered, slopes
from helpers import BACKENDS
from spuproj import functional
from spuproj.backends.base import SMALLEST_WEIGHT
from spuproj.ops.checks import FLOATING

FILLS = (0.0, -1.0, math.nan, 1e5, -1e300)


def drawn(data, empty=True):
    case, dtype = data.draw(cases(empty)), data.draw(st.sampled_from(FLOATING))
    precision = torch.float64 if dtype == torch.float64 else torch.float32
    return case, data.draw(sources(case.shape("stack"), dtype)), data.draw(weights(case, precision))


def as_used(stack, weight):
    """Weights as the arithmetic takes them, in float64; those that count as zero are zero."""
    if weight is None:
        return None
    each = plain(weight.to(torch.float64 if stack.dtype == torch.float64 else torch.float32))
    return np.where(each >= SMALLEST_WEIGHT, each, 0)


def values_of(case, stack, reading):
    """What every slice pixel reads of every view."""
    given = exactly(rows_of(stack))
    exact = by_the_reference(case, "unproject", given.value.reshape(stack.shape), case.size)
    return gathered(given, reading, exact, arithmetic_of(stack.dtype))


def moments_of(case, stack, used, reading):
    clean = np.where(np.isfinite(plain(stack)), plain(stack), 0)
    exact = by_the_reference(case, "unproject_reduce", clean, case.size, weights=used)
    return moments(values_of(case, stack, reading), reading, used, exact, arithmetic_of(stack.dtype))


def stack_gradient(case, stack, used, reading, mean, grads, count, arithmetic):
    """The gradient with respect to the stack of moments whose mean is bounded, and whose count is as given."""
    given = values_of(case, stack, reading)
    pulls = slopes(given, mean, grads, flat(plain(count)), reading, used, arithmetic)
    exact = by_the_reference(
        case, "unproject_adjoint", pulls.value.reshape(*pulls.value.shape[:3], *case.size), case.view_size
    )
    return scattered(pulls, reading, exact, arithmetic)


@fuzzed
@given(data=st.data())
def test_moments(data):
    case, stack, weight = drawn(data)
    results = dict(on_every_backend(case, "unproject_reduce", stack, case.table, case.size, case.interpolation, weight))
    if stack.numel() == 0 or results["cpu"][0].numel() == 0:
        assert all(part.count_nonzero() == 0 for result in results.values() for part in result)
        return
    bounds = moments_of(case, stack, as_used(stack, weight), reading_of(case, "unproject"))
    for name, result in results.items():
        assert (result[1] < 0).count_nonzero() == 0
        for kind, part, bound in zip(bounds._fields, result, bounds, strict=True):
            check(f"{kind} on {name}", part, bound)


@fuzzed
@given(data=st.data())
def test_backward_of_moments(data):
    case, stack, weight = drawn(data)
    if stack.numel() == 0 or math.prod(case.size) == 0:
        return
    reading, used = reading_of(case, "unproject"), as_used(stack, weight)
    grads = [data.draw(sources(case.shape("moments"), stack.dtype)) for _ in range(2)]
    with threads(case.threads):
        mean, _, count = BACKENDS["cpu"].unproject_reduce(stack, case.table, case.size, case.interpolation, weight)
    mean, count = data.draw(laid_out(mean)), count
    arguments = (*grads, stack, case.table, mean, count, case.interpolation, weight)
    pulls = tuple(exactly(flat(plain(grad))) for grad in grads)
    bound = stack_gradient(
        case, stack, used, reading, exactly(flat(plain(mean))), pulls, count, arithmetic_of(stack.dtype)
    )
    for name, (result,) in on_every_backend(case, "unproject_reduce_backward", *arguments):
        check(name, result, bound)


@fuzzed
@given(data=st.data())
def test_min_count_fill_and_the_gradient_through_them(data):
    case, stack, weight = drawn(data, empty=False)
    least, fill = (
        data.draw(st.sampled_from((0.5, 1, 1.5, 2, 3))),
        data.draw(st.sampled_from((0.0, -1.0, math.nan, 1e5, -1e300))),
    )
    leaf = stack.clone().requires_grad_()
    options = {"weights": weight, "min_count": least, "fill": fill, "interpolation": case.interpolation}
    with threads(case.threads):
        mean, variance, count = functional.unproject_reduce(leaf, case.table, case.size, **options)
    unseen, few = count == 0, count == 0 if least <= 1 else count < least
    reduced = functional.unproject_reduce(
        stack, case.table, case.size, weights=weight, interpolation=case.interpolation
    )
    for part, before, hidden in zip((mean, variance), reduced, (unseen, few), strict=False):
        wanted = torch.where(hidden, torch.tensor(fill, dtype=torch.float64).to(before.dtype), before)
        torch.testing.assert_close(part.detach(), wanted, rtol=0, atol=0, equal_nan=True)
    grads = [data.draw(numbers(tuple(mean.shape), stack.dtype)) for _ in range(2)]
    (found,) = torch.autograd.grad((mean, variance), leaf, grads)
    # Half precision computes in float32, from a mean that is not rounded.
    wide = stack if stack.dtype == torch.float64 else stack.float()
    reading, used, arithmetic = reading_of(case, "unproject"), as_used(stack, weight), arithmetic_of(stack.dtype)
    exact = moments_of(case, wide, used, reading).mean
    if wide is stack:
        exact = exactly(flat(plain(reduced[0])))
    hidden = [flat(plain(each)) > 0 for each in (unseen, few)]
    pulls = tuple(exactly(np.where(mask, 0, flat(plain(grad)))) for mask, grad in zip(hidden, grads, strict=True))
    check("gradient", found, stack_gradient(case, wide, used, reading, exact, pulls, count, arithmetic))
