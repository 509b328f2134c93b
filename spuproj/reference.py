"""The reference: every op in float64 NumPy, one view and one equation at a time, written for readability.

Backends are tested against this module; it is not fast. A geometry is the ``[N, 19]`` table of
``spuproj.geometry.Geometry.table``; the equations are those of ``docs/geometry.md`` (Snyder 1987).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TOLERANCE = 1e-6
"""A point this close to a border counts as on it, in pixels."""


class Profile(NamedTuple):
    """L(theta) of an azimuthal projection, its inverse, the end of its domain (included if L is finite) and L there."""

    radius: Callable[[Array], Array]
    inverse: Callable[[Array], Array]
    theta_limit: float
    radius_limit: float


PROFILES = {
    "gnomonic": Profile(np.tan, np.arctan, np.pi / 2, np.inf),
    "stereographic": Profile(lambda theta: 2 * np.tan(theta / 2), lambda s: 2 * np.arctan(s / 2), np.pi, np.inf),
    "equidistant": Profile(lambda theta: theta, lambda s: s, np.pi, np.pi),
    "equal_area": Profile(lambda theta: 2 * np.sin(theta / 2), lambda s: 2 * np.arcsin(s / 2), np.pi, 2.0),
    "orthographic": Profile(np.sin, np.arcsin, np.pi / 2, 1.0),
}


class Plane(NamedTuple):
    """A plane that touches the sphere: where, in its pixels; its profile and scale; the spacing of its pixels."""

    origin: Array
    profile: Profile
    scale: float
    spacing: Array


def planes_of(row: Array) -> tuple[Plane, Plane, Array]:
    """The slice's plane, the view's plane and the rotation ``[3, 3]`` of one ``[19]`` row of a geometry table."""
    tangent, (radius, scale), pole, codes, rotation, spacing = np.split(row, [2, 4, 6, 8, 17])
    lift, chart = (list(PROFILES.values())[int(code)] for code in codes)
    return Plane(tangent, lift, radius, spacing), Plane(pole, chart, scale, np.ones(2)), rotation.reshape(3, 3)


def _plane_to_plane(start: Plane, end: Plane, rotation: Array, y: Array, x: Array) -> tuple[Array, Array]:
    """Maps points of one plane to the other: r -> theta -> s -> A s -> theta' -> rho; NaN outside the domains."""
    profile, scale = start.profile, start.scale
    dy, dx = (y - start.origin[0]) * start.spacing[0], (x - start.origin[1]) * start.spacing[1]
    r = np.hypot(dy, dx)
    phi = np.arctan2(dy, dx)
    on_sphere = r / scale <= profile.radius_limit + TOLERANCE / scale
    theta = profile.inverse(np.where(on_sphere, np.minimum(r / scale, profile.radius_limit), 0.0))
    s = np.stack([np.sin(theta) * np.sin(phi), np.sin(theta) * np.cos(phi), np.cos(theta)])
    turned = np.einsum("ij,jhw->ihw", rotation, s)
    theta_end = np.arctan2(np.hypot(turned[0], turned[1]), turned[2])
    phi_end = np.arctan2(turned[0], turned[1])
    limit = end.profile.theta_limit
    inside = theta_end <= limit + 1e-12 if np.isfinite(end.profile.radius_limit) else theta_end < limit
    rho = np.where(on_sphere & inside, end.scale * end.profile.radius(np.where(inside, theta_end, 0.0)), np.nan)
    offset = rho * np.sin(phi_end) / end.spacing[0], rho * np.cos(phi_end) / end.spacing[1]
    return end.origin[0] + offset[0], end.origin[1] + offset[1]


def to_view(row: Array, y: Array, x: Array) -> tuple[Array, Array]:
    """Where slice points ``[P, Q]`` land in the view of a row, NaN beyond the profiles' domains."""
    plane, view, rotation = planes_of(row)
    return _plane_to_plane(plane, view, rotation, y, x)


def to_slice(row: Array, v: Array, u: Array) -> tuple[Array, Array]:
    """Where view points ``[P, Q]`` come from in the slice: the same chain backwards."""
    plane, view, rotation = planes_of(row)
    return _plane_to_plane(view, plane, rotation.T, v, u)


def _pixels(size: tuple[int, int]) -> tuple[Array, Array]:
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    return y, x


def _inside(y: Array, x: Array, size: tuple[int, int]) -> tuple[Array, Array]:
    inside = (y >= -TOLERANCE) & (y <= size[0] - 1 + TOLERANCE) & (x >= -TOLERANCE) & (x <= size[1] - 1 + TOLERANCE)
    y, x = np.where(inside, y, np.nan), np.where(inside, x, np.nan)
    return np.clip(y, 0, size[0] - 1), np.clip(x, 0, size[1] - 1)


def slice_coordinates(table: Array, size: tuple[int, int], view_size: tuple[int, int]) -> tuple[Array, Array]:
    """Where in the slice each view pixel comes from: (y, x), ``[N, h, w]`` each, NaN where invalid."""
    pairs = [_inside(*to_slice(row, *_pixels(view_size)), size) for row in table]
    return np.stack([y for y, _ in pairs]), np.stack([x for _, x in pairs])


def view_coordinates(table: Array, size: tuple[int, int], view_size: tuple[int, int]) -> tuple[Array, Array]:
    """Where in the view each slice pixel lands: (v, u), ``[N, H, W]`` each, NaN where invalid."""
    pairs = [_inside(*to_view(row, *_pixels(size)), view_size) for row in table]
    return np.stack([v for v, _ in pairs]), np.stack([u for _, u in pairs])


