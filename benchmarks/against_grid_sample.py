"""Ratios of grid_sample's and scipy's time to ours on the same coordinates, interleaved in one process.

Run with ``python benchmarks/against_grid_sample.py``. Every peer's result is compared with the float64 coordinates'
scipy result before it is timed; the largest difference is printed beside the ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import grid_sample

from spuproj import Views, functional

ROUNDS = 9
SIZE = (240, 240)
CASES = [(1, 1), (1, 4), (16, 1), (16, 4)]


def interleaved(calls: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    """Median seconds of each call over rounds in which all take their turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def sampling_grid(y: Tensor, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Pixel coordinates ``[N, h, w]`` as grid_sample's ``[N, h, w, 2]``; invalid points lie far outside."""
    grid = torch.stack([2 * x / (size[1] - 1) - 1, 2 * y / (size[0] - 1) - 1], dim=-1)
    return torch.nan_to_num(grid, nan=-3.0).float()


def grid_sample_layouts(planes: Tensor, grid: Tensor) -> dict[str, Callable[[], Tensor]]:
    """The two ways to call it for N views of ``[B, C, H, W]``: the views as batch, or all planes as channels."""
    batch, channels = planes.shape[:2]
    views = len(grid)
    as_channels = planes.reshape(1, batch * channels, *SIZE).expand(views, -1, -1, -1)
    as_batch = planes[:, None].expand(-1, views, -1, -1, -1).reshape(batch * views, channels, *SIZE)
    repeated = grid.repeat(batch, 1, 1, 1)
    return {
        "planes as channels": lambda: grid_sample(as_channels, grid, align_corners=True),
        "views as batch": lambda: grid_sample(as_batch, repeated, align_corners=True),
    }


def reduce_with_grid_sample(stack: Tensor, grid: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """What a user would write for mean and variance over the valid views."""
    batch, views = stack.shape[:2]
    slices = grid_sample(stack.flatten(0, 1), grid.repeat(batch, 1, 1, 1), align_corners=True)
    slices = slices.unflatten(0, (batch, views))
    count = valid.sum(0).clamp(min=1)
    mean = slices.sum(1) / count
    return mean, ((slices - mean.unsqueeze(1)).square() * valid[:, None]).sum(1) / count


def measure(batch: int, channels: int) -> list[tuple[str, float, float]]:
    """(what, time of the best grid_sample layout over ours, largest difference) for one shape."""
    views = Views.spherical(SIZE, grid=(3, 3))
    image = torch.randn(batch, channels, *SIZE)
    stack = views.project(image)
    y, x = views.slice_coordinates()
    v, u = views.view_coordinates()
    forward, inverse = sampling_grid(y, x, SIZE), sampling_grid(v, u, views.view_size)
    layouts = grid_sample_layouts(image, forward)
    rows = []

    inside = ~torch.isnan(y[0])
    truth = ndimage.map_coordinates(image[0, 0].double().numpy(), torch.stack([y[0], x[0]])[:, inside].numpy(), order=1)
    error = float(np.abs(stack[0, 0, 0][inside].numpy() - truth).max())
    times = interleaved({"ours": lambda: views.project(image), **layouts})
    rows.append(("project", min(times[name] for name in layouts) / times["ours"], error))

    leaf = image.clone().requires_grad_()
    peers = grid_sample_layouts(leaf, forward)

    def backward(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(call().sum(), leaf)[0]

    adjoint = functional.project_adjoint(torch.ones_like(stack), views.geometry, SIZE)
    error = float((backward(lambda: views.project(leaf))() - adjoint).abs().max())
    times = interleaved(
        {"ours": backward(lambda: views.project(leaf)), **{name: backward(call) for name, call in peers.items()}}
    )
    rows.append(("project + backward", min(times[name] for name in peers) / times["ours"], error))

    valid = ~torch.isnan(v)
    ours, theirs = views.reduce(stack)[1], reduce_with_grid_sample(stack, inverse, valid)[1]
    times = interleaved(
        {"ours": lambda: views.reduce(stack)[0], "peer": lambda: reduce_with_grid_sample(stack, inverse, valid)[0]}
    )
    rows.append(("reduce", times["peer"] / times["ours"], float((ours - theirs).abs().max())))
    return rows


def main() -> None:
    for threads in (1, torch.get_num_threads()):
        torch.set_num_threads(threads)
        for batch, channels in CASES:
            for what, ratio, error in measure(batch, channels):
                print(f"{threads} threads  B={batch:<3} C={channels}  {what:<20} {ratio:5.1f}x  difference {error:.1e}")


if __name__ == "__main__":
    main()
