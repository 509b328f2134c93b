"""The ``torch`` backend: pure PyTorch on any device, the fallback and the second opinion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spuproj import geometry as geo
from spuproj.layout import empty_views

Size = Sequence[int]


@dataclass(frozen=True)
class Taps:
    """``[N, P]`` or ``[B, N, P]``: the pixel that each of P points reads, its blend, and whether it reads at all."""

    index: Tensor
    right: Tensor
    down: Tensor
    fraction_y: Tensor
    fraction_x: Tensor
    valid: Tensor

    def corners(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The four source pixels and their weights; those of invalid points weigh zero."""
        y, x = self.fraction_y, self.fraction_x
        weights = ((1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x)
        pixels = (self.index, self.index + self.right, self.index + self.down, self.index + self.down + self.right)
        for pixel, weight in zip(pixels, weights, strict=True):
            yield pixel, torch.where(self.valid, weight, 0)


def _arithmetic(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 or not dtype.is_floating_point else torch.float32


def _taps(y: Tensor, x: Tensor, source: tuple[int, int], interpolation: str, dtype: torch.dtype) -> Taps:
    valid = ~(torch.isnan(y) | torch.isnan(x))
    y, x = torch.where(valid, y, 0.0).flatten(-2), torch.where(valid, x, 0.0).flatten(-2)
    if interpolation == "nearest":
        y, x = torch.floor(y + 0.5), torch.floor(x + 0.5)
    row, column = torch.floor(y), torch.floor(x)
    fraction_y, fraction_x = (y - row).to(dtype), (x - column).to(dtype)
    return Taps(
        index=row.long() * source[1] + column.long(),
        right=(fraction_x > 0).long(),
        down=(fraction_y > 0).long() * source[1],
        fraction_y=fraction_y,
        fraction_x=fraction_x,
        valid=valid.flatten(-2),
    )


def view_taps(table: Tensor, size: Size, view_size: Size, interpolation: str, padding: str, dtype: torch.dtype) -> Taps:
    """The taps of every view pixel into the slice."""
    source, raster = (size[0], size[1]), (view_size[0], view_size[1])
    if padding == "border":
        y, x = geo.to_slice(geo.Geometry.from_table(table), *geo.pixel_grid(raster, table.device))
        y, x = y.clamp(0, source[0] - 1), x.clamp(0, source[1] - 1)
    else:
        y, x = geo.slice_coordinates(table, source, raster)
    return _taps(y, x, source, interpolation, dtype)


def slice_taps(table: Tensor, size: Size, view_size: Size, interpolation: str, dtype: torch.dtype) -> Taps:
    """The taps of every slice pixel into the views."""
    raster = (view_size[0], view_size[1])
    v, u = geo.view_coordinates(table, (size[0], size[1]), raster)
    return _taps(v, u, raster, interpolation, dtype)


def _lerp(first: Tensor, second: Tensor, fraction: Tensor) -> Tensor:
    return torch.where(fraction > 0, first + fraction * (second - first), first)


def _gather(source: Tensor, taps: Taps) -> Tensor:
    """Source planes ``[B, N or 1, C, K]`` read through taps -> ``[B, N, C, P]``."""
    batch, _, channels, _ = source.shape
    views, points = taps.index.shape[-2:]
    if source.shape[-1] == 0:
        return source.new_zeros(batch, views, channels, points)
    planes = source.expand(batch, views, channels, -1)

    def read(pixel: Tensor) -> Tensor:
        return planes.gather(-1, pixel.unsqueeze(-2).expand(batch, views, channels, points))

    valid = taps.valid.unsqueeze(-2)
    if not source.dtype.is_floating_point:
        return torch.where(valid, read(taps.index), 0).to(source.dtype)
    fraction_y, fraction_x = taps.fraction_y.unsqueeze(-2), taps.fraction_x.unsqueeze(-2)
    lower = taps.index + taps.down
    top = _lerp(read(taps.index), read(taps.index + taps.right), fraction_x)
    bottom = _lerp(read(lower), read(lower + taps.right), fraction_x)
    return torch.where(valid, _lerp(top, bottom, fraction_y), 0)


def _scatter(source: Tensor, taps: Taps, pixels: int) -> Tensor:
    """The transpose: ``[B, N, C, P]`` spread over source planes ``[B, N, C, pixels]``."""
    result = source.new_zeros(*source.shape[:-1], pixels)
    if pixels == 0:
        return result
    for pixel, weight in taps.corners():
        # A zero weight must not carry NaN or Inf to a pixel that the tap does not touch.
        part = torch.where(weight.unsqueeze(-2) > 0, source * weight.unsqueeze(-2), 0)
        result.scatter_add_(-1, pixel.unsqueeze(-2).expand(source.shape), part)
    return result


def _raster(flat: Tensor, size: Size, dtype: torch.dtype) -> Tensor:
    return flat.reshape(*flat.shape[:-1], *size).to(dtype)


def _view(taps: Taps, n: int) -> Taps:
    fields = (taps.index, taps.right, taps.down, taps.fraction_y, taps.fraction_x, taps.valid)
    return Taps(*(field[..., n : n + 1, :] for field in fields))


def project(
    image: Tensor,
    geometry: Tensor,
    view_size: Size,
    interpolation: str,
    padding: str,
    out_dtype: torch.dtype | None = None,
    memory_format: torch.memory_format | None = None,
) -> Tensor:
    """Views ``[B, N, C, h, w]`` of an image ``[B, C, H, W]``."""
    views = empty_views(image, geometry.shape[-2], view_size, out_dtype, memory_format)
    project_out(image, geometry, views, interpolation, padding)
    return views


def project_out(image: Tensor, geometry: Tensor, out: Tensor, interpolation: str, padding: str) -> None:
    """The same, into ``[B, N, C, h, w]``."""
    dtype, view_size = _arithmetic(image.dtype), out.shape[-2:]
    taps = view_taps(geometry, image.shape[-2:], view_size, interpolation, padding, dtype)
    out.copy_(_raster(_gather(image.to(dtype).flatten(-2).unsqueeze(1), taps), view_size, dtype))


def project_adjoint(views: Tensor, geometry: Tensor, size: Size, interpolation: str, padding: str) -> Tensor:
    """The transpose of ``project``: ``[B, N, C, h, w]`` -> ``[B, C, H, W]``."""
    dtype = _arithmetic(views.dtype)
    taps = view_taps(geometry, size, views.shape[-2:], interpolation, padding, dtype)
    image = torch.zeros(views.shape[0], views.shape[2], size[0] * size[1], dtype=dtype, device=views.device)
    for n in range(views.shape[1]):
        image += _scatter(views[:, n : n + 1].to(dtype).flatten(-2), _view(taps, n), image.shape[-1]).squeeze(1)
    return _raster(image, size, views.dtype)


def unproject(views: Tensor, geometry: Tensor, size: Size, interpolation: str) -> Tensor:
    """Slices ``[B, N, C, H, W]`` of views ``[B, N, C, h, w]``."""
    dtype = _arithmetic(views.dtype)
    taps = slice_taps(geometry, size, views.shape[-2:], interpolation, dtype)
    return _raster(_gather(views.to(dtype).flatten(-2), taps), size, views.dtype)


def unproject_adjoint(slices: Tensor, geometry: Tensor, view_size: Size, interpolation: str) -> Tensor:
    """The transpose of ``unproject``: ``[B, N, C, H, W]`` -> ``[B, N, C, h, w]``."""
    dtype = _arithmetic(slices.dtype)
    taps = slice_taps(geometry, slices.shape[-2:], view_size, interpolation, dtype)
    views = _scatter(slices.to(dtype).flatten(-2), taps, view_size[0] * view_size[1])
    return _raster(views, view_size, slices.dtype)


def unproject_reduce(views: Tensor, geometry: Tensor, size: Size, interpolation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, population variance and count ``[B, C, H, W]`` of the unprojected views, one view at a time (Welford)."""
    dtype = _arithmetic(views.dtype)
    taps = slice_taps(geometry, size, views.shape[-2:], interpolation, dtype)
    shape = (views.shape[0], views.shape[2], size[0] * size[1])
    mean = torch.zeros(shape, dtype=dtype, device=views.device)
    squares = torch.zeros_like(mean)
    count = torch.zeros(shape, dtype=torch.int32, device=views.device)
    for n in range(views.shape[1]):
        view = _view(taps, n)
        value = _gather(views[:, n : n + 1].to(dtype).flatten(-2), view).squeeze(1)
        valid = view.valid.expand(*shape[:1], -1, -1)
        count += valid
        deviation = torch.where(valid, value - mean, 0)
        mean = mean + deviation / count.clamp(min=1)
        squares = squares + torch.where(valid, deviation * (value - mean), 0)
    variance = squares / count.clamp(min=1)
    return _raster(mean, size, views.dtype), _raster(variance, size, views.dtype), _raster(count, size, count.dtype)


def unproject_reduce_backward(
    grad_mean: Tensor,
    grad_variance: Tensor,
    views: Tensor,
    geometry: Tensor,
    mean: Tensor,
    count: Tensor,
    interpolation: str,
) -> Tensor:
    """Gradient of ``unproject_reduce`` with respect to its views."""
    size = mean.shape[-2:]
    divisor = count.clamp(min=1).unsqueeze(1)
    dtype = _arithmetic(views.dtype)
    deviation = unproject(views.to(dtype), geometry, size, interpolation) - mean.to(dtype).unsqueeze(1)
    gradient = (grad_mean.to(dtype).unsqueeze(1) + 2 * grad_variance.to(dtype).unsqueeze(1) * deviation) / divisor
    return unproject_adjoint(gradient, geometry, views.shape[-2:], interpolation).to(views.dtype)
