"""Triton's kernels: each program makes a tile of pixels, of some planes that share their taps.

Tensors come as pointers with the strides of batch, view, channel and pixel. The planes of a program are those of
``chunk_channels`` channels of ``chunk_samples`` samples; those that do not exist are read as the last one, and not
stored. Whatever is multiplied to an offset has 64 bits.
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
def _tile(rows, columns, tiles, across, tile_rows: tl.constexpr, tile_columns: tl.constexpr):
    """Pixels of one program, in 64 bits, and whether they lie inside."""
    tile, lane = tl.program_id(0) % tiles, tl.arange(0, tile_rows * tile_columns)
    row = (tile // across).to(tl.int64) * tile_rows + lane // tile_columns
    column = (tile % across).to(tl.int64) * tile_columns + lane % tile_columns
    return row * columns + column, (row < rows) & (column < columns)


@triton.jit
def _place(tiles, views, samples, chunk_channels: tl.constexpr):
    """View, first sample and first channel of one program for this number of samples, in 64 bits."""
    rest = tl.program_id(0) // tiles
    view, chunk = (rest % views).to(tl.int64), (rest // views).to(tl.int64)
    return view, chunk * samples, tl.program_id(1).to(tl.int64) * chunk_channels


@triton.jit
def _planes(
    sample, channel, batch, channels, batch_stride, channel_stride, chunk_samples: tl.constexpr,
    chunk_channels: tl.constexpr,
):  # fmt: skip
    """Offsets ``[planes, 1]`` of a program's planes."""
    plane = tl.arange(0, chunk_samples * chunk_channels).to(tl.int64)
    each_sample = tl.minimum(sample + plane // chunk_channels, batch - 1)
    each_channel = tl.minimum(channel + plane % chunk_channels, channels - 1)
    return (each_sample * batch_stride + each_channel * channel_stride)[:, None]


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
def _blend(source, pixel, y, x, width, pixel_stride):
    """Bilinear values at taps ``[pixels]`` of planes ``[planes, 1]``, along y and then x; any value at invalid taps."""
    # Invalid taps read the first pixel, which costs less than loads under a condition.
    upper_left = source + tl.maximum(pixel, 0) * pixel_stride
    right = tl.where((pixel >= 0) & (x > 0), pixel_stride, 0)
    down = tl.where((pixel >= 0) & (y > 0), width.to(tl.int64) * pixel_stride, 0)
    a, b = tl.load(upper_left).to(y.dtype), tl.load(upper_left + right).to(y.dtype)
    c, d = tl.load(upper_left + down).to(y.dtype), tl.load(upper_left + down + right).to(y.dtype)
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
    index, fraction_y, fraction_x, source, destination, rows, columns, tiles, across, views, batch, channels, width,
    sample_stride, source_batch, source_view, source_channel, source_pixel, batch_stride, view_stride, channel_stride,
    pixel_stride, fill: tl.int64, samples, copies: tl.constexpr, packed: tl.constexpr, chunk_samples: tl.constexpr,
    chunk_channels: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    pixel, inside = _tile(rows, columns, tiles, across, tile_rows, tile_columns)
    n, sample, channel = _place(tiles, views, samples, chunk_channels)
    tap = sample * sample_stride + n * (rows.to(tl.int64) * columns) + pixel
    i, y, x = _load_taps(index, fraction_y, fraction_x, tap, inside)
    valid = (i >= 0)[None, :]
    shows_some = tl.max(i, 0) >= 0
    to = destination + n * view_stride + pixel * pixel_stride
    # The fill value, as the bits of an element or of a float64.
    bits = tl.zeros([chunk_samples * chunk_channels, tile_rows * tile_columns], tl.int64) + fill
    value = bits.to(source.dtype.element_ty) if copies else bits.to(tl.float64, bitcast=True).to(y.dtype)
    for _ in range(0, samples, chunk_samples):
        made = value
        if shows_some:
            base = source + n * source_view
            base += _planes(
                sample, channel, batch, channels, source_batch, source_channel, chunk_samples, chunk_channels
            )
            if copies:
                made = tl.where(valid, tl.load(base + tl.maximum(i, 0) * source_pixel), value)
            else:
                made = tl.where(valid, _blend(base, i, y, x, width, source_pixel), value)
        at = _planes(sample, channel, batch, channels, batch_stride, channel_stride, chunk_samples, chunk_channels)
        exists = _exist(sample, channel, batch, channels, chunk_samples, chunk_channels)
        # All channels exist if they are packed; a mask that depends on them would part their vectors.
        _store(to, at, made, (sample < batch) & inside[None, :] if packed else exists & inside[None, :], packed)
        sample += chunk_samples


@_kernel
def reduce(
    index, fraction_y, fraction_x, source, weights, mean, variance, count, rows, columns, tiles, across,
    views: tl.int64, batch, channels, width, sample_stride, source_batch, source_view, source_channel, source_pixel,
    weights_batch, weights_view, weighted: tl.constexpr, chunk_samples: tl.constexpr, chunk_channels: tl.constexpr,
    tile_rows: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    pixel, inside = _tile(rows, columns, tiles, across, tile_rows, tile_columns)
    _, sample, channel = _place(tiles, 1, chunk_samples, chunk_channels)
    pixels = rows.to(tl.int64) * columns
    base = source + _planes(
        sample, channel, batch, channels, source_batch, source_channel, chunk_samples, chunk_channels
    )
    # Deviations from one view's value, the pivot: without it the variance cancels where values are far from zero.
    pivot = tl.zeros([chunk_samples * chunk_channels, tile_rows * tile_columns], fraction_y.dtype.element_ty)
    total, squares, seen = pivot, pivot, tl.zeros([tile_rows * tile_columns], pivot.dtype)
    pivot_weight = seen
    tap, at = sample * sample_stride + pixel, sample * weights_batch + pixel
    i, y, x = _load_taps(index, fraction_y, fraction_x, tap, inside)
    weight = _load_weights(weights, at, inside, y, weighted)
    for n in range(views):
        # The next view's taps arrive while this view's pixels are read. In the interpreter of Triton 3.9, `&` of a mask
        # and a comparison of two numbers is no mask.
        more, tap, at = inside & (pixel < tl.where(n + 1 < views, pixels, 0)), tap + pixels, at + weights_view
        next_i, next_y, next_x = _load_taps(index, fraction_y, fraction_x, tap, more)
        next_weight = _load_weights(weights, at, more, y, weighted)
        shows = (i >= 0) & (weight > 0)
        value = _blend(base + n * source_view, i, y, x, width, source_pixel)
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
    to = pixel + _planes(sample, channel, batch, channels, channels * pixels, pixels, chunk_samples, chunk_channels)
    stored = _exist(sample, channel, batch, channels, chunk_samples, chunk_channels) & inside[None, :]
    _store(mean, to, pivot + shift, stored)
    _store(variance, to, tl.where(spread < 0, 0, spread), stored)
    _store(count, to, seen[None, :] + tl.zeros_like(pivot), stored)


@_kernel
def slopes(
    index, fraction_y, fraction_x, source, weights, grad_mean, grad_variance, mean, count, slopes, rows, columns,
    tiles, across, views, batch, channels, width, sample_stride, source_batch, source_view, source_channel,
    source_pixel, weights_batch, weights_view, weighted: tl.constexpr, chunk_samples: tl.constexpr,
    chunk_channels: tl.constexpr, tile_rows: tl.constexpr, tile_columns: tl.constexpr,
):  # fmt: skip
    pixel, inside = _tile(rows, columns, tiles, across, tile_rows, tile_columns)
    n, sample, channel = _place(tiles, views, chunk_samples, chunk_channels)
    pixels = rows.to(tl.int64) * columns
    i, y, x = _load_taps(index, fraction_y, fraction_x, sample * sample_stride + n * pixels + pixel, inside)
    weight = _load_weights(weights, sample * weights_batch + n * weights_view + pixel, inside, y, weighted)
    exists = _exist(sample, channel, batch, channels, chunk_samples, chunk_channels)
    valid = exists & ((i >= 0) & (weight > 0))[None, :]
    base = source + n * source_view
    base += _planes(sample, channel, batch, channels, source_batch, source_channel, chunk_samples, chunk_channels)
    size = channels * pixels
    at = pixel + _planes(sample, channel, batch, channels, size, pixels, chunk_samples, chunk_channels)
    deviation = _blend(base, i, y, x, width, source_pixel) - tl.load(mean + at, mask=valid, other=0).to(y.dtype)
    on_variance = tl.load(grad_variance + at, mask=valid, other=0).to(y.dtype)
    gradient = tl.load(grad_mean + at, mask=valid, other=0).to(y.dtype) + 2 * on_variance * deviation
    seen = tl.load(count + at, mask=valid, other=1).to(y.dtype)
    slope = _divide(weight[None, :] * gradient, tl.where(seen > 0, seen, 1))
    to = pixel + n * size
    to += _planes(sample, channel, batch, channels, views * size, pixels, chunk_samples, chunk_channels)
    tl.store(slopes + to, tl.where(valid, slope, 0), exists & inside[None, :])


@_kernel
def gather_adjoint(
    start, entry_pixel, entry_weight, source, destination, rows, columns, tiles, across, views, batch, channels,
    entries, terms, sample_views, source_batch, source_view, source_channel, source_pixel, batch_stride, view_stride,
    channel_stride, pixel_stride, chunk_samples: tl.constexpr, chunk_channels: tl.constexpr, tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):  # fmt: skip
    pixel, inside = _tile(rows, columns, tiles, across, tile_rows, tile_columns)
    target, sample, channel = _place(tiles, views, chunk_samples, chunk_channels)
    base = source + _planes(
        sample, channel, batch, channels, source_batch, source_channel, chunk_samples, chunk_channels
    )
    total = tl.zeros([chunk_samples * chunk_channels, tile_rows * tile_columns], entry_weight.dtype.element_ty)
    for n in range(target * terms, target * terms + terms):
        view = sample * sample_views + n
        row = start + view * (rows.to(tl.int64) * columns + 1) + pixel
        first, end = tl.load(row, mask=inside, other=0), tl.load(row + 1, mask=inside, other=0)
        for step in range(tl.max(end - first, 0)):
            entry, valid = view * entries + first + step, first + step < end
            reader = tl.load(entry_pixel + entry, mask=valid, other=0).to(tl.int64)
            weight = tl.load(entry_weight + entry, mask=valid, other=0)
            read = base + n * source_view + reader * source_pixel
            total += weight * tl.load(read, mask=valid[None, :], other=0).to(weight.dtype)
    to = destination + target * view_stride + pixel * pixel_stride
    at = _planes(sample, channel, batch, channels, batch_stride, channel_stride, chunk_samples, chunk_channels)
    _store(to, at, total, _exist(sample, channel, batch, channels, chunk_samples, chunk_channels) & inside[None, :])


@_kernel
def gather_adjoint_atomic(
    index, fraction_y, fraction_x, source, destination, rows, columns, tiles, across, views, batch, channels, width,
    sample_stride, source_batch, source_view, source_channel, source_pixel, batch_stride, view_stride, channel_stride,
    pixel_stride, chunk_samples: tl.constexpr, chunk_channels: tl.constexpr, tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):  # fmt: skip
    pixel, inside = _tile(rows, columns, tiles, across, tile_rows, tile_columns)
    n, sample, channel = _place(tiles, views, chunk_samples, chunk_channels)
    tap = sample * sample_stride + n * (rows.to(tl.int64) * columns) + pixel
    i, y, x = _load_taps(index, fraction_y, fraction_x, tap, inside)
    valid = _exist(sample, channel, batch, channels, chunk_samples, chunk_channels) & (i >= 0)[None, :]
    read = source + n * source_view + pixel * source_pixel
    read += _planes(sample, channel, batch, channels, source_batch, source_channel, chunk_samples, chunk_channels)
    value = tl.load(read, mask=valid, other=0).to(y.dtype)
    to = destination + n * view_stride + i * pixel_stride
    to += _planes(sample, channel, batch, channels, batch_stride, channel_stride, chunk_samples, chunk_channels)
    down = width.to(tl.int64) * pixel_stride
    # Skip zero weights, which would carry NaN or Inf to pixels outside the tap.
    touches_right, touches_down = valid & (x > 0)[None, :], valid & (y > 0)[None, :]
    tl.atomic_add(to, (1 - y) * (1 - x) * value, mask=valid, sem="relaxed")
    tl.atomic_add(to + pixel_stride, (1 - y) * x * value, mask=touches_right, sem="relaxed")
    tl.atomic_add(to + down, y * (1 - x) * value, mask=touches_down, sem="relaxed")
    tl.atomic_add(to + down + pixel_stride, y * x * value, mask=touches_right & touches_down, sem="relaxed")
