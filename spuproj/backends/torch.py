"""The ``torch`` backend: plain PyTorch on any device; the fallback, and an independent check of the others."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spuproj.backends.base import OUTWEIGHS, SMALLEST_WEIGHT, Backend, Moments
from spuproj.backends.native import weight_planes
from spuproj.backends.taps import Sampling, Taps, coordinates_at, encoded
from spuproj.checks import finite_weights
from spuproj.geometry.coordinates import pixel_grid
from spuproj.geometry.table import check_table


def taps_of(geometry: Tensor, sampling: Sampling) -> Taps:
    """The taps of ``[N, 19]`` or ``[B, N, 19]`` views."""
    if geometry.device.type == "cpu" and not torch.compiler.is_compiling():
        check_table(geometry)
    y, x = coordinates_at(geometry, sampling, *pixel_grid(sampling.size, geometry.device))
    valid = ~(torch.isnan(y) | torch.isnan(x))
    y, x = torch.where(valid, y, 0.0).flatten(-2), torch.where(valid, x, 0.0).flatten(-2)
    if sampling.nearest:
        y, x = torch.floor(y + 0.5), torch.floor(x + 0.5)
    row, column = torch.floor(y), torch.floor(x)
    pixel = torch.where(valid.flatten(-2), row.long() * sampling.source[1] + column.long(), -1)
    # Rounding must not make a fraction 1, which reads a pixel of weight 0.
    largest = 1 - torch.finfo(sampling.precision).eps / 2
    fraction_y, fraction_x = (part.to(sampling.precision).clamp(max=largest) for part in (y - row, x - column))
    return Taps(encoded(pixel, fraction_y, fraction_x), fraction_y, fraction_x, sampling.source)


def _arithmetic(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 or not dtype.is_floating_point else torch.float32


def _mix(first: Tensor, second: Tensor, fraction: Tensor) -> Tensor:
    """Linear interpolation; a fraction of zero ignores the second value even if it is NaN or Inf."""
    return torch.where(fraction > 0, first - fraction * (first - second), first)


def _gather(source: Tensor, taps: Taps, fill: float = 0) -> Tensor:
    """Source planes ``[B, N or 1, C, K]`` read through taps -> ``[B, N, C, P]``."""
    batch, _, channels, _ = source.shape
    views, points = taps.index.shape[-2:]
    planes = source.expand(batch, views, channels, -1)
    valid = taps.valid.unsqueeze(-2)
    first = torch.where(taps.valid, taps.pixel, 0)

    def read(pixel: Tensor) -> Tensor:
        return planes.gather(-1, pixel.unsqueeze(-2).expand(batch, views, channels, points))

    if not source.dtype.is_floating_point:
        return torch.where(valid, read(first), torch.full_like(source[:1, :1, :1, :1], fill))
    y, x = taps.fraction_y, taps.fraction_x
    down, right = torch.where(y > 0, taps.source[1], 0), torch.where(x > 0, 1, 0)
    y, x = y.unsqueeze(-2), x.unsqueeze(-2)
    left = _mix(read(first), read(first + down), y)
    blend = _mix(left, _mix(read(first + right), read(first + down + right), y), x)
    # A fill value outside the dtype's range becomes infinite, as in any conversion.
    return torch.where(valid, blend, torch.full((), fill, dtype=torch.float64, device=blend.device).to(blend.dtype))


def _scatter(source: Tensor, taps: Taps, pixels: int) -> Tensor:
    """Adjoint of ``_gather``: ``[B, N, C, P]`` -> source planes ``[B, N, C, pixels]``."""
    result = source.new_zeros((*source.shape[:-1], pixels))
    for pixel, weight, reads in zip(*(part.unbind(-1) for part in taps.corners()), strict=True):
        reads = reads.unsqueeze(-2)
        part = torch.where(reads, source * weight.unsqueeze(-2), 0)
        result.scatter_add_(-1, torch.where(reads, pixel.unsqueeze(-2), 0).expand(source.shape), part)
    return result


def _used_weights(weights: Tensor, stack: Tensor, precision: torch.dtype) -> Tensor:
    """The weights as ``[B, N, 1, P]``, those that count as zero replaced by zero."""
    planes = weight_planes(finite_weights(weights), len(stack), precision).flatten(-2)
    return torch.where(planes >= SMALLEST_WEIGHT, planes, 0)


def _view(taps: Taps, n: int) -> Taps:
    index, y, x = (part[..., n : n + 1, :] for part in taps.tensors)
    return Taps(index, y, x, taps.source)


class TorchBackend(Backend):
    """The kernels in plain PyTorch operations."""

    def gather(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor, fill: float) -> None:
        planes = source.to(_arithmetic(source.dtype)).flatten(-2)
        planes = planes.unsqueeze(1) if source.dim() == 4 else planes
        result.copy_(_gather(planes, taps_of(geometry, sampling), fill).reshape(result.shape))

    def gather_adjoint(self, source: Tensor, geometry: Tensor, sampling: Sampling, result: Tensor) -> None:
        # View by view: the corners of all views at once would double the memory.
        taps, sum_views = taps_of(geometry, sampling), result.dim() == 4
        total = torch.zeros_like(result, dtype=_arithmetic(result.dtype)).flatten(-2)
        for n in range(source.shape[1]):
            view = source[:, n : n + 1].to(total.dtype).flatten(-2)
            part = _scatter(view, _view(taps, n), total.shape[-1]).squeeze(1)
            (total if sum_views else total[:, n]).add_(part)
        result.copy_(total.reshape(result.shape))

    def reduce(
        self, stack: Tensor, geometry: Tensor, sampling: Sampling, weights: Tensor | None, results: Sequence[Tensor]
    ) -> None:
        # One view at a time: sums of deviations from a pivot, as in csrc/include/spuproj/moments.hpp.
        taps, (mean, _, count) = taps_of(geometry, sampling), results
        used = None if weights is None else _used_weights(weights, stack, sampling.precision)
        pivot = torch.zeros_like(mean, dtype=sampling.precision).flatten(-2)
        total, squares, seen = pivot, pivot, torch.zeros_like(count).flatten(-2)
        pivot_weight = seen
        for n in range(stack.shape[1]):
            view = _view(taps, n)
            value = _gather(stack[:, n : n + 1].to(pivot.dtype).flatten(-2), view).squeeze(1)
            weight = view.valid.to(seen.dtype) if used is None else torch.where(view.valid, used[:, n], 0)
            moves = weight > OUTWEIGHS * pivot_weight
            pivot_weight = torch.where(moves, weight, pivot_weight)
            if used is not None:
                step = torch.where(moves, value - pivot, 0)
                squares, total = squares + step * (seen * step - 2 * total), total - seen * step
            pivot = torch.where(moves, value, pivot)
            deviation = torch.where(weight > 0, value - pivot, 0)
            seen = seen + weight
            total, squares = total + weight * deviation, squares + weight * deviation * deviation
        share = torch.where(seen > 0, seen, 1).to(pivot.dtype).reciprocal()
        shift = total * share
        variance = (squares * share - shift * shift).clamp(min=0)
        for result, found in zip(results, (pivot + shift, variance, seen), strict=True):
            result.copy_(found.reshape(result.shape))

    def reduce_backward(
        self,
        stack: Tensor,
        geometry: Tensor,
        sampling: Sampling,
        weights: Tensor | None,
        moments: Moments,
        grad_stack: Tensor,
    ) -> None:
        dtype, count = sampling.precision, torch.where(moments[3] > 0, moments[3], 1).unsqueeze(1)
        grad_mean, grad_variance, mean = (moment.to(dtype).unsqueeze(1) for moment in moments[:3])
        slices = torch.empty((*stack.shape[:3], *mean.shape[-2:]), dtype=dtype, device=stack.device)
        self.gather(stack.to(dtype), geometry, sampling, slices, 0)
        slope = grad_mean + 2 * grad_variance * (slices - mean)
        if weights is not None:
            used = _used_weights(weights, stack, dtype).unflatten(-1, mean.shape[-2:])
            slope = torch.where(used > 0, used * slope, 0)
        self.gather_adjoint(slope / count, geometry, sampling, grad_stack)


backend = TorchBackend()
