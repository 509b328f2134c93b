"""Peers on tensors: grid_sample in two layouts, kornia and MONAI in the better, the ``torch`` backend compiled.

16-bit floats and labels go through them as float32, casts included in the time: grid_sample takes 16-bit coordinates
with 16-bit planes, which are off by up to a pixel, and no integers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from kornia.geometry.transform import remap
from monai.networks.blocks import Warp
from monai.transforms import Resample
from torch import Tensor

from spuproj.backends.taps import Sampling
from spuproj.backends.torch import backend as torch_backend
from spuproj.benchmarks.cases import Case
from spuproj.benchmarks.layouts import LAYOUTS, Read, grid_sampler
from spuproj.benchmarks.problems import Problem, filled
from spuproj.benchmarks.samplers import Peer, Sampler


def _kornia(y: Tensor, x: Tensor, case: Case) -> Read:
    map_x, map_y = x.float(), y.float()
    return lambda planes: remap(planes, map_x, map_y, mode=case.interpolation, align_corners=True)


def _monai_warp(y: Tensor, x: Tensor, case: Case) -> Read:
    with warnings.catch_warnings():
        # MONAI says at every construction that its own kernels are not compiled in.
        warnings.simplefilter("ignore", UserWarning)
        warp = Warp(mode=case.interpolation, padding_mode="zeros")
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in case.size)
    displacement = torch.stack([y - rows[:, None], x - columns], dim=1).float()
    return lambda planes: warp(planes, displacement)


def _monai_resample(y: Tensor, x: Tensor, case: Case) -> Read:
    resample = Resample(mode=case.interpolation, padding_mode="zeros", dtype=torch.float32)
    height, width = case.size
    centred = torch.stack([y - (height - 1) / 2, x - (width - 1) / 2], dim=1).float()
    return lambda planes: torch.stack([resample(image, grid) for image, grid in zip(planes, centred, strict=True)])


def _cast(read: Read, case: Case) -> Read:
    if case.dtype == "float32":
        return read
    return lambda planes: read(planes.float()).to(case.torch_dtype)


def _sampler(make: Callable[[Tensor, Tensor, Case], Read], layout: str) -> Callable[[Problem], Sampler]:
    def build(problem: Problem) -> Sampler:
        case, placed = problem.case, LAYOUTS[layout](problem.case)
        y, x = (placed.spread(torch.from_numpy(filled(points))) for points in (problem.y, problem.x))
        return Sampler(placed.arrange, _cast(make(y, x, case), case), placed.restore)

    return build


def _compiled(problem: Problem) -> Sampler:
    """The coordinates are part of what is compiled, and computed at every call."""
    project, table = compiled_project(problem.case), problem.views.geometry
    return Sampler(lambda image: image, lambda image: project(image, table), lambda stack: stack)


def compiled_project(case: Case) -> Callable[[Tensor, Tensor], Tensor]:
    """The ``torch`` backend's ``project`` of an image and a table, coordinates and all, compiled."""
    precision = torch.float64 if case.torch_dtype == torch.float64 else torch.float32
    sampling = Sampling(case.size, case.size, False, case.interpolation == "nearest", False, precision)

    def project(image: Tensor, table: Tensor) -> Tensor:
        stack = image.new_empty(case.stack_shape)
        torch_backend.gather(image, table, sampling, stack, 0.0)
        return stack

    return torch.compile(project, fullgraph=True, dynamic=False)


def _float32(side: int) -> float:
    """Normalising to [-1, 1] and back in float32 rounds a few times."""
    return 8 * side * torch.finfo(torch.float32).eps


def _serves(name: str, layout: str) -> Callable[[Case], bool]:
    """Planes as channels need shared views. The other layout copies the image for each view, and is mostly slower."""
    if layout == "planes as channels":
        return lambda case: not case.per_sample
    return lambda case: case.per_sample or (name == "grid_sample" and not case.large)


def _serves_compiled(case: Case) -> bool:
    """Compiling the other ops takes minutes."""
    return case.op == "project"


TENSOR_PEERS = (
    *(
        Peer(name, layout, _sampler(make, layout), _serves(name, layout), _float32)
        for name, make in (
            ("grid_sample", grid_sampler),
            ("kornia", _kornia),
            ("MONAI Warp", _monai_warp),
            ("MONAI Resample", _monai_resample),
        )
        for layout in LAYOUTS
    ),
    Peer("torch.compile", "", _compiled, _serves_compiled, _float32),
)
