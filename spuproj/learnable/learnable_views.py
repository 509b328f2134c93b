"""``LearnableViews``: views whose centres, radii, magnifications and angles are trained like weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from spuproj.checks import choice
from spuproj.geometry.fit import contained
from spuproj.geometry.module import ExactModule
from spuproj.geometry.placement import checked_box, turned
from spuproj.geometry.table import Geometry, check_lengths
from spuproj.views import Centers, Image, Views

LEARNABLE = ("centers", "radius", "magnification", "angle")

_MARGIN = 1e-4
"""Smallest distance of a learned centre from the slice's border, as a share of its side."""


class LearnableViews(ExactModule):
    """Views as ``Views.spherical`` places them, of which some parameters are learned, for each view its own.

    The parameters are float64 and have no unit, so that one learning rate (0.01 to 0.1 with Adam) serves them all:

    - ``center_logits`` ``[N, 2]``: the logit of each centre's position between the first and the last row and column,
      so that a centre cannot leave the slice;
    - ``log_radius`` and ``log_magnification`` ``[N]``: of the sphere's radius, and of k / R, so that both are positive;
    - ``angle`` ``[N]``: by which each view is turned about its centre, in radians; 0 at first.

    Without ``magnification`` the scale is fitted again for the present centres, radii and angles whenever the views
    are used, and its gradient is part of theirs. A learned magnification begins with the fitted one, and replaces the
    fit from then on.

    Args:
        size: (H, W) of the slice.
        centers: first positions, ``[N, 2]``, as in ``Views.spherical``; or ``grid=`` in ``placement``.
        learn: the parameters that require a gradient, any of ``"centers"``, ``"radius"``, ``"magnification"`` and
            ``"angle"``.
        placement: the other arguments of ``Views.spherical``.

    Raises:
        TypeError: for ``learn`` that is no list.
        ValueError: for an unknown name in ``learn``, and as ``Views.spherical``; also later, if a learned radius
            becomes so small that the chart cannot show the whole slice, or if (on the CPU) a learned radius or scale
            leaves the range that ``Views`` accepts.

    Examples:
        >>> views = LearnableViews((64, 48), grid=(2, 2), learn=("centers", "radius"))
        >>> views.project(torch.rand(1, 1, 64, 48)).sum().backward()
        >>> views.center_logits.grad.shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        size: Sequence[int],
        centers: Centers | None = None,
        *,
        learn: Iterable[str] = ("centers",),
        **placement: Any,
    ) -> None:
        super().__init__()
        learned = _checked_names(learn)
        # Tensors made in inference mode could not be trained.
        with torch.inference_mode(False):
            fitted = Geometry.from_table(Views.spherical(size, centers, **placement).geometry)
            upright = Views.spherical(size, centers, **{**placement, "pose": "tangent", "magnification": 1.0})
            first = replace(Geometry.from_table(upright.geometry), pole=fitted.pole)
            self.start = Views(first, upright.size, upright.view_size)
            self._turned, self._centered = placement.get("pose") == "turned", placement.get("centered", True)
            self._fitted = placement.get("magnification") is None and "magnification" not in learned
            self._box = checked_box(placement["box"] if placement.get("fit") == "box" else None, self.size)
            shares = first.tangent / self._last().clamp(min=1)
            logits, scales = shares.clamp(_MARGIN, 1 - _MARGIN).logit(), (fitted.scale / fitted.radius).log()
            self.center_logits = nn.Parameter(logits, requires_grad="centers" in learned)
            self.log_radius = nn.Parameter(first.radius.log(), requires_grad="radius" in learned)
            self.log_magnification = nn.Parameter(scales, requires_grad="magnification" in learned)
            self.angle = nn.Parameter(torch.zeros_like(first.radius), requires_grad="angle" in learned)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the slice."""
        return self.start.size

    @property
    def view_size(self) -> tuple[int, int]:
        """(h, w) of a view."""
        return self.start.view_size

    @property
    def centers(self) -> Tensor:
        """The present centres (y, x), ``[N, 2]``, in pixels."""
        return self._last() * self.center_logits.sigmoid()

    def with_gradient(self) -> Views:
        """The present views, whose results have gradients with respect to the parameters.

        They serve one step: after a step of the optimiser, call this again. ``project``, ``unproject`` and ``reduce``
        of this module do it for every call; to call it once for all of them saves fitting the scale again.
        """
        # Traced, the fit would take minutes to compile.
        compiling = torch.compiler.is_compiling()
        return torch.compiler.disable(self._placed)() if compiling else self._placed()

    def _placed(self) -> Views:
        views = replace(Geometry.from_table(self.start.geometry), tangent=self.centers, radius=self.log_radius.exp())
        if self._turned:
            views = turned(views, ((self.size[0] - 1) / 2, (self.size[1] - 1) / 2))
        views = replace(views, rotation=_about_the_pole(self.angle) @ views.rotation)
        if self._fitted:
            views = contained(views, self._box, self.view_size, centered=self._centered)
        else:
            views = replace(views, scale=views.radius * self.log_magnification.exp())
        if not views.radius.is_cuda:
            if not bool(torch.isfinite(self.angle).all()):
                raise ValueError(f"angle must be finite, got {self.angle.tolist()}")
            check_lengths(views)
        return self.start.like(views.table())

    def views(self) -> Views:
        """The present views, frozen: without gradients, as ``Views`` that can be used, saved and shared."""
        return self.start.like(self.with_gradient().geometry.detach())

    def project(self, image: Image, **options: Any) -> Any:
        """``Views.project`` of the present views."""
        return self.with_gradient().project(image, **options)

    def unproject(self, stack: Image, **options: Any) -> Any:
        """``Views.unproject`` of the present views."""
        return self.with_gradient().unproject(stack, **options)

    def reduce(self, stack: Image, **options: Any) -> tuple[Any, Any, Any]:
        """``Views.reduce`` of the present views."""
        return self.with_gradient().reduce(stack, **options)

    def forward(self, image: Image) -> Any:
        """``project`` with its default arguments."""
        return self.project(image)

    def __len__(self) -> int:
        """N, the number of views (of each sample)."""
        return len(self.start)

    def get_extra_state(self) -> Tensor:
        """How the views are placed: turned, centered, fitted, and the box that the fit shows."""
        return torch.tensor([self._turned, self._centered, self._fitted, *self._box], dtype=torch.float64, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Restores how the views are placed; a state on the meta device is left alone, since it has no numbers."""
        if state.is_meta:
            return
        self._turned, self._centered, fitted = (bool(each) for each in state[:3])
        if fitted and self.log_magnification.requires_grad:
            raise ValueError(
                "the state must be of views that learn magnification, as these do, but is of views whose magnification "
                "is fitted; give learn= as it was when the state was saved"
            )
        y0, x0, y1, x1 = state[3:].tolist()
        self._fitted, self._box = fitted, (y0, x0, y1, x1)

    def extra_repr(self) -> str:
        learned = [name for name, parameter in self.named_parameters() if parameter.requires_grad]
        return f"learns {', '.join(learned) or 'nothing'}"

    def _last(self) -> Tensor:
        """The last row and column of the slice."""
        last: Tensor = self.start.geometry.new_tensor([n - 1 for n in self.size])
        return last


def _checked_names(learn: Iterable[str]) -> list[str]:
    if isinstance(learn, str) or not isinstance(learn, Iterable):
        raise TypeError(f"learn must be a list of names, any of {', '.join(LEARNABLE)}, got {learn!r}")
    return [choice(name, LEARNABLE, "learn") for name in learn]


def _about_the_pole(angle: Tensor) -> Tensor:
    """Rotations ``[..., 3, 3]`` by angles ``[...]`` in the view, as those of ``Views.rigid``."""
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    rows = torch.stack([cosine, -sine, zero, sine, cosine, zero, zero, zero, zero + 1], dim=-1)
    return rows.reshape(*angle.shape, 3, 3)
