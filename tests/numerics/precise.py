"""Coordinates and derivatives with 60 digits (mpmath), after the equations of ``docs/geometry.md``."""

from collections.abc import Callable, Sequence

import torch
from mpmath import asin, atan, atan2, cos, hypot, mp, mpf, sin, tan

mp.dps = 60
Row = Sequence[mpf]
"""A row of a geometry table."""

# (L, its inverse) by code.
PROFILES: tuple[tuple[Callable[[mpf], mpf], Callable[[mpf], mpf]], ...] = (
    (tan, atan),
    (lambda theta: 2 * tan(theta / 2), lambda s: 2 * atan(s / 2)),
    (lambda theta: theta, lambda s: s),
    (lambda theta: 2 * sin(theta / 2), lambda s: 2 * asin(s / 2)),
    (sin, asin),
)


def row_of(numbers: torch.Tensor) -> list[mpf]:
    return [mpf(number) for number in numbers.tolist()]


def lands(row: Row, y: mpf, x: mpf, *, inverse: bool) -> tuple[mpf, mpf]:
    """Where slice point (y, x) lands in the view; with ``inverse``, where view point (y, x) comes from."""
    planes = [(row[0:2], row[2], int(row[6]), row[17:19]), (row[4:6], row[3], int(row[7]), (mpf(1), mpf(1)))]
    matrix = [row[8:11], row[11:14], row[14:17]]
    if inverse:
        planes.reverse()
        matrix = [list(column) for column in zip(*matrix, strict=True)]
    (origin, scale, code, spacing), (end, end_scale, end_code, end_spacing) = planes
    dy, dx = (y - origin[0]) * spacing[0], (x - origin[1]) * spacing[1]
    theta, phi = PROFILES[code][1](hypot(dy, dx) / scale), atan2(dy, dx)
    s = sin(theta) * sin(phi), sin(theta) * cos(phi), cos(theta)
    turned = [sum(a * b for a, b in zip(line, s, strict=True)) for line in matrix]
    rho = end_scale * PROFILES[end_code][0](atan2(hypot(*turned[:2]), turned[2]))
    azimuth = atan2(*turned[:2])
    return end[0] + rho * sin(azimuth) / end_spacing[0], end[1] + rho * cos(azimuth) / end_spacing[1]


def corners(y: mpf, x: mpf, at: tuple[int, int]) -> dict[tuple[int, int], mpf]:
    """The weights of the four pixels around (y, x), the first of which is ``at``."""
    b, a = y - at[0], x - at[1]
    weights = (1 - b) * (1 - a), (1 - b) * a, b * (1 - a), b * a
    return {(at[0] + n // 2, at[1] + n % 2): weight for n, weight in enumerate(weights)}


def derivative(function: Callable[[mpf], list[mpf]], at: mpf) -> list[mpf]:
    """Derivatives of the numbers that a function returns: central differences, right to some 40 digits."""
    step = mpf(10) ** -22
    ends = function(at + step), function(at - step)
    return [(above - below) / (2 * step) for above, below in zip(*ends, strict=True)]
