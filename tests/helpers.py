"""What several test files share: backends under test, random geometries, the reference as torch functions."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import strategies as st

from spuproj import PROFILES, Geometry, reference
from spuproj.backends import cpu
from spuproj.backends import torch as torch_backend

BACKENDS = {"cpu": cpu, "torch": torch_backend}
PAIRS = [(lift, chart) for lift in PROFILES for chart in PROFILES]


def random_geometry(
    seed: int,
    size: tuple[int, int],
    view_size: tuple[int, int],
    lift: str,
    chart: str,
    views: int = 1,
    tilt: float = 0.5,
) -> Geometry:
    """Views with random tangent points, radii, scales, origins and rotations of the sphere by up to ``tilt`` radians."""
    random = np.random.default_rng(seed)
    rotations = []
    for _ in range(views):
        axis = random.normal(size=3)
        axis /= np.linalg.norm(axis)
        angle = random.uniform(-tilt, tilt)
        skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        rotation = np.eye(3) + math.sin(angle) * skew + (1 - math.cos(angle)) * skew @ skew
        rotations.append(np.diag([1.0, random.choice([-1.0, 1.0]), 1.0]) @ rotation)
    larger = max(size)
    tensor = torch.as_tensor
    return Geometry(
        tangent=tensor(random.uniform(0, 1, (views, 2)) * (np.array(size) - 1)),
        radius=tensor(random.uniform(0.4, 1.5, views) * larger),
        scale=tensor(random.uniform(0.3, 0.9, views) * max(view_size)),
        origin=tensor((np.array(view_size) - 1) * random.uniform(0.3, 0.7, (views, 2))),
        lift=torch.full((views,), float(PROFILES.index(lift)), dtype=torch.float64),
        chart=torch.full((views,), float(PROFILES.index(chart)), dtype=torch.float64),
        rotation=tensor(np.stack(rotations)),
    )


@st.composite
def tables(draw, size=(13, 17), view_size=(11, 15), max_views=3):
    """A geometry table of one to ``max_views`` views of any lift and chart."""
    lift, chart = draw(st.sampled_from(PAIRS))
    views = draw(st.integers(1, max_views))
    return random_geometry(draw(st.integers(0, 10**6)), size, view_size, lift, chart, views).table()


def ref(name: str, tensor: torch.Tensor, table: torch.Tensor, raster: tuple[int, int], *options: str):
    """A reference op on torch tensors, in float64."""
    result = getattr(reference, name)(tensor.double().numpy(), table.numpy(), raster, *options)
    return tuple(map(torch.from_numpy, result)) if isinstance(result, tuple) else torch.from_numpy(result)
