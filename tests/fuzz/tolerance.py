"""How far a result may be from the float64 reference: derived from the arithmetic of the kernels, not tuned.

One operation rounds by the relative error ``unit``, below the smallest normal number by up to ``tiny``; the reference
adds u = 2^-53 per operation. ``a`` is the sum of both. The sampling weights are known between bounds (``readings.py``).

**Gather**, of pixels whose sizes sum to S. The fractions are off by a each, which moves the blend by 2 a S. A blend
``first - f (first - second)`` has three roundings: of the difference and the product, at most a (|first| + |second|)
each, and of the result, the same. Two levels of them are 6 a S, with terms of second order 7 a S; together 9 a S. The
product may underflow: three times ``tiny``, and one for the result. The weights' bounds add
sum((most - least) |x|). The difference overflows where 2 S reaches the largest number.

**Adjoint**, of n terms. A weight such as (1 - y)(1 - x) is off by 3 a, since it need not be large where it is
inaccurate. Products and sums lose (n + 2) a sum(weight |x|), and ``tiny`` per term.

**Moments**, of n values within e, of size up to M and at most D apart, with weights of sum W. The kernels add up
deviations from the first value. The sum of n products and its share lose (2 n + 6) a D of the mean, and its last sum
2 a M. The terms may underflow, which is divided by W: n ``tiny`` / W. 1 / W itself is subnormal for huge W, so ``unit``
is raised by ``tiny`` W. The reference subtracts its mean from the values, which are thus off by (n + 3) u M more: both
together are e'. The variance moves by 2 D e' + e'^2, and its products, sums and square lose (6 n + 20) a D^2; what
underflows is multiplied by up to 1 + 3 D. A single view has exactly no variance.

**Slopes** of the gradient of moments, w (g + 2 h (v - m)) / W: eight roundings of w (|g| + 2 |h| |v - m|) / W, and the
errors of v and m times 2 w |h| / W.

**Slopes along an axis**, for the gradient with respect to the geometry: a difference of two rows, each blended. The
error of the other coordinate, and a, move it by 4 times the largest pixel at most; its roundings lose 8 a of that.
Within the coordinate's error of a row, where the slope jumps, it is at most twice the largest pixel.

The result is rounded to its dtype. Rounding is monotone, so a result is right if it lies between the rounded ends of
the interval; that covers subnormal numbers, and overflow to infinity.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fuzz.coordinates import Array, Mask, U
from fuzz.readings import Reading
from spuproj.backends.base import SMALLEST_WEIGHT


class Arithmetic(NamedTuple):
    """Of the type that kernels compute with: the error of one rounding, the smallest and the largest number."""

    unit: float
    tiny: float
    largest: float

    @property
    def both(self) -> float:
        """The rounding error of an operation of the kernel, and of one of the reference."""
        return self.unit + U


def arithmetic_of(dtype: torch.dtype) -> Arithmetic:
    """Of kernels on tensors of this dtype: float64, or float32 for all others."""
    info = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32)
    return Arithmetic(info.eps / 2, info.smallest_normal * info.eps, info.max)


class Bounded(NamedTuple):
    """Numbers ``[B, N, C, .]`` or ``[B, C, .]`` known up to an error.

    Attributes:
        value, error: the number is within the error of the value,
        touched: unless NaN or Inf certainly enters it: then it is not finite,
        lost: or NaN, Inf or an overflow may enter it: then it is anything.
    """

    value: Array
    error: Array
    touched: Mask
    lost: Mask


def exactly(tensor: Array) -> Bounded:
    """Numbers as they are given."""
    finite = np.isfinite(tensor)
    return Bounded(np.where(finite, tensor, 0), np.zeros(tensor.shape), ~finite, ~finite)


def _read(planes: Array, matrices: Array) -> Array:
    """Planes ``[B, N or 1, C, K]`` through matrices ``[G, N, P, K]``: ``[B, N, C, P]``."""
    return np.matmul(planes, matrices.swapaxes(-1, -2))


@np.errstate(all="ignore")
def gathered(source: Bounded, reading: Reading, value: Array, arithmetic: Arithmetic) -> Bounded:
    """Values ``[B, N, C, P]`` that points read of planes ``[B, N or 1, C, K]``; the reference's are ``value``."""
    a, size, reaches = arithmetic.both, np.abs(source.value), reading.most > 0
    total = _read(size, reaches.astype(np.float64))
    error = _read(size, reading.most - reading.least) + 9 * a * total + 4 * arithmetic.tiny
    unsure, shown, may_be_shown = (each[:, :, None] for each in (reading.unsure, reading.shown, reading.may_be_shown))
    value, error = np.where(unsure, 0, value), np.where(unsure, total * (1 + 9 * a) + 4 * arithmetic.tiny, error)
    certainly = (reading.least > 4 * a).astype(np.float64)
    touched = shown & (_read(source.touched.astype(np.float64), certainly) > 0)
    lost = _read(source.lost.astype(np.float64), reaches.astype(np.float64)) > 0
    lost |= ~(2 * total * (1 + 9 * a) < arithmetic.largest)
    error = np.where(may_be_shown, error, 0)
    return Bounded(value, error, touched, lost & may_be_shown)


