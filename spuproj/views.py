"""``Views``: a set of projections of a slice, as a torch module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spuproj import functional
from spuproj import geometry as geo
from spuproj.checks import choice, pixel_size
from spuproj.geometry.by_size import Factory
from spuproj.geometry.module import GeometryModule
from spuproj.geometry.placement import frame, on_cpu, on_sphere, turned_flat, zoomed
from spuproj.geometry.selection import joined, picked, selected
from spuproj.geometry.table import Geometry, checked_table, exact_table
from spuproj.inputs import array_tensor, opened, opened_out
from spuproj.ops.prepare import chosen, prepare
from spuproj.plotting.notebook import html_of
from spuproj.portable import PortableViews

if TYPE_CHECKING:
    from spuproj.plotting.figure import ViewsFigure

Centers = Tensor | Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]
Image = Tensor | NDArray[Any]


class Views(GeometryModule):
    """N projections of a slice onto views, shared by the batch (``[N]``) or different for each sample (``[B, N]``).

    Build one with ``Views.spherical`` (SPU-Net), ``Views.zoom`` (LSU-Net) or ``Views.rigid`` (test-time augmentation),
    or from your own geometry. The geometry is a buffer: it moves with ``to(device)``, is part of ``state_dict()``, and
    stays float64 under ``half()`` or ``to(dtype)``. It has no gradient; that of ``LearnableViews`` has one.

    Args:
        geometry: ``[N]`` or ``[B, N]`` views.
        size: (H, W) of the slice, in pixels.
        view_size: (h, w) of a view, in pixels; ``size`` if None.

    Raises:
        ValueError: for no views, a size that is not two positive whole numbers, a radius, scale or spacing that is not
            positive and finite, a tangent point or pole that is not finite, an unknown profile code, a rotation that is
            not orthogonal, lengths beyond 1e8 pixels, or a gradient. Numbers on a GPU are not checked: it would wait.
        TypeError: for what is no ``Geometry``.
    """

    def __init__(self, geometry: Geometry, size: Sequence[int], view_size: Sequence[int] | None = None) -> None:
        height_width = pixel_size(size, "size")
        shown = height_width if view_size is None else pixel_size(view_size, "view_size")
        super().__init__(checked_table(geometry), height_width, shown)

    @classmethod
    def spherical(
        cls,
        size: Sequence[int],
        centers: Centers | None = None,
        *,
        grid: Sequence[int] | None = None,
        box: Sequence[float] | None = None,
        radius: float | None = None,
        lift: str = "gnomonic",
        chart: str = "equidistant",
        pose: str = "tangent",
        fit: str = "contain",
        centered: bool = True,
        magnification: float | None = None,
        view_size: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
    ) -> Views:
        """Projections onto a sphere from several positions, each magnifying the neighbourhood of its centre.

        Args:
            size: (H, W) of the slice.
            centers: ``[N, 2]`` or, per sample, ``[B, N, 2]`` points (y, x) of the slice, in pixels.
            grid: instead of ``centers``, (rows, columns) of equal cells over ``box``, whose centres are used.
            box: (y0, x0, y1, x1) that the grid covers, in pixels; the whole slice if None.
            radius: of the sphere, positive, in the unit of ``spacing``; half the larger side of the slice if None.
            lift: profile from the plane to the sphere, one of ``spuproj.PROFILES``.
            chart: profile from the sphere to the view, one of ``spuproj.PROFILES``.
            pose: ``"tangent"``: the sphere touches the slice at each centre. ``"turned"``: it touches at the slice's
                centre and is rotated by the shortest arc that brings each centre to the pole.
            fit: ``"contain"``: the largest scale at which the whole slice is inside the view. ``"box"``: the largest
                at which ``box`` is; slice pixels outside the view are then invalid.
            centered: whether each centre lands in the middle of its view. If False, it lands where the fit's scale is
                largest, so that what is shown fills the view.
            magnification: used instead of ``fit``: view pixels along the smaller side of a slice pixel at the pole
                (exactly so for ``"tangent"``), positive; slice pixels outside the view are then invalid.
            view_size: (h, w) of a view; if None, ``size``, or with anisotropic ``spacing`` enough square pixels.
            spacing: (height, width) of a slice pixel, for example in mm; defines the unit of lengths on the sphere
                and keeps the slice's proportions. (1, 1) if None, so lengths are in pixels.

        Raises:
            ValueError: for centres outside the slice or not finite, an empty list, an unknown name, a radius,
                magnification or spacing that is not positive and finite, or a chart that cannot show the whole slice.

        Examples:
            >>> views = Views.spherical(size=(240, 240), grid=(3, 3), box=(40, 50, 200, 190))
            >>> views
            Views(9 views, size=(240, 240), view_size=(240, 240))
        """
        placed = frame(size, view_size, spacing)
        with on_cpu(centers) as device:
            views = on_sphere(placed, centers, grid, box, radius, (lift, chart), pose, fit, centered, magnification)
            return cls(views, placed.size, placed.view_size).moved_to(device)

    @classmethod
    def zoom(
        cls,
        size: Sequence[int],
        centers: Centers | None = None,
        *,
        grid: Sequence[int] | None = None,
        box: Sequence[float] | None = None,
        factor: float = 2.0,
        view_size: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
    ) -> Views:
        """Linear scalings about each centre (LSU-Net): lift and chart are the same profile and cancel.

        Args:
            size: (H, W) of the slice.
            centers: ``[N, 2]`` or ``[B, N, 2]`` points (y, x), in pixels, each mapped to the centre of its view.
            grid, box: instead of ``centers``, see ``Views.spherical``.
            factor: number of view pixels along the smaller side of a slice pixel, positive.
            view_size, spacing: see ``Views.spherical``.

        Raises:
            ValueError: for centres outside the slice or not finite, or a factor or spacing that is not positive and
                finite.
        """
        placed = frame(size, view_size, spacing)
        with on_cpu(centers) as device:
            return cls(zoomed(placed, centers, grid, box, factor), placed.size, placed.view_size).moved_to(device)

    @classmethod
    def rigid(
        cls,
        size: Sequence[int],
        *,
        angles: Sequence[float] | None = None,
        degrees: Sequence[float] | None = None,
        flips: Sequence[str] = ("none",),
        view_size: Sequence[int] | None = None,
        spacing: Sequence[float] | None = None,
    ) -> Views:
        """Rotations and flips about the slice's centre (test-time augmentation): every angle with every flip.

        Args:
            size: (H, W) of the slice.
            angles: in radians; pi / 2 equals ``torch.rot90(image, 1, (-2, -1))``. If neither ``angles`` nor ``degrees``
                is given, the only angle is 0.
            degrees: the angles in degrees, instead of ``angles``.
            flips: any of ``"none"``, ``"horizontal"`` (left-right), ``"vertical"``, ``"both"``; after the rotation.
            view_size, spacing: see ``Views.spherical``.

        Raises:
            ValueError: for an empty list, both ``angles`` and ``degrees``, an angle not finite, or an unknown flip.
        """
        placed = frame(size, view_size, spacing)
        with on_cpu() as device:
            return cls(turned_flat(placed, angles, degrees, flips), placed.size, placed.view_size).moved_to(device)

    @staticmethod
    def factory(kind: str, **settings: Any) -> Factory[Views]:
        """Views for slices of any size: a function of the size, which keeps the views of the last few sizes.

        Args:
            kind: ``"spherical"``, ``"zoom"`` or ``"rigid"``, the constructor.
            settings: its arguments, except ``size``; a ``grid`` suits every size.

        Raises:
            ValueError: for another kind; when called, as the constructor does.
            TypeError: for settings that the constructor does not have.

        Examples:
            >>> make = Views.factory("spherical", grid=(3, 3))
            >>> make((64, 48))
            Views(9 views, size=(64, 48), view_size=(64, 48))
            >>> make((64, 48)) is make((64, 48))
            True
        """
        return Factory(getattr(Views, choice(kind, ("spherical", "zoom", "rigid"), "kind")), settings)

    @classmethod
    def from_table(cls, table: Tensor, size: Sequence[int], view_size: Sequence[int] | None = None) -> Views:
        """Views of a ``[N, 19]`` or ``[B, N, 19]`` geometry table. Raises as the constructor does."""
        return cls(Geometry.from_table(exact_table(table)), size, view_size)

    def project(
        self,
        image: Image,
        *,
        interpolation: str = "bilinear",
        padding: str = "constant",
        fill: float = 0,
        out_dtype: torch.dtype | None = None,
        memory_format: torch.memory_format | None = None,
        out: Tensor | None = None,
    ) -> Any:
        """Projects a slice onto every view.

        Args:
            image: ``[B, C, H, W]``, ``[C, H, W]`` or ``[H, W]``, tensor or NumPy array. Metadata of a
                subclass (such as MetaTensor's affine) is dropped, since it is not valid for a view.
            interpolation, padding, fill, out_dtype, memory_format, out: see ``spuproj.functional.project``.

        Returns:
            ``[B, N, C, h, w]``, ``[N, C, h, w]`` or ``[N, h, w]``; a tensor or an array, like the image.

        Raises:
            ValueError, TypeError: as ``spuproj.functional.project``, and for an image whose size is not ``size``.

        Examples:
            >>> views = Views.spherical(size=(64, 48), grid=(3, 3))
            >>> views.project(torch.rand(2, 4, 64, 48)).shape
            torch.Size([2, 9, 4, 64, 48])
        """
        tensor, restore = opened(image, "image", 4, self.size)
        target = None if out is None else opened_out(out, image.ndim)
        stack = functional.project(
            tensor,
            self.geometry,
            self.view_size,
            interpolation=interpolation,
            padding=padding,
            fill=fill,
            out_dtype=out_dtype,
            memory_format=memory_format,
            out=target,
        )
        return restore(stack) if out is None else out

    def unproject(self, stack: Image, *, interpolation: str = "bilinear") -> Any:
        """Maps every view back onto the slice: ``[B, N, C, h, w]`` -> ``[B, N, C, H, W]``.

        The stack may lack B, or B and C, and be an array. Arguments and errors as in ``spuproj.functional.unproject``;
        zero where the view does not show a slice pixel.
        """
        tensor, restore = opened(stack, "stack", 5, self.view_size)
        return restore(functional.unproject(tensor, self.geometry, self.size, interpolation=interpolation))

    def reduce(
        self,
        stack: Image,
        *,
        weights: Image | None = None,
        min_count: float = 1,
        fill: float = 0.0,
        interpolation: str = "bilinear",
    ) -> tuple[Any, Any, Any]:
        """(mean, variance, count) over the views that show each slice pixel, ``[B, C, H, W]`` each.

        Args:
            stack: ``[B, N, C, h, w]``, ``[N, C, h, w]`` or ``[N, h, w]``; results lack the same axes.
            weights: ``[N, H, W]`` or ``[B, N, H, W]``: the weight of each view at each slice pixel, a tensor or an
                array, such as ``border_weights(8)``; mean and variance are then weighted, and count is their sum.
            min_count: where count is smaller, the variance is ``fill``: 2 for pixels that one view alone shows; 1 for
                those that no view shows, however small the weights.
            fill: for pixels without a variance, or without a view; may be NaN.
            interpolation: see ``spuproj.functional.unproject_reduce``, also for all others and for errors.

        Examples:
            >>> views = Views.rigid(size=(64, 48), degrees=[-10, 0, 10], flips=["none", "horizontal"])
            >>> mean, variance, count = views.reduce(torch.rand(6, 1, 64, 48))
            >>> mean.shape, int(count.max())
            (torch.Size([1, 64, 48]), 6)
        """
        tensor, restore = opened(stack, "stack", 5, self.view_size)
        moments = functional.unproject_reduce(
            tensor,
            self.geometry,
            self.size,
            weights=array_tensor(weights, "weights") if isinstance(weights, np.ndarray) else weights,
            min_count=min_count,
            fill=fill,
            interpolation=interpolation,
        )
        mean, variance, count = map(restore, moments)
        return mean, variance, count

    def interpolation_variance(
        self, mask: Image, *, weights: Image | None = None, min_count: float = 1, fill: float = 0.0
    ) -> Any:
        """The variance, of the shape of ``mask``, that its views have without any network: ``reduce`` of ``project``.

        Views sample an edge at different places and interpolate it twice, so they differ there even where a network
        would agree with itself. This is the part of a variance map that is interpolation and not disagreement. It lies
        between 0 and 0.25 for values in [0, 1]; a larger ``view_size`` lowers it.

        Args:
            mask: a mask or probability ``[B, C, H, W]``, ``[C, H, W]`` or ``[H, W]``, tensor or array; masks of an
                integer or bool dtype become float32.
            weights, min_count, fill: see ``reduce``; those of the map that is compared.
        """
        tensor, restore = opened(mask, "mask", 4, self.size)
        stack = self.project(tensor if tensor.is_floating_point() else tensor.float())
        return restore(self.reduce(stack, weights=weights, min_count=min_count, fill=fill)[1])

    def prepare(
        self,
        *,
        interpolation: str = "bilinear",
        padding: str = "constant",
        dtype: torch.dtype = torch.float32,
        backward: bool = False,
    ) -> Views:
        """Computes ahead what calls on a GPU need, so that a CUDA graph captured afterwards does not at each replay.

        Such a graph reads memory that is freed with these views (also if they move) or by ``spuproj.empty_cache``; keep
        it as long as the graph is replayed. A change of the geometry after the capture has no effect on the graph.

        Args:
            interpolation, padding: of the calls, see ``project``.
            dtype: of the images and stacks; all but float64 are prepared alike.
            backward: whether to prepare gradients with respect to images and stacks too.

        Returns these views. Raises ValueError for an unknown name, or views on a GPU made in inference mode.
        """
        prepare(self.geometry, self.size, self.view_size, interpolation, padding, dtype, backward=backward)
        return self

    def forward(self, image: Image) -> Any:
        """``project`` with its default arguments."""
        return self.project(image)

    def slice_coordinates(self) -> tuple[Tensor, Tensor]:
        """Where in the slice each view pixel comes from: (y, x), ``[..., N, h, w]`` float64; NaN where invalid."""
        return geo.slice_coordinates(self.geometry, self.size, self.view_size)

    def view_coordinates(self) -> tuple[Tensor, Tensor]:
        """Where in the view each slice pixel lands: (v, u), ``[..., N, H, W]`` float64; NaN where invalid."""
        return geo.view_coordinates(self.geometry, self.size, self.view_size)

    def magnification(self) -> Tensor:
        """The local area factor, view area per slice area, ``[..., N, H, W]`` float64; NaN where invalid."""
        return geo.magnification(self.geometry.detach(), self.size, self.view_size)

    def portable(self) -> PortableViews:
        """These views as a module of plain torch operations, for ONNX, TorchScript, mobile and C++; see there."""
        return PortableViews(self.geometry.detach().clone(), self.size, self.view_size)

    def plot(self, image: Image | None = None, *, sample: int = 0, channel: int = 0) -> ViewsFigure:
        """A matplotlib figure: the slice with the views' numbers at their centres, and the views with its grid lines.

        Arguments and errors as in ``spuproj.plotting.figure.plot_views``, which needs matplotlib.
        """
        from spuproj.plotting.figure import plot_views

        return plot_views(self.geometry, self.size, self.view_size, image, sample=sample, channel=channel)

    def _repr_html_(self) -> str:
        return html_of(self.geometry, self.size, self.view_size, repr(self))

    def pick(self, index: Tensor | Sequence[int]) -> Views:
        """Selects one of the views for each sample of a batch; the result has a ``[B, 1]`` geometry.

        Args:
            index: ``[B]`` integers in [-N, N - 1], on any device. Indices on a GPU are not checked, since that would
                wait for the device.

        Raises:
            ValueError: for another shape or number of samples, or an index that is out of range.
        """
        return self.like(chosen(self.geometry, picked(self.geometry, index)))

    def __iter__(self) -> Iterator[Views]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Views:
        """Selects views by an integer (one view), slice, list or tensor of integers, or a mask ``[N]``.

        Raises IndexError for an index out of range and ValueError if no view is selected. Integers on a GPU are not
        checked, since that would wait for the device; for a mask there, the call waits.
        """
        return self.like(chosen(self.geometry, selected(self.geometry, index)))

    def __add__(self, other: Views) -> Views:
        """Concatenates the views of both. Raises ValueError if sizes or batch sizes differ."""
        return self.like(joined(self, other)) if isinstance(other, Views) else NotImplemented

    def __radd__(self, other: int) -> Views:
        """Makes ``sum`` of a list of views the views of all: it begins with 0."""
        return self if type(other) is int and other == 0 else NotImplemented

    def like(self, table: Tensor) -> Views:
        """Views of the same sizes with a table that is known to be valid; it may have a gradient."""
        views = Views.__new__(Views)
        GeometryModule.__init__(views, table, self.size, self.view_size)
        return views
