"""The gradient of the ops with respect to the geometry: through the coordinates that are read, in closed form."""

from functools import reduce

import torch
from torch import Tensor

from spuproj.backends.taps import Sampling, coordinates_at
from spuproj.geometry.coordinates import pixel_grid


def geometry_gradient(read: Tensor, grads: Tensor, geometry: Tensor, sampling: Sampling) -> Tensor | None:
    """Gradient of ``(grads * values).sum()`` with respect to the geometry, ``values`` being what the views read.

    At a coordinate that is a whole number, the slope is that towards the next pixel, in the last row or column that
    from the pixel before. Points that read nothing add nothing.

    Args:
        read: ``[B, C, ., .]``, shared by all views, or a stack ``[B, N, C, ., .]``.
        grads: ``[B, N, C, ., .]``, the gradient at every value.
        geometry, sampling: which pixels of ``read`` the values come from.

    Returns:
        The gradient of the geometry's shape; None for nearest interpolation, which is constant almost everywhere.
    """
    if sampling.nearest:
        return None
    # Not torch.func.vjp: of its tensors the profiles could not tell whether they are traced (``_present``).
    with torch.enable_grad():
        lines, y, x = _lines(geometry, sampling.size)
        coordinates = coordinates_at(lines, sampling, y, x)
    y, x = (each.reshape(*geometry.shape[:-1], *sampling.size) for each in coordinates)
    planes, grads = (each.to(sampling.precision).flatten(-2) for each in (read, grads))
    planes = planes.unsqueeze(1) if read.dim() == 4 else planes
    # View by view: the corners of all views at once would take several times the memory of the views.
    parts = []
    for n, (at_y, at_x) in enumerate(zip(y.flatten(-2).unbind(-2), x.flatten(-2).unbind(-2), strict=True)):
        source = planes[:, min(n, planes.shape[1] - 1)]
        parts.append(_grads_at(source, grads[:, n], at_y, at_x, sampling.source))
    along_y, along_x = (torch.stack(each, dim=-2) for each in zip(*parts, strict=True))
    if geometry.dim() == 2:
        along_y, along_x = added(along_y, 0), added(along_x, 0)
    slopes = tuple(each.reshape(at.shape) for each, at in zip((along_y, along_x), coordinates, strict=True))
    grad = torch.autograd.grad(coordinates, lines, slopes, create_graph=torch.is_grad_enabled())[0]
    # Each sum reads a contiguous line of its own.
    total: Tensor = grad.mT.contiguous().sum(-1)
    return total


def added(parts: Tensor, axis: int) -> Tensor:
    """The sum over an axis in its order; ``sum`` may round otherwise for another number of threads."""
    zeros = parts.new_zeros(parts.shape[:axis] + parts.shape[axis + 1 :])
    return reduce(torch.add, parts.unbind(axis), zeros)


def _lines(geometry: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """The geometry of every line of pixels, and the pixels (y, x) of these lines.

    The gradient of a number that all pixels share is one sum, which torch divides among threads, so that its rounding
    depends on their number. So each line gets numbers of its own. A line is a row, or a pixel where there is one row.
    """
    y, x = pixel_grid(size, geometry.device)
    y, x = (y.unsqueeze(-1), x) if size[0] > 1 else (y, x.mT.unsqueeze(-1))
    count = max(len(y), len(x))
    return geometry.unsqueeze(-2).expand(*geometry.shape[:-1], count, -1), y, x


def _grads_at(planes: Tensor, grads: Tensor, y: Tensor, x: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Gradients ``[B, P]`` with respect to the coordinates (y, x), ``[P]`` or ``[B, P]``, of values of one view.

    Args:
        planes: ``[B, C, K]``, what is read, of ``size``.
        grads: ``[B, C, P]``, the gradient at every value.
    """
    y, x = torch.where(torch.isnan(y), 0.0, y), torch.where(torch.isnan(x), 0.0, x)
    row, column = (at.floor().clamp(max=max(n - 2, 0)) for at, n in zip((y, x), size, strict=True))
    down, right = size[1] if size[0] > 1 else 0, int(size[1] > 1)
    first = (row * size[1] + column).long().unsqueeze(-2)

    def corner(step: int) -> Tensor:
        return planes.gather(-1, (first + step).expand(grads.shape))

    a, b, c, d = corner(0), corner(right), corner(down), corner(down + right)
    part_y, part_x = ((at - start).to(planes.dtype).unsqueeze(-2) for at, start in ((y, row), (x, column)))
    slopes = torch.lerp(c - a, d - b, part_x), torch.lerp(b - a, d - c, part_y)
    # Where the gradient is zero, NaN in the image does not matter.
    along_y, along_x = (added(torch.where(grads == 0, 0, grads * slope), 1).double() for slope in slopes)
    return along_y, along_x