@np.errstate(all="ignore")
def scattered(
    source: Bounded, reading: Reading, value: Array, arithmetic: Arithmetic, *, sum_views: bool = False
) -> Bounded:
    """Values ``[B, N, C, K]``, or ``[B, C, K]`` summed over views, of the adjoint on planes ``[B, N, C, P]``."""
    a, size = arithmetic.both, np.abs(source.value) + source.error
    least, most = reading.least.swapaxes(-1, -2), reading.most.swapaxes(-1, -2)
    back = Reading(least, most, reading.shown, reading.may_be_shown)
    reaches = (back.most > 0).astype(np.float64)
    numbers = [
        reaches.sum(axis=-1)[:, :, None],
        _read(size, back.most),
        _read(size, back.most - back.least) + _read(source.error, back.most) + 3 * a * _read(size, reaches),
        _read(source.touched.astype(np.float64), (back.least > 4 * a).astype(np.float64)),
        _read(source.lost.astype(np.float64), reaches),
    ]
    terms, total, error, touched, lost = (each.sum(axis=1) if sum_views else each for each in numbers)
    total = total + 3 * a * total
    error = error + (terms + 2) * a * total + terms * arithmetic.tiny
    return Bounded(value, error, touched > 0, (lost > 0) | ~(total * (1 + (terms + 2) * a) < arithmetic.largest))


def used_weights(weights: Array | None, reading: Reading) -> Array:
    """Weights ``[B or 1, N, 1, P]`` as they count."""
    if weights is None:
        return np.ones((1, *reading.shown.shape[1:]))[:, :, None]
    planes = weights.reshape(-1, *weights.shape[-3:-2], 1, weights.shape[-2] * weights.shape[-1])
    return np.where(planes >= SMALLEST_WEIGHT, planes, 0)


class Moments(NamedTuple):
    mean: Bounded
    variance: Bounded
    count: Bounded  # type: ignore[assignment]


@np.errstate(all="ignore")
def moments(
    values: Bounded, reading: Reading, weights: Array | None, reference: tuple[Array, ...], arithmetic: Arithmetic
) -> Moments:
    """Mean, variance and count ``[B, C, P]`` of values ``[B, N, C, P]``; the reference's are given."""
    views = values.value.shape[1]
    weight = np.broadcast_to(used_weights(weights, reading), values.value.shape)
    unsure, shown, may_be_shown = (
        each[:, :, None] & (weight > 0) for each in (reading.unsure, reading.shown, reading.may_be_shown)
    )
    count, most = (weight * shown).sum(axis=1), (weight * may_be_shown).sum(axis=1)
    a = arithmetic.both + arithmetic.tiny * most
    share = np.divide(1, count, out=np.zeros_like(count), where=count > 0)
    # Not by multiplication: where a view is not shown, its error may be infinite.
    largest = np.where(may_be_shown, np.abs(values.value) + values.error, 0).max(axis=1)
    e = np.where(shown, values.error, 0).max(axis=1)
    high = np.where(shown, values.value + values.error, -np.inf).max(axis=1)
    low = np.where(shown, values.value - values.error, np.inf).min(axis=1)
    apart = np.maximum(high - low, 0)
    underflow = views * arithmetic.tiny * share
    step = (2 * views + 6) * a * apart + 2 * a * largest + 2 * underflow + arithmetic.tiny
    moved, any_unsure = e + (views + 3) * U * largest, unsure.any(axis=1)
    spread = 2 * apart * moved + moved**2 + (6 * views + 20) * a * apart**2
    spread = spread + underflow * (1 + 3 * apart) + 2 * arithmetic.tiny
    single = (shown.sum(axis=1) == 1) & ~any_unsure
    touched = np.any(shown & values.touched, axis=1)
    lost = np.any(may_be_shown & values.lost, axis=1)
    room = arithmetic.largest * (1 - 4 * (views + 1) * a)
    apart = np.where(any_unsure, 2 * largest, apart)
    lost |= ~(most < room) | ~(np.maximum(most, 1) * apart < room)
    lost_variance = lost | ~(np.maximum(most, 1) * apart * np.maximum(apart, 1) < room)
    mean, variance, _ = reference
    variance, spread = np.where(single, 0, variance), np.where(single, 0, spread)
    error = np.where(any_unsure, largest * (1 + 4 * (views + 1) * a) + 2 * arithmetic.tiny, e + step)
    spread = np.where(any_unsure, 4 * largest**2 * (1 + 4 * (views + 1) * a) + 2 * arithmetic.tiny, spread)
    nothing = most == 0
    return Moments(
        Bounded(np.where(any_unsure, 0, mean), np.where(nothing, 0, error), touched, lost),
        Bounded(np.where(any_unsure, 0, variance), np.where(nothing, 0, spread), touched, lost_variance),
        Bounded((count + most) / 2, (most - count) / 2 + (0 if weights is None else views * a * most),
                np.zeros_like(lost), ~(most < room)),
    )  # fmt: skip