def weights(y: Array, x: Array, size: tuple[int, int], interpolation: str) -> Array:
    """The sampling matrix ``[P, H W]`` of points (y, x): row p holds the weights of the source pixels of point p."""
    matrix = np.zeros((y.size, size[0] * size[1]))
    for p, (row, column) in enumerate(zip(y.ravel(), x.ravel(), strict=True)):
        if np.isnan(row) or np.isnan(column):
            continue
        if interpolation == "nearest":
            row, column = np.floor(row + 0.5), np.floor(column + 0.5)
        top, left = int(row), int(column)
        for i, weight_y in ((top, 1 - (row - top)), (top + 1, row - top)):
            for j, weight_x in ((left, 1 - (column - left)), (left + 1, column - left)):
                if weight_y * weight_x > 0:
                    matrix[p, i * size[1] + j] += weight_y * weight_x
    return matrix


def project_matrices(
    table: Array,
    size: tuple[int, int],
    view_size: tuple[int, int],
    interpolation: str = "bilinear",
    padding: str = "constant",
) -> Array:
    """``project`` of one plane as matrices ``[N, h w, H W]``."""
    if padding == "border":
        pairs = [to_slice(row, *_pixels(view_size)) for row in table]
        clipped = [(np.clip(y, 0, size[0] - 1), np.clip(x, 0, size[1] - 1)) for y, x in pairs]
    else:
        clipped = list(zip(*slice_coordinates(table, size, view_size), strict=True))
    return np.stack([weights(y, x, size, interpolation) for y, x in clipped])


def unproject_matrices(
    table: Array, size: tuple[int, int], view_size: tuple[int, int], interpolation: str = "bilinear"
) -> Array:
    """``unproject`` of one plane as matrices ``[N, H W, h w]``."""
    pairs = zip(*view_coordinates(table, size, view_size), strict=True)
    return np.stack([weights(v, u, view_size, interpolation) for v, u in pairs])


def apply(matrices: Array, planes: Array, size: tuple[int, int]) -> Array:
    """Matrices ``[N, P, K]`` on planes ``[B, N or 1, C, ., .]`` of K pixels -> ``[B, N, C, *size]``."""
    batch, _, channels, *_ = planes.shape
    flat = np.broadcast_to(planes.reshape(*planes.shape[:3], -1), (batch, len(matrices), channels, matrices.shape[2]))
    result: Array = np.einsum("npk,bnck->bncp", matrices, flat).reshape(*flat.shape[:3], *size)
    return result


def project(
    image: Array,
    table: Array,
    view_size: tuple[int, int],
    interpolation: str = "bilinear",
    padding: str = "constant",
    fill: float = 0.0,
) -> Array:
    """Views ``[B, N, C, h, w]`` of an image ``[B, C, H, W]``."""
    size = (image.shape[-2], image.shape[-1])
    matrices = project_matrices(table, size, view_size, interpolation, padding)
    reads = (matrices.sum(axis=2) > 0).reshape(1, len(table), 1, *view_size)
    return np.where(reads, apply(matrices, image[:, None], view_size), fill)


def project_adjoint(
    stack: Array, table: Array, size: tuple[int, int], interpolation: str = "bilinear", padding: str = "constant"
) -> Array:
    """The transpose of ``project``: ``[B, N, C, h, w]`` -> ``[B, C, H, W]``."""
    view_size = (stack.shape[-2], stack.shape[-1])
    matrices = project_matrices(table, size, view_size, interpolation, padding)
    image: Array = apply(matrices.transpose(0, 2, 1), stack, size).sum(axis=1)
    return image


def unproject(stack: Array, table: Array, size: tuple[int, int], interpolation: str = "bilinear") -> Array:
    """Slices ``[B, N, C, H, W]`` of views ``[B, N, C, h, w]``; zero where the view does not show the pixel."""
    view_size = (stack.shape[-2], stack.shape[-1])
    return apply(unproject_matrices(table, size, view_size, interpolation), stack, size)


def unproject_adjoint(
    slices: Array, table: Array, view_size: tuple[int, int], interpolation: str = "bilinear"
) -> Array:
    """The transpose of ``unproject``: ``[B, N, C, H, W]`` -> ``[B, N, C, h, w]``."""
    size = (slices.shape[-2], slices.shape[-1])
    matrices = unproject_matrices(table, size, view_size, interpolation)
    return apply(matrices.transpose(0, 2, 1), slices, view_size)


def unproject_reduce(
    stack: Array, table: Array, size: tuple[int, int], interpolation: str = "bilinear", weights: Array | None = None
) -> tuple[Array, Array, Array]:
    """Mean, population variance and count ``[B, C, H, W]`` over the valid views of each pixel; zeros where none is.

    With weights, ``[N, H, W]`` or ``[B, N, H, W]``, mean and variance are weighted, and count is their sum.
    """
    slices = unproject(stack, table, size, interpolation)
    view_size = (stack.shape[-2], stack.shape[-1])
    valid = ~np.isnan(view_coordinates(table, size, view_size)[0])[None, :, None]
    given = np.ones((1, *valid.shape[1:])) if weights is None else weights[..., None, :, :]
    weight = np.broadcast_to(np.where(valid, given, 0), slices.shape)
    count = weight.sum(axis=1)
    divisor = np.where(count > 0, count, 1)
    mean = (weight * slices).sum(axis=1) / divisor
    squares = weight * (slices - mean[:, None]) ** 2
    return mean, squares.sum(axis=1) / divisor, count
