"""Triton's kernels: each program makes ``block_pixels`` pixels of ``chunk_planes`` planes that share their taps.

Tensors come as pointers with the strides of batch, view, channel and pixel; offsets have 64 bits. ``planes_per_group``
is the number of planes that share their taps: those of the batch, or those of one sample.
"""

import triton
import triton.language as tl


@triton.jit
def _place(pixels, views, planes_per_group, chunk_planes: tl.constexpr, block_pixels: tl.constexpr):
    """View, pixels, sample of the taps and planes of one program, with masks of the pixels and planes within range."""
    blocks, pid = tl.cdiv(pixels, block_pixels), tl.program_id(0).to(tl.int64)
    item, chunk = pid % (blocks * views), pid // (blocks * views)
    pixel = item % blocks * block_pixels + tl.arange(0, block_pixels)
    chunks_per_group = (planes_per_group + chunk_planes - 1) // chunk_planes
    plane = chunk % chunks_per_group * chunk_planes + tl.arange(0, chunk_planes)
    return item // blocks, pixel, pixel < pixels, chunk // chunks_per_group, plane, plane < planes_per_group


@triton.jit
def _offsets(sample, plane, channels, batch_stride, channel_stride):
    """Offsets ``[planes, 1]`` of the planes of a group."""
    return ((sample + plane // channels) * batch_stride + plane % channels * channel_stride)[:, None]


@triton.jit
def _contiguous(sample, plane, channels, pixels):
    """The same for a contiguous ``[B, C, ., .]`` tensor, in 64 bits."""
    return (((sample + plane // channels) * channels + plane % channels) * pixels)[:, None]


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
    right, down = tl.where(x > 0, pixel_stride, 0), tl.where(y > 0, width * pixel_stride, 0)
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


@triton.jit(do_not_specialize=["fill"])
def gather(
    index, fraction_y, fraction_x, source, destination, pixels, width, views, sample_stride, source_batch,
    source_view, source_channel, source_pixel, batch_stride, view_stride, channel_stride, pixel_stride,
    fill: tl.int64, channels, planes_per_group, copies: tl.constexpr, chunk_planes: tl.constexpr,
    block_pixels: tl.constexpr,
):  # fmt: skip
    n, pixel, inside, sample, plane, exists = _place(pixels, views, planes_per_group, chunk_planes, block_pixels)
    i, y, x = _load_taps(index, fraction_y, fraction_x, sample * sample_stride + n * pixels + pixel, inside)
    valid = exists[:, None] & (i >= 0)[None, :]
    base = source + n * source_view + _offsets(sample, plane, channels, source_batch, source_channel)
    # The fill value, as the bits of an element or of a float64.
    bits = tl.zeros([1, 1], tl.int64) + fill
    if copies:
        value = tl.load(base + i * source_pixel, mask=valid, other=0)
        value = tl.where(valid, value, bits.to(value.dtype))
    else:
        value = _blend(base, i, y, x, valid, width, source_pixel)
        value = tl.where(valid, value, bits.to(tl.float64, bitcast=True).to(value.dtype))
    to = destination + n * view_stride + _offsets(sample, plane, channels, batch_stride, channel_stride)
    tl.store(to + pixel * pixel_stride, value.to(destination.dtype.element_ty), exists[:, None] & inside[None, :])


@triton.jit
def reduce(
    index, fraction_y, fraction_x, source, weights, mean, variance, count, pixels, width, views, sample_stride,
    source_batch, source_view, source_channel, source_pixel, weights_batch, weights_view, channels, planes_per_group,
    weighted: tl.constexpr, chunk_planes: tl.constexpr, block_pixels: tl.constexpr,
):  # fmt: skip
    _, pixel, inside, sample, plane, exists = _place(pixels, 1, planes_per_group, chunk_planes, block_pixels)
    base = source + _offsets(sample, plane, channels, source_batch, source_channel)
    # Deviations from the first value: without them the variance cancels where values are far from zero.
    first = tl.zeros([chunk_planes, block_pixels], fraction_y.dtype.element_ty)
    total, squares, seen = first, first, tl.zeros([block_pixels], first.dtype)
    at = sample * weights_batch + pixel
    for n in range(views):
        i, y, x = _load_taps(index, fraction_y, fraction_x, sample * sample_stride + n * pixels + pixel, inside)
        weight = tl.where(i >= 0, _load_weights(weights, at, inside, y, weighted), 0)
        shows = weight > 0
        value = _blend(base + n * source_view, i, y, x, exists[:, None] & shows[None, :], width, source_pixel)
        first = tl.where((shows & (seen == 0))[None, :], value, first)
        deviation = tl.where(shows[None, :], value - first, 0)
        scaled = weight[None, :] * deviation
        total += scaled
        squares += scaled * deviation
        seen += weight
        at += weights_view
    number = tl.where(seen > 0, seen, 1)[None, :]
    share = _divide(tl.full(number.shape, 1, first.dtype), number)
    shift = total * share
    spread = squares * share - shift * shift
    to = _contiguous(sample, plane, channels, pixels) + pixel
    stored = exists[:, None] & inside[None, :]
    tl.store(mean + to, (first + shift).to(mean.dtype.element_ty), stored)
    tl.store(variance + to, tl.where(spread < 0, 0, spread).to(variance.dtype.element_ty), stored)
    tl.store(count + to, (seen[None, :] + tl.zeros_like(first)).to(count.dtype.element_ty), stored)


@triton.jit
def slopes(
    index, fraction_y, fraction_x, source, weights, grad_mean, grad_variance, mean, count, slopes, pixels, width,
    views, sample_stride, source_batch, source_view, source_channel, source_pixel, weights_batch, weights_view,
    channels, planes_per_group, weighted: tl.constexpr, chunk_planes: tl.constexpr, block_pixels: tl.constexpr,
):  # fmt: skip
    n, pixel, inside, sample, plane, exists = _place(pixels, views, planes_per_group, chunk_planes, block_pixels)
    i, y, x = _load_taps(index, fraction_y, fraction_x, sample * sample_stride + n * pixels + pixel, inside)
    weight = _load_weights(weights, sample * weights_batch + n * weights_view + pixel, inside, y, weighted)
    valid = exists[:, None] & ((i >= 0) & (weight > 0))[None, :]
    base = source + n * source_view + _offsets(sample, plane, channels, source_batch, source_channel)
    at = _contiguous(sample, plane, channels, pixels) + pixel
    deviation = _blend(base, i, y, x, valid, width, source_pixel) - tl.load(mean + at, mask=valid, other=0).to(y.dtype)
    on_variance = tl.load(grad_variance + at, mask=valid, other=0).to(y.dtype)
    gradient = tl.load(grad_mean + at, mask=valid, other=0).to(y.dtype) + 2 * on_variance * deviation
    seen = tl.load(count + at, mask=valid, other=1).to(y.dtype)
    slope = _divide(weight[None, :] * gradient, tl.where(seen > 0, seen, 1))
    to = _contiguous((sample + plane // channels) * views + n, plane % channels, channels, pixels) + pixel
    tl.store(slopes + to, tl.where(valid, slope, 0), exists[:, None] & inside[None, :])


@triton.jit
def gather_adjoint(
    start, entry_pixel, entry_weight, source, destination, entries, source_pixels, terms, targets,
    sample_views, source_batch, source_view, source_channel, source_pixel, batch_stride, view_stride,
    channel_stride, pixel_stride, channels, planes_per_group, chunk_planes: tl.constexpr,
    block_pixels: tl.constexpr,
):  # fmt: skip
    target, pixel, inside, sample, plane, exists = _place(
        source_pixels, targets, planes_per_group, chunk_planes, block_pixels
    )
    base = source + _offsets(sample, plane, channels, source_batch, source_channel)
    total = tl.zeros([chunk_planes, block_pixels], entry_weight.dtype.element_ty)
    for n in range(target * terms, target * terms + terms):
        view = sample * sample_views + n
        row = start + view * (source_pixels + 1) + pixel
        first, end = tl.load(row, mask=inside, other=0), tl.load(row + 1, mask=inside, other=0)
        for step in range(tl.max(end - first, 0)):
            entry, valid = view * entries + first + step, first + step < end
            reader = tl.load(entry_pixel + entry, mask=valid, other=0).to(tl.int64)
            weight = tl.load(entry_weight + entry, mask=valid, other=0)
            read = base + n * source_view + reader * source_pixel
            total += weight * tl.load(read, mask=exists[:, None] & valid[None, :], other=0).to(weight.dtype)
    to = destination + target * view_stride + _offsets(sample, plane, channels, batch_stride, channel_stride)
    tl.store(to + pixel * pixel_stride, total.to(destination.dtype.element_ty), exists[:, None] & inside[None, :])


@triton.jit
def gather_adjoint_atomic(
    index, fraction_y, fraction_x, source, destination, pixels, width, views, sample_stride, source_batch,
    source_view, source_channel, source_pixel, batch_stride, view_stride, channel_stride, pixel_stride,
    channels, planes_per_group, chunk_planes: tl.constexpr, block_pixels: tl.constexpr,
):  # fmt: skip
    n, pixel, inside, sample, plane, exists = _place(pixels, views, planes_per_group, chunk_planes, block_pixels)
    i, y, x = _load_taps(index, fraction_y, fraction_x, sample * sample_stride + n * pixels + pixel, inside)
    valid = exists[:, None] & (i >= 0)[None, :]
    base = source + n * source_view + _offsets(sample, plane, channels, source_batch, source_channel)
    value = tl.load(base + pixel * source_pixel, mask=valid, other=0).to(y.dtype)
    to = destination + n * view_stride + _offsets(sample, plane, channels, batch_stride, channel_stride)
    to += i * pixel_stride
    # Skip zero weights, which would carry NaN or Inf to pixels outside the tap.
    touches_right, touches_down = valid & (x > 0)[None, :], valid & (y > 0)[None, :]
    tl.atomic_add(to, (1 - y) * (1 - x) * value, mask=valid, sem="relaxed")
    tl.atomic_add(to + pixel_stride, (1 - y) * x * value, mask=touches_right, sem="relaxed")
    tl.atomic_add(to + width * pixel_stride, y * (1 - x) * value, mask=touches_down, sem="relaxed")
    tl.atomic_add(to + (width + 1) * pixel_stride, y * x * value, mask=touches_right & touches_down, sem="relaxed")