@np.errstate(all="ignore")
def slopes(
    values: Bounded,
    mean: Bounded,
    grads: tuple[Bounded, Bounded],
    count: Array,
    reading: Reading,
    weights: Array | None,
    arithmetic: Arithmetic,
) -> Bounded:
    """The gradient ``[B, N, C, P]`` at every value; mean, grads and count are ``[B, C, P]``."""
    a, tiny = arithmetic.both + arithmetic.tiny * count[:, None], arithmetic.tiny
    weight = np.broadcast_to(used_weights(weights, reading), values.value.shape)
    used = (weight > 0) & (count > 0)[:, None]
    share = np.divide(weight, count[:, None], out=np.zeros_like(weight), where=used)
    per_count = np.divide(1, count, out=np.zeros_like(count), where=count > 0)[:, None]
    m, g, h = (
        Bounded(one.value[:, None], one.error[:, None], one.touched[:, None], one.lost[:, None])
        for one in (mean, *grads)
    )
    deviation, off = values.value - m.value, values.error + m.error
    value = share * (g.value + 2 * h.value * deviation)
    size = np.abs(g.value) + 2 * np.abs(h.value) * (np.abs(deviation) + off)
    error = share * (2 * np.abs(h.value) * off + 8 * a * size) + used * tiny * (4 + 2 * per_count)
    shown, may_be_shown = reading.shown[:, :, None] & used, reading.may_be_shown[:, :, None] & (weight > 0)
    touched = values.touched | m.touched | g.touched | h.touched
    room = arithmetic.largest / 2
    lost = values.lost | m.lost | g.lost | h.lost | ~(np.maximum(weight, 1) * size < room)
    # The count is that of one backend; where it has no view, another may have one that is not sure to show.
    lost |= (count == 0)[:, None] & reading.unsure[:, :, None]
    lost |= ~(np.maximum(per_count, 1) * size < room) | ~(np.abs(h.value) < room)
    return Bounded(value, error, shown & touched, may_be_shown & lost)


def accepted(result: Tensor, bound: Bounded, also: float | None = None, where: Mask | None = None) -> Mask:
    """Which elements of a result, flattened to the bound's shape, are right; ``also`` is right too at ``where``."""
    with np.errstate(all="ignore"):
        ends = torch.from_numpy(np.stack([bound.value - bound.error, bound.value + bound.error]))
    low, high = ends.to(result.dtype).double().numpy()
    got = result.detach().double().numpy().reshape(bound.value.shape)
    right = (low <= got) & (got <= high)
    if also is not None and where is not None:
        right |= where & same_number(got, also, result.dtype)
    unknown = bound.lost | ~np.isfinite(bound.value)
    return np.where(bound.touched, ~np.isfinite(got), unknown | right)


def same_number(got: Array, number: float, dtype: torch.dtype) -> Mask:
    """Whether numbers equal one that was rounded to a dtype, once or by way of float32."""
    wide = torch.tensor(number, dtype=torch.float64)
    each = [float(wide.to(dtype)), float(wide.to(torch.float32).to(dtype))]
    return np.isnan(got) if np.isnan(number) else (got == each[0]) | (got == each[1])
