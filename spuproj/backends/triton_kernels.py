"""Triton's kernels: each program makes ``block_pixels`` pixels of some planes that share their taps.

Tensors come as pointers with the strides of batch, view, channel and pixel. The planes of a program are those of
``chunk_channels`` channels of ``chunk_samples`` samples. Whatever is multiplied to an offset has 64 bits.
"""

import inspect
from typing import Any

import triton
import triton.language as tl


def _kernel(function: Any) -> Any:
    """A kernel that is compiled once for its dtypes and constants; by default, Triton does so for many sizes too."""
    parameters = inspect.signature(function).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.annotation is not tl.constexpr]
    return triton.jit(function, do_not_specialize=names, do_not_specialize_on_alignment=names)


@triton.jit
def _place(blocks, views, chunk_samples: tl.constexpr, chunk_channels: tl.constexpr, block_pixels: tl.constexpr):
    """View, first sample, first channel and pixels of one program, in 64 bits."""
    program = tl.program_id(0)
    rest = program // blocks
    pixel = (program % blocks).to(tl.int64) * block_pixels + tl.arange(0, block_pixels)
    view, chunk = (rest % views).to(tl.int64), (rest // views).to(tl.int64)
    return view, chunk * chunk_samples, tl.program_id(1).to(tl.int64) * chunk_channels, pixel


@triton.jit
def _planes(
    sample, channel, batch_stride, channel_stride, chunk_samples: tl.constexpr, chunk_channels: tl.constexpr
):  # fmt: skip
    """Offsets ``[planes, 1]`` of a program's planes."""
    plane = tl.arange(0, chunk_samples * chunk_channels).to(tl.int64)
    steps = plane // chunk_channels * batch_stride + plane % chunk_channels * channel_stride
    return (sample * batch_stride + channel * channel_stride + steps)[:, None]


@triton.jit
def _exist(sample, channel, batch, channels, chunk_samples: tl.constexpr, chunk_channels: tl.constexpr):
    """Which of a program's planes ``[planes, 1]`` exist."""
    plane = tl.arange(0, chunk_samples * chunk_channels)
    return ((sample + plane // chunk_channels < batch) & (channel + plane % chunk_channels < channels))[:, None]


@triton.jit
def _store(tensor, at, value, mask, packed: tl.constexpr = False):
    """Stores results, which are not read again soon; ``packed``: each pixel has its four planes side by side."""
    to = tensor + at
    if packed:
        to = tl.max_contiguous(tl.multiple_of(to, (to.dtype.element_ty.primitive_bitwidth // 2, 1)), (4, 1))
    tl.store(to, value.to(to.dtype.element_ty), mask, cache_modifier=".cs")


@triton.jit
def _mix(first, second, fraction):
    """Linear interpolation; a fraction of zero ignores the second value even if it is NaN or Inf."""
    return tl.where(fraction > 0, first - fraction * (first - second), first)


@triton.jit
def _load_weights(weights, at, inside, like, weighted: tl.constexpr):
    """Weights of pixels, 1 without weights; zero for those that count as zero (``SMALLEST_WEIGHT``)."""
    if weighted:
        weight = tl.load(weights + at, mask=inside, other=0)
        return tl.where(weight >= 1.1754943508222875e-38, weight, 0)
    return tl.full(like.shape, 1, like.dtype)


@triton.jit
def _divide(dividend, divisor):
    """Division rounded to nearest; Triton's own float32 division is approximate."""
    if divisor.dtype == tl.float32:
        return tl.div_rn(dividend, divisor)
    return dividend / divisor


@triton.jit
def _blend(source, pixel, y, x, valid, width, pixel_stride):
    """Bilinear values at taps ``[pixels]`` of planes ``[planes, 1]``, along y and then x; zero for invalid taps."""
    upper_left = source + pixel * pixel_stride
    right = tl.where(x > 0, pixel_stride, 0)
    down = tl.where(y > 0, width.to(tl.int64) * pixel_stride, 0)
    a = tl.load(upper_left, mask=valid, other=0).to(y.dtype)
    b = tl.load(upper_left + right, mask=valid, other=0).to(y.dtype)
    c = tl.load(upper_left + down, mask=valid, other=0).to(y.dtype)
    d = tl.load(upper_left + down + right, mask=valid, other=0).to(y.dtype)
    return _mix(_mix(a, c, y), _mix(b, d, y), x)


@triton.jit
def _load_taps(index, fraction_y, fraction_x, tap, inside):
    """Source pixels of taps, -1 for invalid ones, and both fractions."""
    stored = tl.load(index + tap, mask=inside, other=-1).to(tl.int64)
    # Values below -1 encode pixel -2 - stored of a tap with a fraction of zero.
    pixel = tl.where(stored < -1, -2 - stored, stored)
    y, x = tl.load(fraction_y + tap, mask=inside, other=0), tl.load(fraction_x + tap, mask=inside, other=0)
    return pixel, y, x


@_kernel
def gather(
    index, fraction_y, fraction_x, source, destination, pixels, blocks, views, batch, channels, width, sample_stride,
    source_batch, source_view, source_channel, source_pixel, batch_stride, view_stride, channel_stride, pixel_stride,
    fill: tl.int64, copies: tl.constexpr, packed: tl.constexpr, chunk_samples: tl.constexpr,
    chunk_channels: tl.constexpr, block_pixels: tl.constexpr,
):  # fmt: skip
    n, sample, channel, pixel = _place(blocks, views, chunk_samples, chunk_channels, block_pixels)
    inside, exists = pixel < pixels, _exist(sample, channel, batch, channels, chunk_samples, chunk_channels)
    i, y, x = _load_taps(index, fraction_y, fraction_x, sample * sample_stride + n * pixels + pixel, inside)
    valid = exists & (i >= 0)[None, :]
    base = source + n * source_view
    base += _planes(sample, channel, source_batch, source_channel, chunk_samples, chunk_channels)
    # The fill value, as the bits of an element or of a float64.
    bits = tl.zeros([1, 1], tl.int64) + fill
    if copies:
        value = tl.load(base + i * source_pixel, mask=valid, other=0)
        value = tl.where(valid, value, bits.to(value.dtype))
    else:
        value = _blend(base, i, y, x, valid, width, source_pixel)
        value = tl.where(valid, value, bits.to(tl.float64, bitcast=True).to(value.dtype))
    to = destination + n * view_stride + pixel * pixel_stride
    at = _planes(sample, channel, batch_stride, channel_stride, chunk_samples, chunk_channels)
    # All planes exist if they are packed; a mask that depends on the plane would part their vectors.
    _store(to, at, value, inside[None, :] if packed else exists & inside[None, :], packed)


@_kernel
def reduce(
    index, fraction_y, fraction_x, source, weights, mean, variance, count, pixels, blocks, views: tl.int64, batch,
    channels, width, sample_stride, source_batch, source_view, source_channel, source_pixel, weights_batch,
    weights_view, weighted: tl.constexpr, chunk_samples: tl.constexpr, chunk_channels: tl.constexpr,
    block_pixels: tl.constexpr,
):  # fmt: skip
    _, sample, channel, pixel = _place(blocks, 1, chunk_samples, chunk_channels, block_pixels)
    inside, exists = pixel < pixels, _exist(sample, channel, batch, channels, chunk_samples, chunk_channels)
    base = source + _planes(sample, channel, source_batch, source_channel, chunk_samples, chunk_channels)
    # Deviations from one view's value, the pivot: without it the variance cancels where values are far from zero.
    pivot = tl.zeros([chunk_samples * chunk_channels, block_pixels], fraction_y.dtype.element_ty)
    total, squares, seen = pivot, pivot, tl.zeros([block_pixels], pivot.dtype)
    pivot_weight = seen
    tap, at = sample * sample_stride + pixel, sample * weights_batch + pixel
    i, y, x = _load_taps(index, fraction_y, fraction_x, tap, inside)
    weight = _load_weights(weights, at, inside, y, weighted)
    for n in range(views):
        # The next view's taps arrive while this view's pixels are read. In the interpreter of Triton 3.9, `&` of a mask
        # and a comparison of two numbers is no mask.
        more, tap, at = pixel < tl.where(n + 1 < views, pixels, 0), tap + pixels, at + weights_view
        next_i, next_y, next_x = _load_taps(index, fraction_y, fraction_x, tap, more)
        next_weight = _load_weights(weights, at, more, y, weighted)
        shows = (i >= 0) & (weight > 0)
        value = _blend(base + n * source_view, i, y, x, exists & shows[None, :], width, source_pixel)
        # The first view, until one weighs eight times as much (``OUTWEIGHS``); sums are moved from pivot to pivot.
        moves = shows & (weight > 8 * pivot_weight)
        pivot_weight = tl.where(moves, weight, pivot_weight)
        if weighted:
            step = tl.where(moves[None, :], value - pivot, 0)
            squares += step * (seen[None, :] * step - (total + total))
            total -= seen[None, :] * step
        pivot = tl.where(moves[None, :], value, pivot)
        deviation = tl.where(shows[None, :], value - pivot, 0)
        scaled = weight[None, :] * deviation
        total += scaled
        squares += scaled * deviation
        seen += tl.where(shows, weight, 0)
        i, y, x, weight = next_i, next_y, next_x, next_weight
    number = tl.where(seen > 0, seen, 1)[None, :]
    share = _divide(tl.full(number.shape, 1, pivot.dtype), number)
    shift = total * share
    spread = squares * share - shift * shift
    to = _planes(sample, channel, channels.to(tl.int64) * pixels, pixels, chunk_samples, chunk_channels) + pixel
    stored = exists & inside[None, :]
    _store(mean, to, pivot + shift, stored)
    _store(variance, to, tl.where(spread < 0, 0, spread), stored)
    _store(count, to, seen[None, :] + tl.zeros_like(pivot), stored)


@_kernel
def slopes(
    index, fraction_y, fraction_x, source, weights, grad_mean, grad_variance, mean, count, slopes, pixels, blocks,
    views, batch, channels, width, sample_stride, source_batch, source_view, source_channel, source_pixel,
    weights_batch, weights_view, weighted: tl.constexpr, chunk_samples: tl.constexpr, chunk_channels: tl.constexpr,
    block_pixels: tl.constexpr,
):  # fmt: skip
    n, sample, channel, pixel = _place(blocks, views, chunk_samples, chunk_channels, block_pixels)
    inside, exists = pixel < pixels, _exist(sample, channel, batch, channels, chunk_samples, chunk_channels)
    i, y, x = _load_taps(index, fraction_y, fraction_x, sample * sample_stride + n * pixels + pixel, inside)
    weight = _load_weights(weights, sample * weights_batch + n * weights_view + pixel, inside, y, weighted)
    valid = exists & ((i >= 0) & (weight > 0))[None, :]
    base = source + n * source_view
    base += _planes(sample, channel, source_batch, source_channel, chunk_samples, chunk_channels)
    size = channels.to(tl.int64) * pixels
    at = _planes(sample, channel, size, pixels, chunk_samples, chunk_channels) + pixel
    deviation = _blend(base, i, y, x, valid, width, source_pixel) - tl.load(mean + at, mask=valid, other=0).to(y.dtype)
    on_variance = tl.load(grad_variance + at, mask=valid, other=0).to(y.dtype)
    gradient = tl.load(grad_mean + at, mask=valid, other=0).to(y.dtype) + 2 * on_variance * deviation
    seen = tl.load(count + at, mask=valid, other=1).to(y.dtype)
    slope = _divide(weight[None, :] * gradient, tl.where(seen > 0, seen, 1))
    to = _planes(sample, channel, views * size, pixels, chunk_samples, chunk_channels) + n * size + pixel
    tl.store(slopes + to, tl.where(valid, slope, 0), exists & inside[None, :])


@_kernel
def gather_adjoint(
    start, entry_pixel, entry_weight, source, destination, pixels, blocks, views, batch, channels, entries, terms,
    sample_views, source_batch, source_view, source_channel, source_pixel, batch_stride, view_stride, channel_stride,
    pixel_stride, chunk_samples: tl.constexpr, chunk_channels: tl.constexpr, block_pixels: tl.constexpr,
):  # fmt: skip
    target, sample, channel, pixel = _place(blocks, views, chunk_samples, chunk_channels, block_pixels)
    inside, exists = pixel < pixels, _exist(sample, channel, batch, channels, chunk_samples, chunk_channels)
    base = source + _planes(sample, channel, source_batch, source_channel, chunk_samples, chunk_channels)
    total = tl.zeros([chunk_samples * chunk_channels, block_pixels], entry_weight.dtype.element_ty)
    for n in range(target * terms, target * terms + terms):
        view = sample * sample_views + n
        row = start + view * (pixels + 1) + pixel
        first, end = tl.load(row, mask=inside, other=0), tl.load(row + 1, mask=inside, other=0)
        for step in range(tl.max(end - first, 0)):
            entry, valid = view * entries + first + step, first + step < end
            reader = tl.load(entry_pixel + entry, mask=valid, other=0).to(tl.int64)
            weight = tl.load(entry_weight + entry, mask=valid, other=0)
            read = base + n * source_view + reader * source_pixel
            total += weight * tl.load(read, mask=exists & valid[None, :], other=0).to(weight.dtype)
    to = destination + target * view_stride + pixel * pixel_stride
    at = _planes(sample, channel, batch_stride, channel_stride, chunk_samples, chunk_channels)
    _store(to, at, total, exists & inside[None, :])


@_kernel
def gather_adjoint_atomic(
    index, fraction_y, fraction_x, source, destination, pixels, blocks, views, batch, channels, width, sample_stride,
    source_batch, source_view, source_channel, source_pixel, batch_stride, view_stride, channel_stride, pixel_stride,
    chunk_samples: tl.constexpr, chunk_channels: tl.constexpr, block_pixels: tl.constexpr,
):  # fmt: skip
    n, sample, channel, pixel = _place(blocks, views, chunk_samples, chunk_channels, block_pixels)
    inside, exists = pixel < pixels, _exist(sample, channel, batch, channels, chunk_samples, chunk_channels)
    i, y, x = _load_taps(index, fraction_y, fraction_x, sample * sample_stride + n * pixels + pixel, inside)
    valid = exists & (i >= 0)[None, :]
    read = source + n * source_view + pixel * source_pixel
    read += _planes(sample, channel, source_batch, source_channel, chunk_samples, chunk_channels)
    value = tl.load(read, mask=valid, other=0).to(y.dtype)
    to = destination + n * view_stride + i * pixel_stride
    to += _planes(sample, channel, batch_stride, channel_stride, chunk_samples, chunk_channels)
    down = width.to(tl.int64) * pixel_stride
    # Skip zero weights, which would carry NaN or Inf to pixels outside the tap.
    touches_right, touches_down = valid & (x > 0)[None, :], valid & (y > 0)[None, :]
    tl.atomic_add(to, (1 - y) * (1 - x) * value, mask=valid, sem="relaxed")
    tl.atomic_add(to + pixel_stride, (1 - y) * x * value, mask=touches_right, sem="relaxed")
    tl.atomic_add(to + down, y * (1 - x) * value, mask=touches_down, sem="relaxed")
    tl.atomic_add(to + down + pixel_stride, y * x * value, mask=touches_right & touches_down, sem="relaxed")
