"""The parameters of views, and the float64 table that carries them to the ops."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from spuproj.checks import refuse_gradient
from spuproj.geometry.profiles import check_codes
from spuproj.inputs import plain_tensor

COLUMNS = 19
"""Columns of a geometry table: tangent (2), radius, scale, pole (2), lift, chart, rotation (9), spacing (2)."""

LARGEST = 1e8
"""Largest length of a view's geometry, in pixels; the smallest radius and scale are 1 / LARGEST.

A rounding of a float64 number of this size is at most 1e-8 pixels, so that the roundings of a whole coordinate stay
below 1e-6 pixels, within which a point counts as on a border.
"""

_LARGEST_SPACING = 1e100
"""The square of 1e8 pixels of this spacing, and of its reciprocal, is a float64 number."""


@dataclass(frozen=True)
class Geometry:
    """The parameters of views, as float64 tensors with leading axes ``...``: ``[N]``, or ``[B, N]`` per sample.

    Attributes:
        tangent: ``[..., 2]``, the slice point (y, x) that the sphere touches, in slice pixels.
        radius: ``[...]``, the sphere's radius, in the unit of ``spacing``.
        scale: ``[...]``, the chart's scale k, in view pixels; k / radius is the magnification at the pole.
        pole: ``[..., 2]``, the view pixel (y, x) onto which the pole is mapped.
        lift: ``[...]``, code (position in ``PROFILES``) of the profile from the plane to the sphere.
        chart: ``[...]``, code of the profile from the sphere to the view.
        rotation: ``[..., 3, 3]``, orthogonal matrix on vectors (y, x, pole); determinant -1 for a mirrored view.
        spacing: ``[..., 2]``, (height, width) of a slice pixel, for example in mm; (1, 1) for lengths in pixels.
    """

    tangent: Tensor
    radius: Tensor
    scale: Tensor
    pole: Tensor
    lift: Tensor
    chart: Tensor
    rotation: Tensor
    spacing: Tensor

    def table(self) -> Tensor:
        """Packs the parameters into the ``[..., 19]`` float64 table that the ops take."""
        columns = [values.unsqueeze(-1).flatten(self.radius.dim()) for values in vars(self).values()]
        return torch.cat([column.to(torch.float64) for column in columns], dim=-1)

    @staticmethod
    def from_table(table: Tensor) -> "Geometry":
        """Unpacks a ``[..., 19]`` table; the fields are views of it."""
        tangent, radius, scale, pole, lift, chart, rotation, spacing = table.split([2, 1, 1, 2, 1, 1, 9, 2], dim=-1)
        radius, scale, lift, chart = (column.squeeze(-1) for column in (radius, scale, lift, chart))
        return Geometry(tangent, radius, scale, pole, lift, chart, rotation.unflatten(-1, (3, 3)), spacing)


FIELDS = tuple(field.name for field in fields(Geometry))
"""The names of the parameters, in the order of the table."""


def exact_table(table: Tensor) -> Tensor:
    """A user's table as a plain tensor. Raises ValueError for another shape, and TypeError for another dtype."""
    table = plain_tensor(table, "table")
    if table.dim() not in (2, 3) or table.shape[-1] != COLUMNS:
        raise ValueError(f"table must be of shape [N, {COLUMNS}] or [B, N, {COLUMNS}], got {tuple(table.shape)}")
    if table.dtype != torch.float64:
        raise TypeError(f"table must be float64, since its last digits tell pixels apart, got {table.dtype}")
    return table


def check_table(table: Tensor) -> None:
    """Raises ValueError if a table on the CPU contains the code of no profile."""
    geometry = Geometry.from_table(table)
    check_codes(geometry.lift, "lift")
    check_codes(geometry.chart, "chart")


def checked_table(geometry: Geometry) -> Tensor:
    """Packs a user's geometry into a checked table. Raises as ``spuproj.Views`` does.

    Numbers on a GPU are not checked, since that would wait for the device.
    """
    if not isinstance(geometry, Geometry):
        kind = type(geometry).__name__
        raise TypeError(
            f"geometry must be a Geometry, got {kind}; Views.from_table takes a table, such as views.geometry"
        )
    _check_fields(geometry)
    table = plain_tensor(geometry.table(), "geometry")
    if table.dim() not in (2, 3) or table.shape[-2] == 0:
        raise ValueError(f"views must be a list of at least one view, [N] or [B, N], got {tuple(table.shape[:-1])}")
    for values in vars(geometry).values():
        refuse_gradient(values, "geometry")
    if not table.is_meta and not table.is_cuda:
        check_numbers(geometry)
    return table.contiguous()


_TRAILING = {"tangent": (2,), "pole": (2,), "rotation": (3, 3), "spacing": (2,)}
"""Axes of a field behind those of the views."""


def _check_fields(geometry: Geometry) -> None:
    """Raises TypeError for a field that is no tensor, and ValueError for one whose shape is not that of the views."""
    for name, values in vars(geometry).items():
        plain_tensor(values, name)
    views = geometry.radius.shape
    for name, values in vars(geometry).items():
        if values.shape != (wanted := (*views, *_TRAILING.get(name, ()))):
            raise ValueError(
                f"{name} must be of shape {wanted}, as radius is of {tuple(views)}, got {tuple(values.shape)}"
            )


def check_numbers(geometry: Geometry) -> None:
    """Raises ValueError that names the parameter if its numbers are not valid for a view."""
    for name in ("radius", "scale", "spacing"):
        values: Tensor = getattr(geometry, name)
        bad = ~((values > 0) & torch.isfinite(values))
        if bool(bad.any()):
            raise ValueError(f"{name} must be positive and finite, got {values[bad][0].item()}")
    check_codes(geometry.lift, "lift")
    check_codes(geometry.chart, "chart")
    for name in ("tangent", "pole", "rotation"):
        if not bool(torch.isfinite(getattr(geometry, name)).all()):
            raise ValueError(f"{name} must be finite, got {getattr(geometry, name).tolist()}")
    product = geometry.rotation @ geometry.rotation.transpose(-1, -2)
    identity = torch.eye(3, dtype=product.dtype, device=product.device)
    if not torch.allclose(product, identity.expand_as(product), atol=1e-9):
        raise ValueError(f"rotation must be orthogonal, got {geometry.rotation.tolist()}")
    check_lengths(geometry)


def check_lengths(geometry: Geometry) -> None:
    """Raises ValueError for lengths with which coordinates would lose the digits that tell pixels apart."""
    radius, smallest = geometry.radius.unsqueeze(-1) / geometry.spacing, 1 / LARGEST
    _check_range("spacing", geometry.spacing, 1 / _LARGEST_SPACING, _LARGEST_SPACING, "in its unit")
    _check_range("radius", radius, smallest, LARGEST, "slice pixels")
    _check_range("scale", geometry.scale, smallest, LARGEST, "view pixels (magnification times radius)")
    _check_range("tangent", geometry.tangent, -LARGEST, LARGEST, "slice pixels")
    _check_range("pole", geometry.pole, -LARGEST, LARGEST, "view pixels")


def _check_range(name: str, values: Tensor, low: float, high: float, unit: str) -> None:
    # NaN is no number of the range.
    bad = ~((values >= low) & (values <= high))
    if bool(bad.any()):
        raise ValueError(
            f"{name} must be from {low:g} to {high:g} {unit}, since coordinates lose their digits beyond, "
            f"got {values[bad][0].item():g}"
        )
