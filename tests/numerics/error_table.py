"""The largest rounding error of every op, dtype and SIMD level.

``.venv/bin/python tests/numerics/error_table.py`` writes the table of ``docs/reliability.md`` anew. An error is counted
in ulp: in units of the last place, in the result's dtype, of the magnitude of the result (``numerics/exact.py``).
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import PAIRS, noise, random_geometry, run_python
from numerics.exact import (
    Both,
    Corners,
    Exact,
    extended,
    gather,
    moments,
    moments_gradient,
    scatter,
    slice_reads_view,
    view_reads_slice,
)
from spuproj.backends import cpu

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
START, END = "<!-- largest errors: tests/numerics/error_table.py -->", "<!-- end of largest errors -->"
DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
}
PLANES = ((1, 1), (1, 5), (2, 11))
"""Batch and channels: kernels of 1, 4 and 16 planes."""
FULL = 200
"""Geometries behind the table."""

Errors = dict[str, dict[str, float]]
"""The largest error by result and dtype, in ulp."""


def geometry_of(seed: int) -> tuple[torch.Tensor, tuple[int, int], tuple[int, int]]:
    """Three views without rims in sight, near which a coordinate has fewer digits; the slice's size and the views'."""
    size, view_size = (19 + seed % 7, 31 - seed % 5), (27 - seed % 3, 21 + seed % 6)
    lift, chart = PAIRS[seed % len(PAIRS)]
    views = random_geometry(seed, size, view_size, lift, chart, views=3, tilt=0.3).table()
    random = torch.Generator().manual_seed(seed)
    views[:, 2] = max(size) * (1.6 + torch.rand(3, generator=random))
    views[:, 3] = max(view_size) * (1.1 + torch.rand(3, generator=random))
    return views, size, view_size


Results = dict[str, tuple[torch.Tensor, Both]]
"""What ops give, with the exact result and its magnitude."""


def flat(tensor: torch.Tensor) -> Exact:
    return extended(tensor.flatten(-2))


def sized(function: Callable[..., Exact], source: Exact, at: Corners, *given: int) -> Both:
    return function(source, at, *given), function(np.abs(source), at.full, *given)


def linear_results(seed: int, dtype: torch.dtype) -> Results:
    ops, (table, size, view_size), (batch, channels) = torch.ops.spuproj, geometry_of(seed), PLANES[seed % len(PLANES)]
    views, slices = view_reads_slice(table, size, view_size), slice_reads_view(table, size, view_size)
    image = noise(batch, channels, *size, seed=seed, dtype=dtype)
    stack = noise(batch, 3, channels, *view_size, seed=seed + 1, dtype=dtype)
    back = noise(batch, 3, channels, *size, seed=seed + 2, dtype=dtype)
    value, magnitude = sized(scatter, flat(stack), views, size[0] * size[1])
    spread = sized(scatter, flat(back), slices, view_size[0] * view_size[1])
    return {
        "project": (ops.project(image, table, view_size), sized(gather, flat(image.unsqueeze(1)), views)),
        "project_adjoint": (ops.project_adjoint(stack, table, size), (value.sum(axis=1), magnitude.sum(axis=1))),
        "unproject": (ops.unproject(stack, table, size), sized(gather, flat(stack), slices)),
        "unproject_adjoint": (ops.unproject_adjoint(back, table, view_size), spread),
    }


def moment_results(seed: int, dtype: torch.dtype) -> Results:
    ops, (table, size, view_size), (batch, channels) = torch.ops.spuproj, geometry_of(seed), PLANES[seed % len(PLANES)]
    slices = slice_reads_view(table, size, view_size)
    stack = noise(batch, 3, channels, *view_size, seed=seed + 1, dtype=dtype)
    grads = tuple(noise(batch, channels, *size, seed=seed + n, dtype=dtype) for n in (2, 3))
    found: Results = {}
    for name, weights in (("", None), ("weighted ", noise(3, *size, seed=seed + 4, dtype=dtype).abs() + 0.1)):
        mean, variance, count = ops.unproject_reduce(stack, table, size, "bilinear", weights)
        used = np.ones(1) if weights is None else flat(weights)
        exact = moments(flat(stack), slices, used)
        found |= {f"{name}mean": (mean, exact["mean"]), f"{name}variance": (variance, exact["variance"])}
        grad = ops.unproject_reduce_backward(*grads, stack, table, mean, count, "bilinear", weights)
        given = (flat(grads[0]), flat(grads[1])), flat(stack), slices, flat(mean), used, flat(count)
        found[f"{name}reduce_backward"] = grad, moments_gradient(*given)
    return found


def in_ulp(result: torch.Tensor, exact: Both) -> float:
    """The largest difference in units of the last place of the magnitude."""
    limits = torch.finfo(result.dtype)
    value, magnitude = (each.reshape(result.shape) for each in exact)
    unit = np.ldexp(np.longdouble(limits.eps), np.frexp(np.maximum(magnitude, limits.tiny))[1] - 1)
    return float((np.abs(extended(result) - value) / unit).max())


def measured(seeds: range) -> Errors:
    """The largest errors over these geometries, at the SIMD level of this process."""
    largest: Errors = {}
    for seed in seeds:
        for name, dtype in DTYPES.items():
            for op, (result, exact) in (linear_results(seed, dtype) | moment_results(seed, dtype)).items():
                row = largest.setdefault(op, {})
                row[name] = max(row.get(name, 0.0), in_ulp(result, exact))
    return largest


def measured_at(level: str, geometries: int) -> Errors:
    """The same at a SIMD level, in a process of its own."""
    code = f"import json; from numerics import error_table as t; print(json.dumps(t.measured(range({geometries}))))"
    run = run_python(code, SPUPROJ_SIMD=level)
    if run.returncode:
        raise RuntimeError(run.stderr)
    found: Errors = json.loads(run.stdout)
    return found


def written(tables: dict[str, Errors]) -> str:
    """The errors of every level as a table in Markdown, rounded up to hundredths."""
    rows = [f"| result | SIMD level | {' | '.join(DTYPES)} |", f"|---|---|{'---:|' * len(DTYPES)}"]
    for op in next(iter(tables.values())):
        for level, errors in tables.items():
            cells = [f"{np.ceil(errors[op][name] * 100) / 100:.2f}" for name in DTYPES]
            rows.append(f"| {op} | {level} | {' | '.join(cells)} |")
    return "\n".join(rows)


def committed() -> dict[str, Errors]:
    """The table of the page, by SIMD level."""
    tables: dict[str, Errors] = {}
    for line in PAGE.read_text().split(START)[1].split(END)[0].strip().splitlines()[2:]:
        op, level, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        tables.setdefault(level, {})[op] = dict(zip(DTYPES, map(float, cells), strict=True))
    return tables


if __name__ == "__main__":
    tables = committed() | {level: measured_at(level, FULL) for level in cpu.simd_levels()}
    before, _, rest = PAGE.read_text().partition(START)
    PAGE.write_text(f"{before}{START}\n\n{written(tables)}\n\n{END}{rest.partition(END)[2]}")
