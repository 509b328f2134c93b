"""``PortableViews``: project, unproject and reduce by torch's ``grid_sample`` on grids that are computed once."""

import math

import torch
from torch import Tensor
from torch.jit import is_scripting, is_tracing  # type: ignore[attr-defined]
from torch.nn.functional import grid_sample

from spuproj import geometry as geo
from spuproj.checks import finite_weights
from spuproj.geometry.module import GeometryModule
from spuproj.inputs import plain_tensor


class PortableViews(GeometryModule):
    """Views whose coordinates are frozen, made by ``Views.portable``: for ONNX, TorchScript, mobile and C++.

    The methods are those of ``Views`` for floating-point tensors with all axes, with bilinear interpolation and
    constant padding. They consist of plain torch operations, so exporters know them, and they are slower than the
    kernels. Results differ from those of ``Views`` by rounding of the coordinates to float32: by up to 3e-5 of the
    difference between neighbouring pixels at 240 x 240. NaN or Inf in a pixel spreads to points next to it. The state
    is that of ``Views``; loading one computes the coordinates anew.

    Args:
        table: ``[N, 19]`` or ``[B, N, 19]`` geometry table, known to be valid.
        size: (H, W) of the slice, in pixels.
        view_size: (h, w) of a view, in pixels.
    """

    slice_grid: Tensor
    slice_shown: Tensor
    view_grid: Tensor
    view_shown: Tensor

    def __init__(self, table: Tensor, size: tuple[int, int], view_size: tuple[int, int]) -> None:
        super().__init__(table, size, view_size)
        self._freeze()
        self.register_load_state_dict_post_hook(PortableViews._freeze)  # type: ignore[no-untyped-call]

    def _freeze(self, _: object = None) -> None:
        """Computes where each view pixel reads the slice, and where each slice pixel reads the views."""
        for name, points, (height, width) in (
            ("slice", geo.slice_coordinates(self.geometry, self.size, self.view_size), self.size),
            ("view", geo.view_coordinates(self.geometry, self.size, self.view_size), self.view_size),
        ):
            y, x = points
            shown = ~torch.isnan(y)
            # In the unit of ``grid_sample``.
            grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
            grid = torch.where(shown.unsqueeze(-1), grid, 0).float()
            # They follow from the geometry, which is in the state.
            self.register_buffer(f"{name}_grid", grid, persistent=False)
            self.register_buffer(f"{name}_shown", shown.unsqueeze(-3), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """``project`` with its default arguments."""
        # TorchScript knows no defaults here.
        return self.project(image, 0.0)

    @torch.jit.export
    def project(self, image: Tensor, fill: float = 0.0) -> Tensor:
        """Projects slices ``[B, C, H, W]`` onto every view: ``[B, N, C, h, w]``, ``fill`` outside the slice.

        Raises ValueError for axes, a size or a batch that do not fit, and TypeError for another dtype.
        """
        _check(image, "image", 4, self.size, self.slice_grid)
        views = self.slice_grid.shape[-4]
        copies = image.unsqueeze(1).expand(-1, views, -1, -1, -1)
        return _filled(_sampled(copies, self.slice_grid), ~self.slice_shown, fill).to(image.dtype)

    @torch.jit.export
    def unproject(self, stack: Tensor) -> Tensor:
        """Maps every view ``[B, N, C, h, w]`` back onto the slice: ``[B, N, C, H, W]``, 0 where it is not shown.

        Raises ValueError for axes, a size, views or a batch that do not fit, and TypeError for another dtype.
        """
        _check(stack, "stack", 5, self.view_size, self.view_grid)
        return torch.where(self.view_shown, _sampled(stack, self.view_grid), 0.0).to(stack.dtype)

    @torch.jit.export
    def reduce(
        self, stack: Tensor, weights: Tensor | None = None, min_count: float = 1.0, fill: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(mean, variance, count) over the views that show each slice pixel, ``[B, C, H, W]`` each.

        Args:
            stack: ``[B, N, C, h, w]``.
            weights: ``[N, H, W]`` or ``[B, N, H, W]``, finite and not negative: the weight of each view; 1 if None.
            min_count, fill: see ``Views.reduce``.

        Raises:
            ValueError: for axes, a size, views, a batch or weights that do not fit, and, not in exported code, for
                weights that are negative or not finite; for a ``min_count`` that is not positive and finite.
            TypeError: for another dtype.
        """
        _check(stack, "stack", 5, self.view_size, self.view_grid)
        if not (min_count > 0 and min_count < math.inf):
            raise ValueError(f"min_count must be positive and finite, got {min_count}")
        values = _sampled(stack, self.view_grid)
        used = self.view_shown.to(values.dtype)
        if weights is not None:
            _check_weights(weights, stack, self.size)
            used = used * weights.to(values.dtype).unsqueeze(-3)
        values = torch.where(used > 0, values, 0.0)
        count = used.sum(-4)
        total = torch.where(count > 0, count, 1.0)
        mean = (used * values).sum(1) / total
        variance = (used * (values - mean.unsqueeze(1)) ** 2).sum(1) / total
        unseen = count == 0
        few = unseen if min_count <= 1 else count < min_count
        mean, variance = _filled(mean, unseen, fill), _filled(variance, few, fill)
        count = count.expand_as(mean) if weights is not None else count.expand_as(mean).to(torch.int32)
        return mean.to(stack.dtype), variance.to(stack.dtype), count.clone()


def _sampled(source: Tensor, grid: Tensor) -> Tensor:
    """Planes ``[B, N, C, p, q]`` at the points of a grid: ``[B, N, C, h, w]``, float32, or float64 if they are."""
    batch, views = source.shape[0], source.shape[1]
    precise = source if source.dtype == torch.float64 else source.float()
    points = grid.to(precise.dtype).expand(batch, views, -1, -1, -1)
    planes, flat = precise.flatten(0, 1), points.flatten(0, 1)
    # Points outside are masked; at the border, rounding must not read beyond it.
    found: Tensor = grid_sample(planes, flat, mode="bilinear", padding_mode="border", align_corners=False)
    by_view: Tensor = found.unflatten(0, (batch, views))
    return by_view


def _filled(values: Tensor, where: Tensor, fill: float) -> Tensor:
    """The values, with ``fill`` at some places: infinite if their dtype cannot hold it, as in ``Views``."""
    return torch.where(where, torch.full([], fill, dtype=torch.float64, device=values.device).to(values.dtype), values)


def _check(tensor: Tensor, argument: str, rank: int, size: tuple[int, int], grid: Tensor) -> None:
    """Raises ValueError for axes that do not fit the grid ``[..., N, h, w, 2]``, and TypeError for no floats."""
    if is_tracing():
        return
    if not is_scripting():
        plain_tensor(tensor, argument)
    shape = tensor.shape
    if len(shape) != rank or shape[-2] != size[0] or shape[-1] != size[1]:
        raise ValueError(f"{argument} must have {rank} axes, the last two of size {size}, got the shape {shape}")
    if rank == 5 and shape[1] != grid.shape[-4]:
        raise ValueError(f"{argument} must hold {grid.shape[-4]} views on axis 1, got {shape[1]}")
    if grid.dim() == 5 and shape[0] != grid.shape[0]:
        raise ValueError(f"{argument} must have the batch size of the geometry, {grid.shape[0]}, got {shape[0]}")
    if not tensor.is_floating_point():
        raise TypeError(f"{argument} must be of a floating-point dtype, got {tensor.dtype}: pass {argument}.float()")


def _check_weights(weights: Tensor, stack: Tensor, size: tuple[int, int]) -> None:
    """Raises ValueError for weights of another shape; in Python, also if they are negative or not finite."""
    if is_tracing():
        return
    if not is_scripting():
        plain_tensor(weights, "weights")
    wanted = [stack.shape[0], stack.shape[1], size[0], size[1]]
    shape = list(weights.shape)
    if shape != wanted and shape != wanted[1:]:
        raise ValueError(f"weights must be of the shape [N, H, W], {wanted[1:]}, or [B, N, H, W], got {shape}")
    if not is_scripting():
        finite_weights(weights)
