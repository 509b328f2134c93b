"""Helpers that several test files share: backends, random geometries, the reference as torch functions."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from backends_under_test import BACKENDS as BACKENDS
from spuproj import PROFILES, Geometry, reference
from spuproj.ops.checks import INTERPOLATIONS, PADDINGS

ROOT = Path(__file__).parents[1]
PAIRS = [(lift, chart) for lift in PROFILES for chart in PROFILES]

READS = {
    "project": "image",
    "project_adjoint": "stack",
    "unproject": "stack",
    "unproject_adjoint": "slices",
    "unproject_reduce": "stack",
}
LINEAR = tuple(READS)[:4]
VARIANTS = {
    "-".join((op, *options)): (op, options)
    for op in READS
    for interpolation in INTERPOLATIONS
    for options in (
        [(interpolation, padding) for padding in PADDINGS] if op.startswith("project") else [(interpolation,)]
    )
}
each_op = pytest.mark.parametrize("op", READS)
each_variant = pytest.mark.parametrize(("op", "options"), VARIANTS.values(), ids=VARIANTS)
_BILINEAR = {name: variant for name, variant in VARIANTS.items() if variant[1][0] == "bilinear"}
each_bilinear_variant = pytest.mark.parametrize(("op", "options"), _BILINEAR.values(), ids=_BILINEAR)
_OF_EACH_DTYPE = {
    f"{name}-{dtype}": (*variant, dtype)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16)
    for name, variant in (VARIANTS if dtype == torch.float32 else _BILINEAR).items()
}
each_variant_of_each_dtype = pytest.mark.parametrize(
    ("op", "options", "dtype"), _OF_EACH_DTYPE.values(), ids=_OF_EACH_DTYPE
)
"""Nearest interpolation differs in what is read, not in arithmetic, so that float32 alone has it."""
each_linear_variant = pytest.mark.parametrize(
    ("op", "options"),
    [variant for variant in VARIANTS.values() if variant[0] in LINEAR],
    ids=[name for name, (op, _) in VARIANTS.items() if op in LINEAR],
)


def random_geometry(
    seed: int,
    size: tuple[int, int],
    view_size: tuple[int, int],
    lift: str,
    chart: str,
    views: int = 1,
    tilt: float = 0.5,
) -> Geometry:
    """Views with random tangents, radii, scales, poles, spacings and sphere rotations of up to ``tilt`` radians."""
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
        pole=tensor((np.array(view_size) - 1) * random.uniform(0.3, 0.7, (views, 2))),
        lift=torch.full((views,), float(list(PROFILES).index(lift)), dtype=torch.float64),
        chart=torch.full((views,), float(list(PROFILES).index(chart)), dtype=torch.float64),
        rotation=tensor(np.stack(rotations)),
        spacing=tensor(random.choice([[1.0, 1.0], [0.8, 1.25]], views)),
    )


@st.composite
def tables(
    draw: st.DrawFn, size: tuple[int, int] = (13, 17), view_size: tuple[int, int] = (11, 15), max_views: int = 3
) -> torch.Tensor:
    """A geometry table of one to ``max_views`` views of any lift and chart."""
    lift, chart = draw(st.sampled_from(PAIRS))
    views = draw(st.integers(1, max_views))
    return random_geometry(draw(st.integers(0, 10**6)), size, view_size, lift, chart, views).table()


def ref(name: str, tensor: torch.Tensor, table: torch.Tensor, wanted: tuple[int, int], *options: str | float) -> Any:
    """Wraps a reference op for torch tensors, in float64."""
    result = getattr(reference, name)(tensor.double().numpy(), table.numpy(), wanted, *options)
    return tuple(map(torch.from_numpy, result)) if isinstance(result, tuple) else torch.from_numpy(result)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normal noise, identical at every call."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def source_shape(
    op: str, views: int, size: tuple[int, int], view_size: tuple[int, int], batch: int = 2, channels: int = 3
) -> tuple[int, ...]:
    """Shape of the tensor that an op reads."""
    wanted = view_size if READS[op] == "stack" else size
    return (batch, channels, *wanted) if READS[op] == "image" else (batch, views, channels, *wanted)


def target_size(op: str, size: tuple[int, int], view_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of an op's result, which is its third argument."""
    return view_size if op in ("project", "unproject_adjoint") else size


def parts(result: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The results of an op, as a tuple for every op."""
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def doubles(result: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(part.double() for part in parts(result))


def same_bits(first: tuple[torch.Tensor, ...], second: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def every_result(
    table: torch.Tensor, size: tuple[int, int], view_size: tuple[int, int], batch: int, channels: int
) -> dict[str, tuple[torch.Tensor, ...]]:
    """Results of all six ops on float32 noise, of those that take weights also with weights."""
    ops, views = torch.ops.spuproj, table.shape[-2]
    results = {}
    for op in READS:
        tensor = noise(*source_shape(op, views, size, view_size, batch, channels))
        results[op] = parts(getattr(ops, op)(tensor, table, target_size(op, size, view_size)))
    mean, variance, count = results["unproject_reduce"]
    stack = noise(batch, views, channels, *view_size)
    results["unproject_reduce_backward"] = (ops.unproject_reduce_backward(mean, variance, stack, table, mean, count),)
    weights = noise(views, *size, seed=1).abs() - 0.3
    weights = weights.clamp(min=0)
    results["weighted_reduce"] = moments = ops.unproject_reduce(stack, table, size, "bilinear", weights)
    arguments = (mean, variance, stack, table, moments[0], moments[2], "bilinear", weights)
    results["weighted_reduce_backward"] = (ops.unproject_reduce_backward(*arguments),)
    return results


def refused(error: type[Exception], message: str, call: Callable[[], Any]) -> None:
    """Asserts that a call raises an error whose message contains this text."""
    with pytest.raises(error, match=re.escape(message)):
        call()


def error_cases(*rows: tuple[str, type[Exception], str, Callable[[], Any]]) -> pytest.MarkDecorator:
    """Parametrizes a test by rows of an id and the arguments of ``refused``."""
    return pytest.mark.parametrize(
        ("error", "message", "call"), [row[1:] for row in rows], ids=[row[0] for row in rows]
    )


def python_environment() -> dict[str, str]:
    """The environment of an interpreter that can import these helpers, also where PYTHONSAFEPATH is set."""
    paths = (str(ROOT / "tests"), os.environ.get("PYTHONPATH"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter that can import these helpers."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**python_environment(), **environment},
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        check=False,
    )
